"""Window sizes to compile: one bucket serves every image size that fits into it."""

from collections.abc import Callable, Collection, Iterable

import numpy as np

from cfi_jax.fusion.fuser import Size

WASTE = 1.3  # a bucket that exists is used if it has at most so many times the pixels needed


def plan(
  sizes: Iterable[Size], limit: int, need: Callable[[Size], Size], compile_pixels: float
) -> dict[Size, Size]:
  """Each of `sizes` (one entry per image) with its bucket; at most `limit` different buckets.

  need: gives the smallest bucket that holds an image of a size.
  compile_pixels: compiling once more takes about as long as fusing so many pixels.

  Begins with the tightest bucket of every size and joins, again and again, the two whose common
  bucket costs the fewest extra pixels, until few enough are left and joining no longer pays.
  """
  sizes = [tuple(size) for size in sizes]
  tight = [need(size) for size in sizes]
  buckets, counts = np.unique(np.array(tight, np.int64).reshape(-1, 2), axis=0, return_counts=True)
  while len(buckets) > 1:
    joined = np.maximum(buckets[:, None], buckets[None])
    area = buckets.prod(-1)
    spent = counts * area
    extra = (counts[:, None] + counts[None]) * joined.prod(-1) - spent[:, None] - spent[None]
    np.fill_diagonal(extra, np.iinfo(np.int64).max)
    i, j = np.unravel_index(extra.argmin(), extra.shape)
    if len(buckets) <= limit and extra[i, j] > compile_pixels:
      break
    keep = np.arange(len(buckets)) != j
    buckets[i], counts[i] = joined[i, j], counts[i] + counts[j]
    buckets, counts = buckets[keep], counts[keep]
  found = [(int(height), int(width)) for height, width in buckets]
  return {
    size: min((b for b in found if _fits(least, b)), key=lambda b: b[0] * b[1])
    for size, least in zip(sizes, tight, strict=True)
  }


def choose(need: Size, known: Collection[Size]) -> Size | None:
  """The smallest of `known` that holds `need` and wastes little, None where there is none."""
  fitting = [bucket for bucket in known if _fits(need, bucket)]
  best = min(fitting, key=lambda b: b[0] * b[1], default=None)
  if best is None or best[0] * best[1] > WASTE * need[0] * need[1]:
    return None
  return best


def _fits(need: Size, bucket: Size) -> bool:
  return bucket[0] >= need[0] and bucket[1] >= need[1]
