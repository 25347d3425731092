"""The numbers to expect: recipes trained on RoadScene, scored on its test pairs, TNO and MSRS.

  python -m cfi_jax.study --config=configs/results.py --workdir=runs/results \
      --config.roots.roadscene=PATH --config.roots.tno=PATH --config.roots.msrs=PATH \
      [--config.published.authors=isfuse_best.pth]

roots.msrs is a folder with vi/NAME.png and ir/NAME.png, as MSRS has below test/: all are scored.
Weights and rules alone, without training: --config.order="()".

Rows: recipes of `systems.isfuse.recipes`; and two trained longer, with more gain, a moving average
and what else results.md says: `multiscale_long`, and `filling_long`, of which a seed is what the
package carried as visible-infrared until 2026-11-28. results.csv, results.md and curves.csv are
written after every run and hold the rows that are chosen: --config.order="('multiscale',)"
--config.seeds="(0,)".
Cost: on one CPU core a run of `released` or `paper` takes 7 minutes, of `fusion_only` or
`multiscale` 3, of `filling` 4, of `multiscale_long` 12, of `filling_long` 35, scoring included; two
such cores can share the rows.
At this size every row has a cosine schedule from 2e-3 and running statistics of original views; the
recipes' own, with 50 epochs of 16 crops of 256x256, are --config=configs/results.py:full, for an
accelerator; nobody has run it.
Expect: docs/RESULTS.md.
"""

from cfi_jax.core.types import InputError
from cfi_jax.study.results import template
from cfi_jax.systems.isfuse import recipes

SIZES = ("cpu", "full")
MSRS = dict(visible="vi", infrared="ir", match="name")
MSRS |= {f"{m}_{affix}": "" for m in ("visible", "infrared") for affix in ("prefix", "suffix")}


def get_config(size="cpu"):
  if size not in SIZES:
    raise InputError(f"no size {size!r}; valid: {', '.join(SIZES)}")
  names = ("released", "paper", "fusion_only", "multiscale", "filling")
  rows = {name: recipes.get(name) for name in names}
  rows |= {"multiscale_long": recipes.multiscale(), "filling_long": recipes.filling()}
  for row in rows.values():
    if size == "cpu":
      recipes.small(row, steps=300)
  recipes.longer(rows["multiscale_long"], 8)
  rows["multiscale_long"].loss.target.gain = 1.18
  recipes.longer(rows["filling_long"], 10)
  rows["filling_long"].loss.target.update(gain=1.19, spread=0.6)
  rows["filling_long"].statistics.momentum = 0.98
  for name in ("multiscale_long", "filling_long"):
    rows[name].optim.ema_decay = 0.99
  sets = dict(roadscene="roadscene", tno="tno", msrs="folder")
  tests = {t: dict(name=name, root=t, validation_fraction=0.0) for t, name in sets.items()}
  tests["msrs"].update(MSRS)
  published = dict(authors="", shipped="visible-infrared")
  return template.settings(rows, tests["roadscene"], tests, seeds=(0, 1, 2), published=published)
