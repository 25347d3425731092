"""Windows of the network that images of several sizes share (`fusion.buckets`)."""

from collections.abc import Collection, Iterable

from cfi_jax.fusion import buckets
from cfi_jax.fusion.fuser import Size
from cfi_jax.systems.isfuse.inference import geometry
from cfi_jax.systems.isfuse.inference.geometry import Frame

COMPILE_PIXELS = 2e6  # see `fusion.buckets.plan`


def plan(sizes: Iterable[Size], limit: int, frame: Frame) -> dict[Size, Size]:
  """Each of `sizes` (one entry per image) with its bucket; at most `limit` different buckets."""
  return buckets.plan(
    sizes, limit, lambda size: geometry.smallest_bucket(size, frame), COMPILE_PIXELS
  )


def choose(size: Size, known: Collection[Size], frame: Frame) -> Size:
  """The bucket for one image: the smallest of `known` that wastes little, else a round one.

  Round sizes have at most a quarter to a half of an eighth more per side on average; common camera
  sizes (480x640, 768x1024, 1024x1280) are round themselves.
  """
  need = geometry.smallest_bucket(size, frame)
  room = 2 * frame.margin
  return buckets.choose(need, known) or tuple(_round(n - room, frame.align) + room for n in need)


def _round(side: int, align: int) -> int:
  """The next multiple of an eighth of the power of two below `side`, at least `align`."""
  step = max(align, 2 ** (side.bit_length() - 4))
  return -(-side // step) * step
