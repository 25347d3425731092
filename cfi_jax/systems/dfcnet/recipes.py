"""Complete training recipes of DFC-Net on the embedded people; all numbers are ours."""

from ml_collections import ConfigDict

from cfi_jax.core.types import InputError

# The embedded people, of whom nobody has a pose of another group.
PEOPLE = dict(
  name="figures",
  size=64,
  people=400,
  poses=10,
  groups=50,
  pairs=20_000,
  same=0.25,
  support=600,
  held_out_people=20,
  held_out_poses=20,
  validation_pairs=64,
  test_pairs=200,
  seed=0,
)
MODEL = dict(
  name="dfcnet",
  side=64,
  width=1,
  estimator_width=1,
  amplifier="softmax",
  temperature=0.05,
  pose_input="keypoints",
  transport="warp",
  proportions="learned",
  blend="learned",
  keep_background=True,
)
LOSS = dict(
  reconstruction=10.0,
  proportions=0.0,
  adversary=0.1,
  pose=1.0,
  static=0.3,
  ramp_steps=150,
  consistency_from=300,
  pose_reference="truth",
)
OPTIM = dict(
  learning_rate=1.5e-3,
  discriminator_learning_rate=4e-4,
  estimator_learning_rate=2e-3,
  proportions_steps=3000,
  constant_share=0.3,
  final_share=0.03,
  b1=0.5,
  b2=0.99,
  eps=1e-8,
  ema_decay=0.99,
)


def small() -> ConfigDict:
  """64x64 pixels, for two CPU cores."""
  return ConfigDict(
    dict(
      seed=0,
      system="dfcnet",
      data=PEOPLE,
      input=dict(
        crop=64,
        flip=False,
        transpose=False,
        workers=0,
        threads=1,
        prefetch=4,
        device_gb=0.0,
        cache_gb=16.0,
        shuffle="records",
        normalize="full",
        normalize_over="image",
      ),
      batch_size=8,
      support_rows=2,
      steps_per_dispatch=1,
      epochs=0.0,
      steps=1200,
      model=MODEL,
      discriminator_scales=1,
      loss=LOSS,
      optim=OPTIM,
      checkpoint=dict(every=100, keep=2, best="loss", direction="lower"),
      log_every=50,
      validate_every=100,
      validation_pairs=64,
      pictures=8,
      memory_gb=0.0,
      init_from="",
      hash_contents=False,
      profile_steps="",
    )
  )


def estimator() -> ConfigDict:
  """`small`, whose pose branch reads the estimator's amplified maps instead of keypoints."""
  config = small()
  config.model.pose_input = "estimator"
  return config


def large() -> ConfigDict:
  """128x128 pixels and twice the channels, for accelerators; nobody has run it in full."""
  config = small()
  config.data.update(size=128, people=2000, poses=20, groups=100, pairs=100_000, support=4000)
  config.input.update(crop=128, workers=8, threads=4, prefetch=8)
  config.model.update(side=128, width=2, estimator_width=2)
  config.discriminator_scales = 2
  config.batch_size, config.support_rows = 32, 8
  config.steps = 50_000
  config.loss.consistency_from = 5000
  config.optim.update(
    learning_rate=2e-4, discriminator_learning_rate=2e-4, estimator_learning_rate=1e-3, b2=0.999,
    ema_decay=0.999,
  )  # fmt: skip
  config.checkpoint.every = config.validate_every = 2500
  return config


def characters() -> ConfigDict:
  """`small` at 128x128 on characters that were rendered beforehand."""
  config = small()
  config.data.update(
    name="characters", size=128, people=60, poses=30, groups=6, support=300, seed=0
  )
  config.data.update(held_out_people=16, held_out_poses=16)
  config.data.root = ""
  config.steps, config.loss.consistency_from = 400, 150
  config.input.crop = config.model.side = 128
  config.discriminator_scales = 2
  config.optim.update(learning_rate=1e-3, discriminator_learning_rate=2e-4)
  return config


def pairs() -> ConfigDict:
  """`large` on pictures in the layout of PATN and GFLA, with 5 % of people held out.

  Source and truth are one picture there, so that proportions cannot be learned.
  """
  config = large()
  config.model.proportions, config.optim.proportions_steps = "source", 0
  config.data = ConfigDict(
    dict(name="pose_pairs", root="", validation_fraction=0.05, size=128, support=20_000, seed=0)
  )
  return config


def frames() -> ConfigDict:
  """`pairs` on frames of videos with keypoint files; nobody is held out of so few people."""
  config = pairs()
  config.data.update(name="pose_frames", validation_fraction=0.0, support=0)
  config.data.targets = 4
  config.support_rows = 0
  return config


RECIPES = {
  "small": small, "estimator": estimator, "large": large, "characters": characters, "pairs": pairs,
  "frames": frames,
}  # fmt: skip


def get(name: str) -> ConfigDict:
  """A fresh copy of the recipe of that name."""
  if name not in RECIPES:
    raise InputError(f"no recipe {name!r}; valid: {', '.join(RECIPES)}")
  return RECIPES[name]()
