"""Treatments of a pair, to see their effect on the fused image: holes, and whole images removed.

The holes are those of `cfi_jax.fusion.interventions`, with the masks that made them.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np

from cfi_jax.analyze.measures.samples import Sample
from cfi_jax.core.keys import name_number
from cfi_jax.core.types import Array
from cfi_jax.fusion import interventions
from cfi_jax.fusion.interventions import INTERVENTIONS, MaskOptions
from cfi_jax.fusion.types import MODALITIES, Pair

MASKS = MaskOptions(holes=(1, 6), size=(16, 16), square_probability=0.7, fill=0.0, darkest=1.0)


@dataclasses.dataclass(frozen=True)
class Treated:
  """A pair with holes, the pixels removed from either image, and those kept of each, bool.

  removed: [H, W]. kept: [H, W, 1] by modality.
  """

  pair: Pair
  removed: np.ndarray
  kept: Pair


def _one_mask(modalities: Sequence[str], key: Array, *arguments) -> Pair:
  """The same holes in the images of `modalities`, none in the others."""
  mask = interventions.sample_mask(key, *arguments)
  return Pair(**{m: mask if m in modalities else np.ones_like(mask) for m in MODALITIES})


# The modality that the treatments with holes in one image only make them in.
ONE_SIDED = {f"hole in {modality}": modality for modality in MODALITIES}
# f(key, height, width, options, canvas) -> masks of both images, True = kept.
MASKED: dict[str, Callable[..., Pair]] = {
  "complementary": interventions.complementary_masks,
  "shared": functools.partial(_one_mask, MODALITIES),
  **{name: functools.partial(_one_mask, (modality,)) for name, modality in ONE_SIDED.items()},
}
# The modality that modality dropout removes.
DROPPED = {name: found.blanks[0] for name, found in INTERVENTIONS.items() if found.blanks}


def fit(sample: Sample, masks: MaskOptions) -> bool:
  """Whether the largest hole that may be drawn fits into the sample's images."""
  return masks.size[1] <= min(sample.size)


def make_holes(name: str, sample: Sample, masks: MaskOptions, seed: int) -> Treated:
  """The pair after a treatment of `MASKED`.

  The holes depend on the seed, the sample's name and size and the options alone. Holes of another
  size are as many, as far as the options allow.
  """
  key = jax.random.key(seed)
  for number in (name_number(name), name_number(sample.name), 0):
    key = jax.random.fold_in(key, number)
  height, width = sample.size
  canvas = tuple(1 << (side - 1).bit_length() for side in sample.size)
  masks_of = MASKED[name](key, height, width, masks, canvas)
  kept = jax.tree.map(lambda mask: np.asarray(mask)[:height, :width], masks_of)
  pair = interventions.apply_masks(sample.pair, kept, masks.fill)
  pair = jax.tree.map(lambda image, like: np.asarray(image, like.dtype), pair, sample.pair)
  return Treated(pair, ~(kept.visible & kept.infrared)[..., 0], kept)


def drop(name: str, sample: Sample) -> Pair:
  """The pair after a treatment of `DROPPED`: one image has the fill of `MASKS` everywhere."""
  modality = DROPPED[name]
  image = np.full_like(getattr(sample.pair, modality), MASKS.fill)
  return sample.pair.replace(**{modality: image})
