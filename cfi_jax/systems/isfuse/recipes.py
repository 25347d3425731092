"""Complete training recipes: of the authors' release, of the paper, and ours.

A config file takes one and adds its data set.
"""

from ml_collections import ConfigDict

from cfi_jax.core.types import InputError
from cfi_jax.datasets.world.defaults import street_scenes

__all__ = ["get", "longer", "small", "street_scenes", "RECIPES"]  # for config files


# Of `fusion.cameras.CameraOptions`, by which nothing is varied.
UNVARIED = dict(
  probability=0.0,
  gamma=(1.0, 1.0),
  gain=(1.0, 1.0),
  offset=0.0,
  noise=0.0,
  pattern=0.0,
  blur=0.0,
  zoom=(1.0, 1.0),
  misaligned=0.0,
  inverted=0.0,
)
# Of `fusion.decoys.DecoyOptions`, by which nothing is painted.
UNDECORATED = dict(
  probability=0.0, bright=(0, 0), size=(1, 1), levels=(1.0, 1.0), lights=(0, 0), narrow=0.0
)
# Of the release; other recipes change some.
MODEL = dict(
  name="isfuse",
  features=32,
  grid=8,
  shared_encoder=False,
  gate="released",
  padding="zeros",
  levels=3,
  prior="none",
  layout="auto",
  attention="auto",
  kernels="auto",
  dtype="float32",
  param_dtype="float32",
)
LOSS = dict(
  fusion=dict(intensity=1.0, gradient=1.0),
  target=dict(planes=5, exponent=4.0, gain=1.0, spread=0.5, brighter=0.0),
  invariance=dict(
    weight=0.1,
    views=("complementary", "shared"),
    consistency=1.0,
    area=1.0,
    area_target=0.3,
    entropy=-1.0,
    filling=0.0,
    absence=0.0,
  ),
  necessity=dict(weight=0.05, views=("without_visible", "without_infrared")),
  robustness=dict(weight=0.0, views=()),
)


def released() -> ConfigDict:
  """The authors' released code and weights. A step on a CPU: 11 GB (31 in plain JAX), 2.5 TFLOP."""
  return ConfigDict(
    dict(
      seed=0,
      system="isfuse",
      data=dict(name="", root=""),
      input=dict(
        crop=256,
        flip=True,
        transpose=True,
        workers=0,
        threads=4,
        prefetch=8,
        # MSRS takes 0.7 GB, M3FD 7, LLVIP 32. 2 leaves an accelerator of 16 GB nearly whole; raise
        # it on a larger one.
        device_gb=2.0,
        cache_gb=16.0,
        shuffle="records",
        normalize="auto",
        normalize_over="image",
      ),
      batch_size=16,
      steps_per_dispatch=1,
      epochs=50.0,
      steps=0,
      model=MODEL,
      statistics=dict(normalise="own", momentum=0.9, views="all"),
      masks=dict(
        holes=(1, 6),
        size=(16, 16),
        square_probability=0.7,
        fill=0.0,
        fills=("value",),
        faulty=(0.001, 0.01),
        brightest=1.0,
        dimmest=0.0,
        darkest=0.1,
      ),
      cameras=UNVARIED,
      decoys=UNDECORATED,
      loss=LOSS,
      optim=dict(
        learning_rate=1e-4,
        schedule="constant",
        warmup_steps=0,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip_norm=0.0,
        ema_decay=0.0,
      ),
      checkpoint=dict(every=500, keep=3, best="loss", direction="lower"),
      log_every=20,
      validate_every=500,
      validation_pairs=32,
      validation_metrics=("SSIM", "Qabf"),
      metric_convention="strict",
      pictures=4,
      share_encodings=True,
      rematerialise=False,
      fold_views=False,
      memory_gb=0.0,
      init_from="",
      hash_contents=False,
      profile_steps="",
    )
  )


def paper() -> ConfigDict:
  """The paper: shared encoder, plain gate, binary gates, necessary modalities."""
  config = released()
  config.model.shared_encoder = True
  config.model.gate = "paper"
  config.loss.invariance.entropy = 1.0
  config.loss.necessity.weight = -0.05
  return config


def wide() -> ConfigDict:
  """The release with 128 features instead of 32, in bfloat16: for accelerators with time to spare.

  16 times the arithmetic for 4 times the bytes (`benchmark/harness/floors.py`).
  """
  config = released()
  config.model.features = 128
  config.model.dtype = "bfloat16"
  return config


def fusion_only() -> ConfigDict:
  """The released fusion loss without interventions."""
  config = released()
  config.loss.invariance.views = ()
  config.loss.necessity.views = ()
  return config


def multiscale() -> ConfigDict:
  """Ours: a fusion by wavelets as the loss, its finest details once more; no bright frame."""
  config = fusion_only()
  config.model.padding = "reflect"
  config.loss.fusion = dict(multiscale=1.0, detail=1.0)
  # Training by absolute differences ends with weaker details than it asks for, hence the gain.
  config.loss.target = dict(planes=4, exponent=4.0, gain=1.15, spread=0.55, brighter=0.0)
  config.optim.learning_rate = 2e-3
  config.optim.schedule = "cosine"
  return config


