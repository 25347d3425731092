"""What do networks of visible and infrared images make of both, and does it help how they fuse?

  python -m cfi_jax.study --config=configs/dissect.py --workdir=runs/dissect

Networks of configs/perception.py, made small, that differ in their fusion alone: of one image, of
both (early, middle, late, summed at every level), and three rivals of that sum with as many
parameters (special, concatenation, squeeze_excitation), each for the same steps from three seeds.
Looked at on 96 held-out scenes after STEPS of the training: findings.csv, summary.md, report.html
and plots in the workdir, after every seed. Goes on where it was stopped.
Cost: 98 minutes of one CPU core beside other work; three seeds took 41 minutes without.
Expect: docs/dissect.md.
Fewer: --config.order="('visible','infrared','special')" --config.seeds="(0,)".
"""

from ml_collections import ConfigDict

from cfi_jax.study.dissect.settings import ROWS
from cfi_jax.systems.perception import recipes

STEPS = (0, 75, 150, 300, 600)


def get_config():
  return ConfigDict(
    dict(
      study="dissect",
      train=train(),
      tests=dict(places=24, steps=STEPS),
      order=ROWS,
      seeds=(0, 1, 2, 3, 4, 5),
    )
  )


def train():
  """Fields that all runs share."""
  config = recipes.small()
  config.data.update(size=64, scenes=1024, validation_scenes=0, test_scenes=96)
  config.model.update(width=8, detection=False)
  config.batch_size = 4
  config.loss.balance = 0.75  # so short a training sees little else than background
  config.steps = config.validate_every = STEPS[-1]
  config.checkpoint.update(every=STEPS[1], keep=STEPS[-1] // STEPS[1])
  # Looked at are the parameters as they are: an average would lag behind at the first steps.
  config.optim.update(learning_rate=3e-3, warmup_steps=40, ema_decay=0.0)
  config.log_every = STEPS[1]
  config.pictures = 0
  return config
