"""The nouns of fusion: a pair of images, and the fusion of it."""

from collections.abc import Mapping
from typing import Any

from flax import struct

from cfi_jax.core.types import Array

MODALITIES = ("visible", "infrared")


@struct.dataclass
class Pair:
  """Two aligned images of one scene, [..., H, W, 1], floating point in [0, 1].

  visible: the luma of a colour image, or CT, PET, SPECT. infrared: the other modality, or MRI.
  """

  visible: Array
  infrared: Array


Masks = Pair | Mapping[str, Any]  # of a pair's pixels with values, by modality; None: all of them


@struct.dataclass
class Fusion:
  """The fused picture of a `Pair`, and the maps that it was made from.

  fused: [..., H, W, 1] in [0, 1].
  gates: invariance gates in [0, 1], one per level, finest first, [..., h, w, 1].
  features: encoder features by modality, one per level, finest first, [..., h, w, C].
  levels: decoder features, one per level, finest first, [..., h, w, C].
  trust: how far each image is trusted, [..., H, W, 1] in [0, 1], of networks that tell it.
  """

  fused: Array
  gates: tuple[Array, ...]
  features: dict[str, tuple[Array, ...]]
  levels: tuple[Array, ...]
  trust: Pair | None = None
