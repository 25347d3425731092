"""The nouns of fusion: a pair of images, and what a network makes of it."""

from flax import struct

from cfi_jax.core.types import Array

MODALITIES = ("visible", "infrared")


@struct.dataclass
class Pair:
  """Two aligned images of one scene, [..., H, W, 1], floating point in [0, 1].

  `visible` is the luma of a colour image (or CT, PET, SPECT); `infrared` the other modality (MRI).
  """

  visible: Array
  infrared: Array


@struct.dataclass
class Fusion:
  """What a fusion model returns for a `Pair`: the picture, and what it was made from.

  fused: [..., H, W, 1] in [0, 1].
  gates: invariance gates in [0, 1], one per level, finest first, [..., h, w, 1].
  features: per modality its encoder features, one per level, finest first, [..., h, w, C].
  levels: decoder features, one per level, finest first, [..., h, w, C].
  """

  fused: Array
  gates: tuple[Array, ...]
  features: dict[str, tuple[Array, ...]]
  levels: tuple[Array, ...]
