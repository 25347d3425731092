#!/usr/bin/env bash
# Measures on a GPU that is at hand for a quarter of an hour: launch/gpu_quarter.sh COMMAND
#
#   launch/gpu_quarter.sh rehearse  here, on the CPU, tiny sizes: what would run there runs
#   launch/gpu_quarter.sh wheels    here: fetches what such a machine lacks into .whl (Python 3.12)
#   launch/gpu_quarter.sh measure [FLAG...]     there, in the checkout with .whl; about 8 minutes
#   launch/gpu_quarter.sh keep FOLDER           here: FOLDER's tables into RESULTS, and commits them
#
# The flags are those of `python -m cfi_jax.benchmark gpu`. `measure` writes its 8 files to OUT and
# goes on with those in RESULTS, so after `keep` a second `measure` does what the first left out.
# The machine has JAX with CUDA and its usual companions; PyTorch is measured beside where it is
# there. Nothing is fetched there: copy .whl with the checkout (git ignores it).
set -euo pipefail
cd "$(dirname "$0")/.."
RESULTS=${RESULTS:-benchmarks/results/gpu}
OUT=${OUT:-$RESULTS}
PYTHON=${PYTHON:-python3}
SITE=${SITE:-/tmp/cfi_jax_site} # where the wheels are unpacked
SECONDS_THERE=${SECONDS_THERE:-480}
# The benchmarks import no tensorflow-datasets and no tensorboardX.
WHEELS=(grain==0.2.18 array-record==0.8.6 ml-collections==1.1.0 portpicker==1.6.0)

wheels() {
  local platforms=() version
  for version in 2_28 2_27 2_24 2_17; do platforms+=(--platform "manylinux_${version}_x86_64"); done
  "$PYTHON" -m pip download --quiet --no-deps --only-binary=:all: --python-version=3.12 \
    --implementation=cp "${platforms[@]}" --platform=manylinux2014_x86_64 --dest=.whl "${WHEELS[@]}"
  ls .whl
}

measure() {
  if compgen -G ".whl/*.whl" >/dev/null; then
    "$PYTHON" -m pip install --quiet --no-index --no-deps --no-compile --no-cache-dir --upgrade \
      --target "$SITE" .whl/*.whl
    export PYTHONPATH="$SITE${PYTHONPATH:+:$PYTHONPATH}"
  fi
  mkdir -p "$OUT"
  if [ -d "$RESULTS" ] && [ ! "$RESULTS" -ef "$OUT" ]; then cp "$RESULTS"/* "$OUT"/; fi
  PYTHONUNBUFFERED=1 "$PYTHON" -m cfi_jax.benchmark gpu --output="$OUT" \
    --seconds="$SECONDS_THERE" "$@"
}

keep() {
  mkdir -p "$RESULTS"
  cp "$1"/*.json "$1"/*.txt "$RESULTS"/
  chmod u+w "$RESULTS"/*
  git add "$RESULTS"
  git commit -m "Benchmarks on a GPU" -- "$RESULTS"
}

case ${1:-} in
  rehearse) OUT=$(mktemp -d) measure --rehearse --seconds=170 "${@:2}" ;;
  wheels) wheels ;;
  measure) measure "${@:2}" ;;
  keep) keep "$2" ;;
  *)
    sed -n '2,/^set/p' "$0" | grep '^#' >&2
    exit 2
    ;;
esac
