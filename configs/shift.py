"""Do interventions in training help where temperature and brightness correlate differently?

  python -m cfi_jax.study --config=configs/shift.py --workdir=runs/shift

Recipes are trained in the synthetic world where both correlate by +0.9 and tested at +0.9, 0 and
-0.9 and under corruptions: findings.csv, summary.md and plots in the workdir, after every seed.
Cost: 67 minutes on 2 CPU cores that did other things, too: 1.5 to 5 minutes for each of 18 runs.
Expect (docs/shift): at +0.9 a fusion loss of 0.297 with the fusion loss alone, 0.343 of the
pixelwise average, 0.307 of the maximum; yet 82 % of the objects visible against 89 % and 83 %:
that loss, which wants every detail of both images, does not ask for objects. No intervention
changes the share of visible objects or their contrast in any of the three worlds by more than
chance would.
A try of some minutes: --config=configs/shift.py:small (two recipes, one seed, fewer steps). On an
accelerator the network and crops of the release: --config=configs/shift.py:full.
Weights and rules alone, in some minutes, without any training:
  --config.published.shipped=visible-infrared --config.order="()" --config.reference=average
"""

from ml_collections import ConfigDict

from cfi_jax.core.types import InputError
from cfi_jax.datasets.world.defaults import street_scenes
from cfi_jax.systems.isfuse import recipes

HOLES = ("complementary", "shared")
DROPOUT = ("without_visible", "without_infrared")
SIZES = ("cpu", "small", "full")


def get_config(size="cpu"):
  if size not in SIZES:
    raise InputError(f"no size {size!r}; valid: {', '.join(SIZES)}")
  config = ConfigDict(
    dict(
      study="shift",
      train=train(),
      recipes=dict(
        fusion_only=recipe(),
        complementary=recipe(invariance=("complementary",)),
        shared=recipe(invariance=("shared",)),
        dropout=recipe(necessity=DROPOUT),
        released=recipe(invariance=HOLES, necessity=DROPOUT),
        # Also its shared encoder and plain gate: a difference is that of the whole recipe.
        paper=paper(),
      ),
      tests=dict(
        correlations=(0.9, 0.0, -0.9),
        corruptions=dict(
          noise=(0.05, 0.1),
          blur=(2.0,),
          misregistration=(1.0, 2.0, 4.0, 8.0),
          haze=(2.0, 4.0),
          rain=(5.0, 15.0),
          snow=(0.05, 0.1),
          missing_visible=(1.0,),
          missing_infrared=(1.0,),
        ),
        scenes=96,
        metrics=("SSIM", "Qabf", "VIF", "MI", "EN"),
        # The criterion of Rose 1948 (signal-to-noise 5 for the object as a whole) for an object
        # that covers 25 independent patches of its surroundings' texture.
        objects=dict(threshold=1.0, gap=1, width=6),
      ),
      order=("fusion_only", *HOLES, "dropout", "released", "paper"),
      published=dict(shipped=""),
      reference="fusion_only",
      seeds=(0, 1, 2),
    )
  )
  if size == "small":
    config.order, config.seeds = ("fusion_only", "released"), (0,)
    config.train.steps = config.train.validate_every = config.train.checkpoint.every = 100
    config.tests.scenes = 32
  if size == "full":
    config.train.model.features = 32
    config.train.batch_size = 16
    config.train.input.crop = config.train.data.size = 256
    config.train.data.scenes = 1024
    config.train.steps = config.train.validate_every = 3000
    config.tests.objects.gap, config.tests.objects.width = 3, 16
  return config


def train():
  """Fields that all runs share: the release, made small."""
  config = recipes.released()
  config.data = street_scenes()
  config.data.validation_scenes = config.data.test_scenes = 0
  config.data.size = 96
  config.data.correlation = 0.9
  config.data.crossover = 0.25  # so that enough objects are carried by the visible image alone
  config.input.crop = 48
  config.batch_size = 8
  config.steps = 500
  config.model.features = 16
  # Of the original view only: with all five, pictures of runs as short as these are far too bright.
  config.statistics.views = "original"
  config.optim.learning_rate = 2e-3
  config.optim.schedule = "cosine"
  config.checkpoint.every = 250
  config.checkpoint.keep = 1
  config.log_every = 50
  config.validate_every = config.steps
  config.validation_metrics = ()
  return config


def recipe(invariance=(), necessity=()):
  """The released objective with these views; without any, the fusion loss alone."""
  loss = recipes.released().loss
  loss.invariance.views = invariance
  loss.necessity.views = necessity
  return dict(model=dict(shared_encoder=False, gate="released"), loss=loss)


def paper():
  """The paper's objective and network."""
  config = recipes.paper()
  model = {name: config.model[name] for name in ("shared_encoder", "gate")}
  return dict(model=model, loss=config.loss)
