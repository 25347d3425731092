#!/usr/bin/env bash
# Trains on a Cloud TPU slice, got as a queued resource: launch/tpu_vm.sh COMMAND [FLAG...]
#
#   launch/tpu_vm.sh create     asks for the slice
#   launch/tpu_vm.sh wait       returns when it is there, however long that takes
#   launch/tpu_vm.sh install    installs cfi_jax on all workers, and mounts SHARE there
#   launch/tpu_vm.sh train --config=configs/msrs.py --config.data.root=gs://BUCKET/MSRS \
#     --workdir=gs://BUCKET/runs/msrs      trains, one process per worker, on all chips
#   launch/tpu_vm.sh stop       has a run save and end (SIGTERM)
#   launch/tpu_vm.sh delete     gives the slice back: it costs money until then
#   launch/tpu_vm.sh all FLAG...      create, wait, install, train and, whatever came of it, delete;
#     a slice that is taken away meanwhile (spot, maintenance) is asked for again, and the run goes on
#
# The flags are those of `python -m cfi_jax.main`, config files as they are in SOURCE.
# Edit: the variables below, or set them in the environment. Needs gcloud, logged in.
# Watch: `train` shows the output of all workers (keep it in tmux); the progress bar is worker 0's.
# A lost worker ends the others within a minute with a line that names it; `train` again goes on
# from the last checkpoint.
set -euo pipefail
NAME=${NAME:-cfi-jax}
PROJECT=${PROJECT:-my-project}
ZONE=${ZONE:-us-west4-a}
ACCELERATOR=${ACCELERATOR:-v5litepod-16} # gcloud compute tpus accelerator-types list --zone=ZONE
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}  # the software version that goes with the accelerator
SOURCE=${SOURCE:-https://github.com/OWNER/cfi_jax.git} # what to clone and install
# Data and workdir are in a bucket, or below an NFS export such as 10.0.0.2:/share, which all workers
# mount at /share.
SHARE=${SHARE:-}
OPTIONS=${OPTIONS:-} # more options of `create`, such as --spot or --valid-until-duration=6h
SLICES=${SLICES:-1}  # of ACCELERATOR each; the batch is divided among the chips of all
TRIES=${TRIES:-20}   # how often a slice is asked for, the first time with it
PYTHON=${PYTHON:-.venv/bin/python} # on the workers, in ~/cfi_jax
POLL=${POLL:-30} # seconds

where=(--project="$PROJECT" --zone="$ZONE")

# Names of the slices' nodes: NAME, or NAME-0, NAME-1 ... where there are several.
nodes() {
  if [ "$SLICES" -eq 1 ]; then echo "$NAME"; else printf "$NAME-%d\n" $(seq 0 $((SLICES - 1))); fi
}

on_all_workers() {
  local node running=() status=0 each
  while read -r node; do
    gcloud compute tpus tpu-vm ssh "$node" "${where[@]}" --worker=all --command="$1" </dev/null &
    running+=($!)
  done < <(nodes)
  for each in "${running[@]}"; do wait "$each" || status=$?; done
  return "$status"
}

state() {
  gcloud compute tpus queued-resources describe "$NAME" "${where[@]}" --format='value(state.state)'
}

create() {
  local options=() several=(--node-id="$NAME")
  read -r -a options <<<"$OPTIONS"
  [ "$SLICES" -eq 1 ] || several=(--node-prefix="$NAME" --node-count="$SLICES")
  gcloud compute tpus queued-resources create "$NAME" "${where[@]}" "${several[@]}" \
    --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME" "${options[@]}"
}

wait_until_active() {
  local now
  while true; do
    now=$(state)
    echo "$(date +%T) $NAME: $now" >&2
    case "$now" in
      ACTIVE) return ;;
      FAILED | SUSPENDING | SUSPENDED | DELETING) return 1 ;;
    esac
    sleep "$POLL"
  done
}

install() {
  on_all_workers "set -e; test -d cfi_jax || git clone $SOURCE cfi_jax
    python3 -m venv cfi_jax/.venv
    cfi_jax/.venv/bin/pip install --constraint cfi_jax/launch/constraints.txt './cfi_jax[tpu,cloud]'
    test -z '$SHARE' || { sudo apt-get install -y nfs-common; sudo mkdir -p /share; \
      mountpoint -q /share || sudo mount -t nfs '$SHARE' /share; }"
}

train() {
  local flags
  printf -v flags '%q ' "$@"
  on_all_workers "cd cfi_jax && $PYTHON -m cfi_jax.main $flags --coordinator=auto"
}

stop() {
  on_all_workers "pkill -TERM -f '[c]fi_jax.main'"
}

delete() {
  gcloud compute tpus queued-resources delete "$NAME" "${where[@]}" --force --quiet
}

all() {
  local try status now
  trap delete EXIT
  for ((try = 1; try <= TRIES; try++)); do
    create
    status=0
    { wait_until_active && install && train "$@"; } || status=$?
    now=$(state || echo GONE)
    # What ends while the slice is there ended by itself, well or not.
    if [ "$status" -eq 0 ] || [ "$now" = ACTIVE ]; then return "$status"; fi
    echo "$(date +%T) $NAME: $now; it is asked for again, and the run goes on" >&2
    [ "$try" -eq "$TRIES" ] || delete
  done
  return "$status"
}

case "${1:-}" in
  create | install | train | stop | delete | all) "$@" ;;
  wait) wait_until_active ;;
  *)
    echo "usage: launch/tpu_vm.sh create|wait|install|train|stop|delete|all [FLAG...]" >&2
    exit 2
    ;;
esac
