"""Complete training recipes: of the authors' release, and what small machines can train."""

from ml_collections import ConfigDict

from cfi_jax.core.types import InputError
from cfi_jax.data import naming
from cfi_jax.datasets.world.defaults import street_scenes

WEATHERS = ("Snow", "Rain", "Haze")
# Of the release: the widths of both networks, and the ways of computing, which are ours.
SIZE = dict(width=48, blocks=(4, 6, 6, 8), refinement=2)
SMALL = dict(width=16, blocks=(1, 1, 1, 1), refinement=1)
FUSION_HEADS, RESTORATION_HEADS = (2, 4, 6, 8), (1, 2, 4, 8)
WAYS = dict(
  local="auto", coupling="auto", histogram="auto", sorting="auto", dtype="float32",
  param_dtype="float32",
)  # fmt: skip
LOSS = dict(intensity=10.0, edges=10.0, structure=10.0, colour=10.0, mgls=5.0, tdas=5.0)


def folders(weathers: tuple[str, ...]) -> dict:
  """The authors' five folders below each of the weathers."""
  return dict(
    name="degraded",
    root="",
    weathers=weathers,
    visible="vi",
    infrared="ir",
    clean_visible="gt_vi",
    clean_infrared="gt_ir",
    pseudo="pseudo_gt",
    validation_fraction=0.05,
  )


def released() -> ConfigDict:
  """The authors' training, of one network for all weathers; they trained one for each."""
  return ConfigDict(
    dict(
      seed=0,
      system="amgfuse",
      data=folders(WEATHERS),
      input=dict(
        crop=168,
        flip=True,
        transpose=False,
        workers=0,
        threads=4,
        prefetch=8,
        device_gb=2.0,
        cache_gb=16.0,
        shuffle="records",
        normalize="auto",
        normalize_over="image",
      ),
      batch_size=2,
      steps_per_dispatch=1,
      epochs=200.0,
      steps=0,
      model=dict(
        name="amgfuse",
        **SIZE,
        heads=FUSION_HEADS,
        mask=True,
        gate=True,
        masked_by="visible",
        prior="none",
        fold=1,
        **WAYS,
      ),
      restoration=dict(weights="", **SIZE, heads=RESTORATION_HEADS),
      loss=LOSS,
      # Of clean pairs, whose pseudo ground truth the authors have from another network.
      weather=dict(
        kinds=("snow", "rain", "haze"),
        levels=("light", "medium", "heavy"),
        thermal=("physical", "attenuated"),
        clear=0.0,
      ),
      pseudo=dict(weights="", planes=4, exponent=4.0, gain=1.0, spread=0.5, brighter=0.0),
      optim=dict(
        learning_rate=1e-4,
        final_learning_rate=1e-6,
        warmup_epochs=5,
        b1=0.9,
        b2=0.999,
        eps=1e-8,
        clip_norm=1e-4,
        ema_decay=0.0,
      ),
      checkpoint=dict(every=1000, keep=3, best="loss", direction="lower"),
      log_every=20,
      validate_every=1000,
      validation_pairs=32,
      validation_metrics=("SSIM", "Qabf"),
      metric_convention="strict",
      pictures=4,
      memory_gb=0.0,
      init_from="",
      hash_contents=False,
      profile_steps="",
    )
  )


def of_weather(*weathers: str) -> ConfigDict:
  """The authors' training for some weathers."""
  config = released()
  config.data.weathers = weathers
  config.weather.kinds = tuple(weather.lower() for weather in weathers)
  return config


def restoration() -> ConfigDict:
  """The restoration network, on all weathers. Its loss and schedule are ours: none is published."""
  return as_restoration(released())


def as_restoration(config: ConfigDict) -> ConfigDict:
  """The recipe `config`, changed in place to train its restoration network."""
  size = {k: v for k, v in config.restoration.items() if k != "weights"}
  config.model = dict(name="restoration", **size, **WAYS)
  config.loss = dict(restoration=1.0)
  config.validation_metrics = ()
  config.checkpoint.best, config.checkpoint.direction = "restored_psnr", "higher"
  return config


def small() -> ConfigDict:
  """A small network on the embedded world, with weather by its depth; no restoration network."""
  config = released()
  config.data = street_scenes()
  config.data.name = "synthetic_depth"
  config.weather.kinds = (*config.weather.kinds, "rain+haze", "snow+haze")
  config.weather.clear = 0.1
  config.input.crop = 64
  config.steps = 200
  config.model.update(SMALL, heads=RESTORATION_HEADS)
  config.restoration.update(SMALL, width=8)
  config.loss.tdas = 0.0
  config.optim.learning_rate, config.optim.final_learning_rate = 2e-3, 1e-5
  config.optim.clip_norm = 1.0
  config.checkpoint.every = config.validate_every = 100
  config.log_every = 10
  config.validation_pairs = 16
  return config


def small_folder() -> ConfigDict:
  """`small` on two folders of the user's own pairs, images with equal names; weather is made."""
  config = small()
  config.data = dict(
    name="folder",
    root="",
    visible="visible",
    infrared="infrared",
    validation_fraction=0.1,
    **naming.OPTIONS,
  )
  return config


def small_restoration() -> ConfigDict:
  """The restoration network of `small`."""
  return as_restoration(small())


def weather_start() -> ConfigDict:
  """A small network on RoadScene's clean pairs under made weather, trained longer than `small`.

  Its outputs of both modalities are restored images, by the term `restored` in place of `mgls`.
  """
  config = small()
  config.data = dict(name="roadscene", root="", validation_fraction=0.1)
  config.input.crop, config.batch_size, config.steps = 64, 2, 4000
  config.model.update(width=16, blocks=(1, 1, 1), heads=(1, 2, 4))
  config.restoration.update(width=16, blocks=(1, 1, 1), heads=(1, 2, 4))
  config.loss.mgls, config.loss.restored = 0.0, 10.0
  config.optim.learning_rate = 1e-3
  config.optim.ema_decay = 0.998
  config.checkpoint.every = config.validate_every = 250
  return config


def weather() -> ConfigDict:
  """`weather_start` with a prior, on larger crops, of which the network sees squares of pixels.

  It corrects both images and their fusion by the rule that `visible-infrared` has. The terms are
  ours, and take the place of the authors', but for `structure`. Thermal images are of one model: of
  both, the one that dims them makes the network brighten those of the other.
  """
  config = weather_start()
  config.input.crop = 128
  config.model.update(prior="wavelet:planes=4,exponent=4,gain=1.03,spread=0.7,brighter=0", fold=2)
  config.pseudo.update(gain=1.03, spread=0.7)
  config.loss = dict(structure=3.0, log_errors=1.0)
  config.weather.update(thermal=("physical",), clear=0.05)
  return config


def weather_restoration() -> ConfigDict:
  """The restoration network of `weather_start`."""
  return as_restoration(weather_start())


RECIPES = {
  "all": released,
  "snow": lambda: of_weather("Snow"),
  "rain": lambda: of_weather("Rain"),
  "haze": lambda: of_weather("Haze"),
  "restoration": restoration,
  "small": small,
  "small_folder": small_folder,
  "small_restoration": small_restoration,
  "weather_start": weather_start,
  "weather": weather,
  "weather_restoration": weather_restoration,
}


def get(name: str) -> ConfigDict:
  """A fresh copy of the recipe of that name."""
  if name not in RECIPES:
    raise InputError(f"no recipe {name!r}; valid: {', '.join(RECIPES)}")
  return RECIPES[name]()
