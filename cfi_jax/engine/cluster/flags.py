"""The flags of a command that may run as several processes; imports no JAX."""

from cfi_jax.core.cli import Flag

_WITH = "with --coordinator=HOST:PORT"
FLAGS = {
  "coordinator": Flag(
    "HOST:PORT of process 0, for several processes; or auto: as Slurm or TPUs say"
  ),
  "processes": Flag(f"number of processes, {_WITH}", kind=int),
  "process": Flag(f"index of this process, {_WITH}", kind=int),
}
