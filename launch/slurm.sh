#!/usr/bin/env bash
# Trains on a Slurm cluster, one process per GPU: sbatch launch/slurm.sh FLAG...
#
#   sbatch launch/slurm.sh --config=configs/msrs.py --config.data.root=DATA --workdir=WORKDIR
#
# The flags are those of `python -m cfi_jax.main`; DATA and WORKDIR are on a file system that all
# nodes share. Submit from the folder of the project.
# Edit: the #SBATCH lines and the two variables below them. --ntasks-per-node must be the number of
#   GPUs of a node, and --gpus-per-task must not be given: JAX picks GPU SLURM_LOCALID of those that
#   a task sees, so each has to see all of its node.
# Watch: tail -F cfi_jax-JOB.out; squeue --me; tensorboard --logdir WORKDIR.
# Two minutes before the time limit, and on `scancel --signal=TERM JOB`, the run saves and ends; the
# same command goes on from there. A lost process ends the others within a minute with a line that
# names it; then the run is started again RESTARTS times at most, from the last checkpoint. If a
# whole node is lost, Slurm puts the job back into the queue (--requeue).
#SBATCH --job-name=cfi_jax
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out
set -euo pipefail
PYTHON=${PYTHON:-python} # of the environment in which cfi_jax is installed, on every node
RESTARTS=${RESTARTS:-3}

# srun does not take over --cpus-per-task from the job.
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-8}
for ((start = 0; start <= RESTARTS; start++)); do
  # Slurm's own way to end a step with a failed task would cut off the message that says why.
  status=0
  srun --kill-on-bad-exit=0 --wait=90 "$PYTHON" -m cfi_jax.main "$@" --coordinator=auto || status=$?
  case "$status" in
    0) exit 0 ;;
    2) exit 2 ;; # the input cannot be used: starting again does not help
  esac
done
exit "$status"
