"""The numbers to expect: recipes trained on RoadScene, scored on its 50 test pairs and on TNO.

  python -m cfi_jax.reproduce --config=configs/results.py --workdir=runs/results \
      --config.roots.roadscene=PATH --config.roots.tno=PATH \
      [--config.published.authors=isfuse_best.pth]

Rows: recipes of `cfi_jax.recipes`; `filling_long`, which is `filling` trained seven times as long;
and `multiscale_long`, which is `multiscale` trained eight times as long, with more gain and
a moving average: a seed of it is what the package carries as visible-infrared. results.csv,
results.md and curves.csv are written after every run and hold the rows that are chosen:
--config.order="('multiscale',)" --config.seeds="(0,)".
Cost: on one CPU core a run of `released` or `paper` takes 7 minutes, of `fusion_only` or
`multiscale` 3, of `filling_long` 20, of `multiscale_long` 12, scoring included; two such cores can
share the rows.
At this size every row has a cosine schedule from 2e-3 and running statistics of original views; the
recipes' own, with 50 epochs of 16 crops of 256x256, are --config=configs/results.py:full, for an
accelerator; nobody has run it.
Expect: docs/RESULTS.md.
"""

from cfi_jax import recipes
from cfi_jax.reproduce import template
from cfi_jax.types import InputError

SIZES = ("cpu", "full")
TESTS = ("roadscene", "tno")


def get_config(size="cpu"):
  if size not in SIZES:
    raise InputError(f"no size {size!r}; valid: {', '.join(SIZES)}")
  names = ("released", "paper", "fusion_only", "multiscale", "filling")
  rows = {name: recipes.get(name) for name in names}
  rows |= {"filling_long": recipes.filling(), "multiscale_long": recipes.multiscale()}
  for row in rows.values():
    if size == "cpu":
      recipes.small(row, steps=300)
  recipes.longer(rows["filling_long"], 7)
  recipes.longer(rows["multiscale_long"], 8)
  rows["multiscale_long"].optim.ema_decay = 0.99
  rows["multiscale_long"].loss.target.gain = 1.18
  tests = {test: dict(name=test, root=test, validation_fraction=0.0) for test in TESTS}
  published = dict(authors="", shipped="visible-infrared")
  return template.settings(rows, tests["roadscene"], tests, seeds=(0, 1, 2), published=published)
