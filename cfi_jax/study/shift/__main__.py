"""Runs a study of distribution shift.

  python -m cfi_jax.study.shift --config=configs/shift.py --workdir=runs/shift

Writes findings.csv, summary.md and plots into the workdir after every seed, and goes on where it
was stopped. Exits with 2 when the input cannot be used, with 1 when a training diverges.
"""

from cfi_jax.study import command as studies
from cfi_jax.study import shift
from cfi_jax.study.shift.study import Study

if __name__ == "__main__":
  studies.command(Study, shift.run, "folder of the study: runs, findings, summary, plots")
