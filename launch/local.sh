#!/usr/bin/env bash
# Trains as several processes on this machine: launch/local.sh N FLAG...
#
#   launch/local.sh 2 --config=configs/synthetic.py --workdir=runs/two
#
# The flags are those of `python -m cfi_jax.main`. Edit nothing; PORT=12345 chooses another port.
# Watch: the progress bar is process 0's. SIGTERM to any process saves and ends all of them.
# Exits with the first status that is not 0.
set -euo pipefail

count=${1:?usage: launch/local.sh N --config=FILE --workdir=DIR ...}
shift
processes=()
for ((index = 0; index < count; index++)); do
  python -m cfi_jax.main "$@" \
    --coordinator="localhost:${PORT:-12355}" --processes="$count" --process="$index" &
  processes+=($!)
done

status=0
for process in "${processes[@]}"; do
  wait "$process" || { code=$?; [ "$status" -ne 0 ] || status=$code; }
done
exit "$status"
