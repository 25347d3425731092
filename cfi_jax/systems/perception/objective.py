"""Terms of the objective, per sample [B]."""

import dataclasses

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.labelled.classes import IGNORED
from cfi_jax.systems.perception.model import CELL, Detection, Perceived
from cfi_jax.systems.perception.samples import Labelled

LEAST_DEVIATION = 0.7  # of a middle's Gaussian in the heat map, in cells
SHARE_DEVIATION = 0.12  # of the root of its box's area


@dataclasses.dataclass(frozen=True)
class LossOptions:
  """Weights of the terms, 0 or more.

  segmentation: cross-entropy. balance: exponent, 0 to 1, by which a class of n pixels in an image
    weighs n^(1 - balance) in its term; 0 weighs all pixels alike.
  heat, size, offset: of detection. prediction: of what `layers.Special` predicts, which alone
    teaches its predictors and moves nothing else.
  """

  segmentation: float
  balance: float
  heat: float
  size: float
  offset: float
  prediction: float

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    for field in dataclasses.fields(self):
      if not getattr(self, field.name) >= 0:
        value = getattr(self, field.name)
        raise InputError(f"loss.{field.name} is {value}; allowed: 0 or more")
    if self.balance > 1:
      raise InputError(f"loss.balance is {self.balance}; allowed: 0 to 1")


def terms(perceived: Perceived, samples: Labelled, balance: float) -> dict[str, Array]:
  """The unweighted terms of the heads there are, [B] each."""
  found = {"prediction": perceived.unpredicted}
  if perceived.logits is not None:
    found["segmentation"] = segmentation(perceived.logits, samples.labels, balance)
  if perceived.detection is not None:
    own = jax.vmap(detection)(perceived.detection, samples.boxes, samples.box_classes)
    found |= own
  return found


def weigh(options: LossOptions, found: dict[str, Array]) -> Array:
  """The objective per sample, [B]."""
  return sum(getattr(options, name) * value for name, value in found.items())


def segmentation(logits: Array, labels: Array, balance: float) -> Array:
  """Mean cross-entropy of the judged pixels of every sample, weighted by class; 0 without any.

  logits: [B, H, W, C]. labels: int32 [B, H, W].
  """
  judged = labels != IGNORED
  classes = jax.nn.one_hot(jnp.where(judged, labels, 0), logits.shape[-1]) * judged[..., None]
  counts = classes.sum((1, 2))
  weights = jnp.where(counts > 0, jnp.maximum(counts, 1) ** -balance, 0)
  weights = weights / jnp.maximum((weights * counts).sum(-1, keepdims=True), 1e-9)
  likelihood = (jax.nn.log_softmax(logits) * classes).sum((1, 2))
  return -(weights * likelihood).sum(-1)


def heat_targets(boxes: Array, classes: Array, shape: tuple[int, int, int]) -> Array:
  """The heat map [h, w, classes] of one sample: a Gaussian with a peak of 1 at every middle's cell.

  boxes: [K, 4] in pixels. classes: int32 [K], -1 for none.
  """
  height, width, count = shape
  rows, columns = middles(boxes, height, width)[1]
  area = jnp.prod(jnp.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=-1) / CELL**2
  deviation = jnp.maximum(LEAST_DEVIATION, SHARE_DEVIATION * jnp.sqrt(area))[:, None]
  down, across = (
    jnp.exp(-jnp.square((jnp.arange(n)[None] - at[:, None]) / deviation) / 2)
    for n, at in ((height, rows), (width, columns))
  )
  maps = down[:, :, None] * across[:, None, :]  # [K, h, w]
  own = classes[:, None] == jnp.arange(count)[None]
  return (maps[..., None] * own[:, None, None, :]).max(0)


def middles(boxes: Array, height: int, width: int) -> tuple[Array, tuple[Array, Array]]:
  """Middles [K, 2] of boxes in cells, and rows and columns [K] of the cells they lie in."""
  middle = (boxes[:, :2] + boxes[:, 2:]) / (2 * CELL)
  cells = jnp.floor(middle).astype(jnp.int32)
  return middle, (jnp.clip(cells[:, 0], 0, height - 1), jnp.clip(cells[:, 1], 0, width - 1))


def detection(found: Detection, boxes: Array, classes: Array) -> dict[str, Array]:
  """Terms of one sample: the focal loss of the heat map, and L1 of size and offset.

  Each is a sum over the objects' number, at least 1. The focal loss is that of CornerNet (Law and
  Deng 2018) as CenterNet takes it: exponents 2 and 4.
  """
  height, width, _ = found.heat.shape
  there = classes >= 0
  number = jnp.maximum(there.sum(), 1)
  target = heat_targets(boxes, classes, found.heat.shape)
  sure, unsure = jax.nn.log_sigmoid(found.heat), jax.nn.log_sigmoid(-found.heat)
  chance = jax.nn.sigmoid(found.heat)
  hit = jnp.square(1 - chance) * sure
  miss = (1 - target) ** 4 * jnp.square(chance) * unsure
  heat = -jnp.where(target == 1, hit, miss).sum() / number
  middle, (rows, columns) = middles(boxes, height, width)
  corner = jnp.stack([rows, columns], -1).astype(middle.dtype)
  sides = jnp.maximum(boxes[:, 2:] - boxes[:, :2], 1) / CELL
  apart = {
    "size": jnp.abs(found.size[rows, columns] - jnp.log(sides)),
    "offset": jnp.abs(found.offset[rows, columns] - (middle - corner)),
  }
  return {"heat": heat} | {
    name: (value.sum(-1) * there).sum() / number for name, value in apart.items()
  }
