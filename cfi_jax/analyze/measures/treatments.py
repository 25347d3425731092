"""What is done to a pair to see what the fused image makes of it: holes, and whole images removed.

The holes are those of `cfi_jax.fusion.interventions`, with the masks that made them.
"""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np

from cfi_jax.analyze.measures.samples import Sample
from cfi_jax.core.keys import name_number
from cfi_jax.core.types import Array
from cfi_jax.fusion import interventions
from cfi_jax.fusion.interventions import INTERVENTIONS, MaskOptions
from cfi_jax.fusion.types import Pair

RELEASED_MASKS = MaskOptions(
  holes=(1, 6), size=(16, 16), square_probability=0.7, fill=0.0, darkest=1.0
)


@dataclasses.dataclass(frozen=True)
class Treated:
  """A pair after holes were made in it, and where: removed is bool [H, W], in either modality."""

  pair: Pair
  removed: np.ndarray


def _shared(key: Array, *arguments) -> Pair:
  mask = interventions.sample_mask(key, *arguments)
  return Pair(visible=mask, infrared=mask)


def _in_visible(key: Array, *arguments) -> Pair:
  mask = interventions.sample_mask(key, *arguments)
  return Pair(visible=mask, infrared=np.ones_like(mask))


def _in_infrared(key: Array, *arguments) -> Pair:
  mask = interventions.sample_mask(key, *arguments)
  return Pair(visible=np.ones_like(mask), infrared=mask)


# f(key, height, width, options, canvas) -> masks of both images, True = kept.
MASKED: dict[str, Callable[..., Pair]] = {
  "complementary": interventions.complementary_masks,
  "shared": _shared,
  "hole in visible": _in_visible,
  "hole in infrared": _in_infrared,
}
# The modality that the treatments with holes in one of them only make them in.
ONE_SIDED = {"hole in visible": "visible", "hole in infrared": "infrared"}
# The modality that modality dropout removes.
DROPPED = {name: found.blanks[0] for name, found in INTERVENTIONS.items() if found.blanks}


def fit(sample: Sample, masks: MaskOptions) -> bool:
  """Whether the largest hole that may be drawn fits into the sample's images."""
  return masks.size[1] <= min(sample.size)


def make_holes(name: str, sample: Sample, masks: MaskOptions, seed: int, draw: int) -> Treated:
  """The pair after a treatment of `MASKED`.

  The holes depend on the seed, the draw, the sample's name and size and the options alone; the same
  draw with holes of another size has the same count of them, as far as the options allow.
  """
  key = jax.random.key(seed)
  for number in (name_number(name), name_number(sample.name), draw):
    key = jax.random.fold_in(key, number)
  height, width = sample.size
  canvas = tuple(1 << (side - 1).bit_length() for side in sample.size)
  masks_of = MASKED[name](key, height, width, masks, canvas)
  kept = jax.tree.map(lambda mask: np.asarray(mask)[:height, :width], masks_of)
  pair = interventions.apply_masks(sample.pair, kept, masks.fill)
  pair = jax.tree.map(lambda image, like: np.asarray(image, like.dtype), pair, sample.pair)
  return Treated(pair, ~(kept.visible & kept.infrared)[..., 0])


def drop(name: str, sample: Sample, fill: float) -> Pair:
  """The pair after a treatment of `DROPPED`: one image is `fill` everywhere."""
  modality = DROPPED[name]
  return sample.pair.replace(**{modality: np.full_like(getattr(sample.pair, modality), fill)})
