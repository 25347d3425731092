"""The numbers to expect: recipes trained on RoadScene, scored on its 50 test pairs and on TNO.

  python -m cfi_jax.reproduce --config=configs/results.py --workdir=runs/results \
      --config.roots.roadscene=PATH --config.roots.tno=PATH \
      [--config.published.authors=isfuse_best.pth]

Rows: recipes of `cfi_jax.recipes`, and `filling_long`, which is `filling` trained seven times as
long: a seed of it is what the package carries as visible-infrared. results.csv, results.md and
curves.csv are written after every run and hold the rows that are chosen:
--config.order="('multiscale',)" --config.seeds="(0,)".
Cost: on one CPU core a run of `released` or `paper` takes 7 minutes, of `fusion_only` or
`multiscale` 3, of `filling_long` 20, scoring included; two such cores can share the rows.
At this size every row has a cosine schedule from 2e-3 and running statistics of original views; the
recipes' own, with 50 epochs of 16 crops of 256x256, are --config=configs/results.py:full, for an
accelerator; nobody has run it.
Expect: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from cfi_jax import recipes
from cfi_jax.types import InputError

SIZES = ("cpu", "full")
METRICS = ("AG", "SF", "EN", "SD", "PSNR", "CC", "SCD", "MI", "VIF", "Qabf", "SSIM", "MS_SSIM")


def get_config(size="cpu"):
  if size not in SIZES:
    raise InputError(f"no size {size!r}; valid: {', '.join(SIZES)}")
  names = ("released", "paper", "fusion_only", "multiscale", "filling")
  rows = {name: recipes.get(name) for name in names}
  rows["filling_long"] = recipes.filling()
  config = ConfigDict(
    dict(
      rows=rows,
      order=tuple(rows),
      seeds=(0, 1, 2),
      tests=dict(
        roadscene=dict(name="roadscene", root="", validation_fraction=0.0),
        tno=dict(name="tno", root="", validation_fraction=0.0),
      ),
      score=("roadscene", "tno"),
      published=dict(authors="", shipped="visible-infrared"),
      metrics=(*METRICS, "Nabf"),
      convention="tang",
      roots=dict(roadscene="", tno=""),
    )
  )
  for test in config.tests:
    config.tests[test].root = config.roots.get_ref(test)
  for name, row in config.rows.items():
    row.data = dict(name="roadscene", root="", validation_fraction=0.0)
    row.data.root = config.roots.get_ref("roadscene")
    row.validation_metrics = ()
    if size == "cpu":
      recipes.small(row, steps=300)
    if name == "filling_long":  # at the small size its steps rule, otherwise its epochs
      row.steps, row.epochs = 7 * row.steps, row.epochs * (1 if row.steps else 7)
  return config