def filling() -> ConfigDict:
  """`multiscale`, with holes worth filling in from the other image, and darker pairs."""
  config = multiscale()
  config.statistics.views = "original"
  config.statistics.normalise = "original"
  # Else it learns that black is a hole, and fills in what is black in both images.
  config.loss.robustness = dict(weight=0.3, views=("darker",))
  # None at times: where both images always have holes, those of one tell of some in the other.
  config.masks.holes = (0, 2)
  config.masks.size = (8, 32)
  config.loss.invariance = dict(
    weight=0.3,
    views=("complementary",),
    consistency=0.0,
    area=0.0,
    area_target=0.5,
    entropy=0.0,
    filling=1.0,
    absence=0.0,
  )
  return config


def trusting() -> ConfigDict:
  """Ours: a rule fuses, and the network tells it where either image is not to be trusted.

  It is shown holes of many kinds and lost pixels, in pairs as other cameras would have taken them,
  and bright objects and lights that are neither.
  """
  config = released()
  # Of the options whose Nabf is not above a Laplacian pyramid's, those of the best mean rank on
  # RoadScene's held-out training pairs, as they are and as other cameras would have taken them.
  rule = "wavelet:planes=4,exponent=4,gain=1.03,spread=0.7,brighter=0"
  config.model.update(features=16, padding="reflect", prior=rule)
  config.statistics = dict(normalise="original", momentum=0.9, views="original")
  config.masks = dict(
    holes=(0, 4),
    size=(4, 48),
    square_probability=0.5,
    fill=0.0,
    fills=("value", "any value", "noise", "elsewhere"),
    faulty=(0.0003, 0.03),
    brightest=0.6,
    dimmest=0.0,
    darkest=0.1,
  )
  config.cameras = dict(
    probability=0.8,
    gamma=(0.4, 2.5),
    gain=(0.3, 1.6),
    offset=0.3,
    noise=0.1,
    pattern=0.05,
    blur=2.0,
    zoom=(0.6, 2.0),
    misaligned=3.0,
    inverted=0.3,
  )
  # Saturated objects are as flat as holes; lights are as single as lost pixels.
  config.decoys = dict(
    probability=0.6, bright=(0, 4), size=(3, 64), levels=(0.75, 1.0), lights=(0, 8), narrow=0.0
  )
  config.loss.fusion = dict(multiscale=1.0)
  config.loss.target = dict(planes=4, exponent=4.0, gain=1.03, spread=0.7, brighter=0.0)
  config.loss.necessity.views = ()
  config.loss.invariance = dict(
    weight=1.0,
    views=("complementary", "one_sided", "faulty"),
    consistency=0.0,
    area=0.0,
    area_target=0.5,
    entropy=0.0,
    filling=1.0,
    absence=1.0,
  )
  config.input.crop = 128
  config.batch_size = 4
  config.optim.learning_rate = 2e-3
  config.optim.schedule = "cosine"
  config.optim.clip_norm = 1.0
  config.optim.ema_decay = 0.998
  config.validation_metrics = ("VIF", "Qabf")
  return config


def trusting_medical() -> ConfigDict:
  """`trusting` for images dark but for tissue, whose scanners differ less than cameras do."""
  config = trusting()
  # Chosen as that of `trusting`, on cases of CT-MRI, PET-MRI and SPECT-MRI that are no test cases.
  config.model.prior = "wavelet:planes=4,exponent=4,gain=1,spread=0.6,brighter=0.6"
  config.loss.target.update(gain=1.0, spread=0.6, brighter=0.6)
  # Black is what is around a head, and beyond what a scanner saw; nothing dark is a hole.
  config.masks.fills = ("any value", "noise", "elsewhere")
  config.masks.dimmest = 0.2
  config.decoys.narrow = 0.5
  config.cameras.update(
    probability=0.5,
    gamma=(0.7, 1.4),
    gain=(0.7, 1.2),
    offset=0.05,
    noise=0.05,
    pattern=0.0,
    blur=1.0,
    zoom=(0.8, 1.5),
    misaligned=0.0,
    inverted=0.0,
  )
  return config


def medical() -> ConfigDict:
  """`multiscale` for images dark but for tissue, which a mean would halve where one shows it."""
  config = multiscale()
  config.loss.target.spread = 0.5
  config.loss.target.brighter = 1.0
  return config


def small(config: ConfigDict, steps: int) -> ConfigDict:
  """The recipe `config`, changed in place to what 2 CPU cores can train."""
  config.batch_size = 4
  config.input.crop = 64
  config.steps = steps
  config.optim.learning_rate = 2e-3
  config.optim.schedule = "cosine"
  # Of all views the pictures of such short runs are far too bright.
  config.statistics.views = "original"
  return config


def longer(config: ConfigDict, times: int) -> ConfigDict:
  """The recipe `config`, changed in place to train so many times as long."""
  length = "steps" if config.steps else "epochs"
  config[length] *= times
  return config


RECIPES = {
  "released": released,
  "paper": paper,
  "wide": wide,
  "fusion_only": fusion_only,
  "multiscale": multiscale,
  "filling": filling,
  "trusting": trusting,
  "trusting_medical": trusting_medical,
  "medical": medical,
}


def get(name: str) -> ConfigDict:
  """A fresh copy of the recipe of that name."""
  if name not in RECIPES:
    raise InputError(f"no recipe {name!r}; valid: {', '.join(RECIPES)}")
  return RECIPES[name]()
