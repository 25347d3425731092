#!/usr/bin/env bash
# Trains as several processes on this machine: launch/local.sh N FLAG...
#
#   launch/local.sh 2 --config=configs/synthetic.py --workdir=runs/two
#
# The flags are those of `python -m cfi_jax.main`. Edit nothing; PORT=12345 chooses another port.
# Watch: the progress bar is process 0's. SIGTERM, to this script or to any of its processes, saves
# and ends all of them. If one is lost the others end within a minute, with a line that names it; the
# same command goes on from the last checkpoint. Exits with the first status that is not 0, when all
# processes have ended.
set -euo pipefail

count=${1:?usage: launch/local.sh N --config=FILE --workdir=DIR ...}
shift
processes=()
for ((index = 0; index < count; index++)); do
  python -m cfi_jax.main "$@" \
    --coordinator="localhost:${PORT:-12355}" --processes="$count" --process="$index" &
  processes+=($!)
done
interrupted=0
trap 'interrupted=1; kill -TERM "${processes[@]}" 2>/dev/null || true' TERM INT

status=0
for process in "${processes[@]}"; do
  while true; do
    interrupted=0
    wait "$process" && code=0 || code=$?
    [ "$interrupted" -eq 1 ] || break # a signal to this script had only ended the wait
  done
  [ "$status" -ne 0 ] || status=$code
done
exit "$status"
