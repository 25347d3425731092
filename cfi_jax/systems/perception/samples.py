"""Samples of perception: two images and the truth about them."""

import jax.numpy as jnp
from flax import struct

from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.labelled import boxes as boxes_lib
from cfi_jax.systems.perception.model import ModelOptions


@struct.dataclass
class Labelled:
  """A scene and what is in it.

  visible: [..., H, W, 1 or 3], infrared: [..., H, W, 1], in [0, 1].
  labels: int32 [..., H, W], classes by their index or `classes.IGNORED`; None without label images.
  boxes: [..., K, 4] in pixels (top, left, bottom, right), box_classes: int32 [..., K], -1 in empty
    slots; None without boxes.
  carrier: int32 [..., H, W], of the embedded world (`world.scenes.Scene`), else None.
  """

  visible: Array
  infrared: Array
  labels: Array | None = None
  boxes: Array | None = None
  box_classes: Array | None = None
  carrier: Array | None = None


def make_sample(images: dict[str, Array], key: Array, colour: bool) -> Labelled:
  """The sample of the images [H, W, C] of a record; nothing is drawn."""
  del key
  visible = images["visible"]
  if colour and visible.shape[-1] == 1:
    visible = jnp.repeat(visible, 3, axis=-1)
  whole = {
    name: jnp.round(images[name] * 255).astype(jnp.int32)
    for name in ("labels", "carrier", "objects")
    if name in images
  }
  boxes, classes = boxes_lib.decode(whole["objects"]) if "objects" in whole else (None, None)
  flat = {name: whole[name][..., 0] for name in ("labels", "carrier") if name in whole}
  return Labelled(
    visible=visible, infrared=images["infrared"], boxes=boxes, box_classes=classes, **flat
  )


def require_truth(names: tuple[str, ...], model: ModelOptions, where: str) -> None:
  """Raises InputError unless records have what the heads learn from."""
  needed = {"labels": model.segmentation, "objects": model.detection}
  heads = {"labels": "segmentation", "objects": "detection"}
  for name, wanted in needed.items():
    if wanted and name not in names:
      head = heads[name]
      raise InputError(
        f"{where} has no {'label images' if name == 'labels' else 'boxes'}, which "
        f"model.{head}=True learns from; allowed here: --config.model.{head}=False"
      )
