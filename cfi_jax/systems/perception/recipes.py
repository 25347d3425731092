"""Complete training recipes of perception; all numbers are ours."""

from collections.abc import Callable

from ml_collections import ConfigDict

from cfi_jax.core.types import InputError
from cfi_jax.datasets.world.defaults import street_scenes
from cfi_jax.systems.perception.model import FUSIONS
from cfi_jax.weights import shipped

MOST_BOXES = 64


def small() -> ConfigDict:
  """Crops of 64x64 of the embedded world, for two CPU cores."""
  data = street_scenes()
  data.name = "synthetic_labels"
  return ConfigDict(
    dict(
      seed=0,
      system="perception",
      data=data,
      input=dict(
        crop=64,
        flip=False,
        transpose=False,
        workers=0,
        threads=1,
        prefetch=4,
        device_gb=1.0,
        cache_gb=16.0,
        shuffle="records",
        normalize="auto",
        normalize_over="image",
      ),
      batch_size=8,
      steps_per_dispatch=1,
      epochs=0.0,
      steps=1500,
      fused=dict(weights="", folder="", cache=""),
      model=dict(
        name="perception",
        width=16,
        fusion="all_levels",
        segmentation=True,
        detection=True,
        colour=False,
      ),
      loss=dict(segmentation=1.0, balance=0.5, heat=0.1, size=0.1, offset=0.1, prediction=0.1),
      optim=dict(
        learning_rate=2e-3,
        schedule="cosine",
        warmup_steps=50,
        b1=0.9,
        b2=0.99,
        eps=1e-8,
        clip_norm=1.0,
        ema_decay=0.99,
      ),
      checkpoint=dict(every=250, keep=2, best="loss", direction="lower"),
      log_every=25,
      validate_every=250,
      validation_pairs=64,
      pictures=8,
      memory_gb=0.0,
      init_from="",
      hash_contents=False,
      profile_steps="",
    )
  )


def _of_files(config: ConfigDict, name: str, **data) -> None:
  """Puts a data set of files in the place of the world; its images have colours."""
  config.data = ConfigDict(dict(name=name, root="", **data))
  config.model.colour = True
  config.input.update(crop=256, workers=4, threads=2)
  config.epochs, config.steps = 50.0, 0


def _labels(config: ConfigDict, name: str, **data) -> None:
  _of_files(config, name, **data)
  config.model.detection = False


def _boxes(config: ConfigDict, name: str) -> None:
  _of_files(config, name, validation_fraction=0.1, most_boxes=MOST_BOXES)
  config.model.segmentation = False


def _depth(config: ConfigDict) -> None:
  _labels(config, "nyudv2", validation_fraction=0.1)
  config.input.normalize = "visible:full,infrared:window=0:10000"


def _folder(config: ConfigDict) -> None:
  _labels(
    config, "labelled_folder", validation_fraction=0.1, visible="visible", infrared="infrared",
    labels="labels", boxes="", class_names=("background", "object"), first_label=0,
    ignored_labels=(255,), most_boxes=MOST_BOXES,
  )  # fmt: skip


DATA: dict[str, Callable[[ConfigDict], None]] = {
  "synthetic_labels": lambda config: None,
  "msrs_labels": lambda config: _labels(config, "msrs_labels", validation_fraction=0.1),
  "mfnet": lambda config: _labels(config, "mfnet", validation_fraction=0.0),
  "pst900": lambda config: _labels(config, "pst900", validation_fraction=0.1),
  "fmb": lambda config: _labels(config, "fmb", validation_fraction=0.1),
  "nyudv2": _depth,
  "m3fd_boxes": lambda config: _boxes(config, "m3fd_boxes"),
  "llvip_boxes": lambda config: _boxes(config, "llvip_boxes"),
  "labelled_folder": _folder,
}


def get(name: str) -> ConfigDict:
  """A fresh copy of the recipe FUSION or FUSION:DATA, such as "special:fmb"."""
  fusion, _, data = name.partition(":")
  data = data or "synthetic_labels"
  if fusion not in FUSIONS or data not in DATA:
    raise InputError(
      f"no recipe {name!r}; valid: FUSION or FUSION:DATA of {', '.join(FUSIONS)} and "
      f"{', '.join(DATA)}"
    )
  config = small()
  config.model.fusion = fusion
  if fusion == "fused":
    config.fused.weights = shipped.DEFAULT
  DATA[data](config)
  return config
