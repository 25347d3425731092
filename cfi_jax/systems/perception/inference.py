"""Trained networks, ready to perceive images of any size."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array, InputError
from cfi_jax.metrics.detection import MOST, Boxes
from cfi_jax.systems.perception.model import (
  CELL,
  STRIDE,
  Architecture,
  Detection,
  Perceived,
  Perception,
  from_architecture,
)

DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Seen:
  """Perception of one pair of images by a network.

  labels: uint8 [H, W], classes by their index; None without segmentation. objects: their boxes with
  scores, the surest first; None without detection.
  """

  labels: np.ndarray | None
  objects: Boxes | None


@dataclasses.dataclass(frozen=True)
class Perceiver:
  """A network with one set of parameters, on the device."""

  network: Perception
  params: Mapping[str, Any]

  @property
  def architecture(self) -> Architecture:
    """Fields of the network, with the names of its classes."""
    return self.network.architecture

  def __call__(self, visible: np.ndarray, infrared: np.ndarray) -> Seen:
    """Sees one pair of images.

    visible: float [H, W, C] in [0, 1], C = 3 for networks of colour, else 1. infrared: [H, W, 1].
    Sides that are no multiple of 8 are padded by their border. Raises InputError for other shapes.
    A program is compiled for every size.
    """
    channels = 3 if self.architecture.colour else 1
    size = visible.shape[:2]
    if visible.shape != (*size, channels) or infrared.shape != (*size, 1) or visible.ndim != 3:
      raise InputError(
        f"images are {list(visible.shape)} and {list(infrared.shape)}; allowed: one size, "
        f"[height, width, {channels}] and [height, width, 1]"
      )
    short = [(0, -side % STRIDE) for side in size]
    padded = [
      np.pad(np.asarray(x, np.float32), [*short, (0, 0)], mode="edge")[None]
      for x in (visible, infrared)
    ]
    labels, detection = jax.device_get(self._program(self.params, *padded))
    if labels is not None:
      labels = labels[0, : size[0], : size[1]].astype(np.uint8)
    objects = None
    if detection is not None:
      boxes, classes, scores = (np.asarray(x[0], np.float64) for x in detection)
      boxes = np.clip(boxes, 0, np.array([*size, *size]))
      kept = (boxes[:, 2:] > boxes[:, :2]).all(1) & (scores > 0)
      objects = Boxes(boxes[kept], classes[kept].astype(np.int64), scores[kept])
    return Seen(labels, objects)

  def perceive(self, visible: Array, infrared: Array) -> Perceived:
    """All that the network makes of a batch, see `model.Perceived`; traced."""
    return self.network.apply({"params": self.params}, visible, infrared)

  @functools.cached_property
  def _program(self):
    return jax.jit(functools.partial(_see, self.network))


def _see(network: Perception, params: Mapping[str, Any], visible: Array, infrared: Array):
  perceived = network.apply({"params": params}, visible, infrared)
  labels = None if perceived.logits is None else perceived.logits.argmax(-1)
  if perceived.detection is None:
    return labels, None
  return labels, jax.vmap(find_boxes)(perceived.detection)


def find_boxes(found: Detection, most: int = MOST) -> tuple[Array, Array, Array]:
  """Boxes [N, 4] in pixels, classes [N] and scores [N] of one sample, the surest first.

  A middle is a cell whose chance is the greatest of the 3 x 3 around it; others have a score of 0.
  """
  height, width, classes = found.heat.shape
  around = jax.lax.reduce_window(found.heat, -jnp.inf, jax.lax.max, (3, 3, 1), (1, 1, 1), "SAME")
  chance = jnp.where(found.heat == around, jax.nn.sigmoid(found.heat), 0)
  scores, places = jax.lax.top_k(chance.reshape(-1), min(most, height * width * classes))
  cells, index = places // classes, places % classes
  rows, columns = cells // width, cells % width
  corner = jnp.stack([rows, columns], -1).astype(jnp.float32)
  middle = CELL * (corner + found.offset[rows, columns])
  half = CELL * jnp.exp(jnp.clip(found.size[rows, columns], -4, 8)) / 2
  return jnp.concatenate([middle - half, middle + half], -1), index, scores


def load(
  variables: Mapping[str, Any],
  architecture: Mapping[str, Any],
  *,
  dtype: str = "float32",
  devices: Sequence[jax.Device] | None = None,
) -> Perceiver:
  """Inference with the variables of a weights file.

  dtype: of the convolutions, "float32" or "bfloat16". devices: the first of them is used.
  """
  if dtype not in DTYPES:
    raise InputError(f"dtype is {dtype!r}; valid for perception: {', '.join(DTYPES)}")
  network = Perception(from_architecture(architecture), jnp.dtype(dtype))
  params = jax.device_put(variables["params"], devices[0] if devices else None)
  return Perceiver(network, params)
