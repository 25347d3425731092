#!/usr/bin/env bash
# Fuses or scores a large folder as a job array of Slurm: launch/slurm_array.sh N COMMAND FLAG...
#
#   launch/slurm_array.sh 64 fuse --visible=VISIBLE --infrared=INFRARED --output=FUSED
#   launch/slurm_array.sh 64 evaluate --visible=VISIBLE --infrared=INFRARED --fused=mine:FUSED \
#     --output=scores
#
# Run it on a login node, in the folder of the project: it submits an array of N tasks, each of
# which does the names that are its own, and after them a job that joins their parts to one summary.
# The flags are those of `python -m cfi_jax.fuse` and `python -m cfi_jax.evaluate`; folders are on a
# file system that all nodes share, or in a bucket.
# Edit: the #SBATCH lines, which are each task's (OPTIONS="--partition=..." adds to them).
# Watch: squeue --me; tail -F cfi_jax-JOB_TASK.out. The joining job lists what failed.
# A task that was preempted, or whose node was lost, is put back into the queue and goes on with the
# pairs that are not done. To do lost tasks again, all others left alone:
#   TASKS=3,17 launch/slurm_array.sh 64 fuse ... the same flags
#SBATCH --job-name=cfi_jax
#SBATCH --ntasks=1
#SBATCH --cpus-per-task=8
#SBATCH --gpus-per-task=1
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.out
set -euo pipefail
PYTHON=${PYTHON:-python} # of the environment in which cfi_jax is installed, on every node

count=${1:?usage: launch/slurm_array.sh N fuse|evaluate FLAG...}
command=${2:?usage: launch/slurm_array.sh N fuse|evaluate FLAG...}
shift 2

if [ -n "${SLURM_ARRAY_TASK_ID:-}" ]; then # a task
  exec "$PYTHON" -m "cfi_jax.$command" "$@" --array=slurm --process_count="$count" --skip_existing
elif [ -n "${SLURM_JOB_ID:-}" ]; then # the job after them
  exec "$PYTHON" -m "cfi_jax.$command" "$@" --join --process_count="$count"
fi

options=()
read -r -a options <<<"${OPTIONS:-}"
array=$(sbatch --parsable --array="${TASKS:-0-$((count - 1))}" "${options[@]}" \
  "$0" "$count" "$command" "$@")
# After any end: the join says which parts are missing.
sbatch --dependency="afterany:${array%%;*}" --output=%x-%j.out "${options[@]}" \
  "$0" "$count" "$command" "$@"
