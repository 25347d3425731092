"""The numbers to expect: recipes trained on RoadScene, scored on its 50 test pairs and on TNO.

  python -m cfi_jax.reproduce --config=configs/results.py --workdir=runs/results \
      --config.roots.roadscene=PATH --config.roots.tno=PATH \
      [--config.published.authors=isfuse_best.pth]

Rows: `released` and `paper` with their objectives and networks; `fusion_only`, the released fusion
loss without interventions; `multiscale`, a fusion by wavelets as the loss; `filling`, the same and
holes in one image that are to be filled in from the other. results.csv and results.md are written
after every run and hold the rows that are chosen: --config.order="('multiscale',)"
--config.seeds="(0,)".
Cost: five rows of three seeds, each 1000 steps of 4 crops of 128x128; with all five views a step
takes 2.3 s on 2 CPU cores. At this size every row has a cosine schedule from 5e-4 and running
statistics of original views; the recipes' own, with 50 epochs of 16 crops of 256x256, are
--config=configs/results.py:full, for an accelerator.
Expect: nothing yet, the table has not been run whole.
"""

from ml_collections import ConfigDict

from cfi_jax import recipes
from cfi_jax.types import InputError

SIZES = ("cpu", "full")
METRICS = ("AG", "SF", "EN", "SD", "PSNR", "CC", "SCD", "MI", "VIF", "Qabf", "SSIM", "MS_SSIM")


def get_config(size="cpu"):
  if size not in SIZES:
    raise InputError(f"no size {size!r}; valid: {', '.join(SIZES)}")
  rows = dict(
    released=recipes.released(),
    paper=recipes.paper(),
    fusion_only=fusion_only(),
    multiscale=multiscale(),
    filling=filling(),
  )
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
      published=dict(authors=""),
      metrics=(*METRICS, "Nabf"),
      convention="tang",
      roots=dict(roadscene="", tno=""),
    )
  )
  for test in config.tests:
    config.tests[test].root = config.roots.get_ref(test)
  for row in config.rows.values():
    row.data = dict(name="roadscene", root="", validation_fraction=0.0)
    row.data.root = config.roots.get_ref("roadscene")
    row.validation_metrics = ()
    if size == "cpu":
      make_small(row)
  return config


def make_small(row):
  """What 2 CPU cores can train."""
  row.batch_size = 4
  row.input.crop = 128
  row.steps = 1000
  row.optim.learning_rate = 5e-4
  row.optim.schedule = "cosine"
  # Of all views the pictures of such short runs are far too bright.
  row.statistics.views = "original"


def fusion_only():
  """The released fusion loss without interventions."""
  config = recipes.released()
  config.loss.invariance.views = ()
  config.loss.necessity.views = ()
  return config


def multiscale():
  """Fusion by wavelets as the loss; no bright frame."""
  config = fusion_only()
  config.model.padding = "reflect"
  config.statistics.views = "original"
  config.loss.fusion = dict(multiscale=1.0)
  config.loss.target = dict(planes=4, exponent=4.0, gain=1.05, spread=0.65, brighter=0.0)
  return config


def filling():
  """`multiscale`, and holes large enough to be worth filling in from the other image."""
  config = multiscale()
  config.masks.holes = (1, 4)
  config.masks.size = (8, 48)
  config.loss.invariance = dict(
    weight=0.5,
    views=("complementary",),
    consistency=0.0,
    area=0.0,
    area_target=0.5,
    entropy=0.0,
    filling=1.0,
  )
  return config
