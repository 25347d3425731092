"""Trains recipes from several seeds and scores them.

  python -m cfi_jax.study.results --config=configs/results.py --workdir=runs/results \
      --config.roots.roadscene=PATH --config.roots.tno=PATH

Writes results.csv, results.md and curves.csv into the workdir after every run, and goes on where it
was stopped. Exits with 2 when the input cannot be used, with 1 when a training diverges.
"""

from cfi_jax.study import command as studies
from cfi_jax.study import results as reproduce
from cfi_jax.study.results.study import Study

if __name__ == "__main__":
  studies.command(Study, reproduce.run, "folder of the study: runs, weights, scores, results")
