"""Images of which pixels lack a value, or are trusted in part, and the smoothing of what is known.

Smoothing is normalised convolution (Knutsson and Westin 1993): the smoothed values over the
smoothed certainty.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops


class Known(NamedTuple):
  """Images, and where they have values (None: everywhere); they are 0 elsewhere."""

  value: Array
  known: Array | None


class Sums(NamedTuple):
  """Numerator and denominator of a normalised convolution; weight: None for 1 everywhere."""

  total: Array
  weight: Array | None

  @classmethod
  def of(cls, source: Known) -> "Sums":
    """The sums before any smoothing."""
    known = source.known
    return cls(source.value, None if known is None else known.astype(source.value.dtype))

  def smooth(self, smoother: Callable[[Array], Array]) -> "Sums":
    """Both sums, smoothed."""
    return Sums(*(None if x is None else smoother(x) for x in self))

  def divide(self) -> Known:
    """The means of what is known below the filter."""
    if self.weight is None:
      return Known(self.total, None)
    known = self.weight > 0
    return Known(where(known, self.total / jnp.where(known, self.weight, 1)), known)


def where(known: Array | None, image: Array) -> Array:
  """The image, 0 where it is not known."""
  return image if known is None else jnp.where(known, image, 0)


def trusted(
  pair: Pair, valid: Pair | None
) -> tuple[tuple[Array, Array], tuple[Array | None, Array | None]]:
  """The images, 0 where they are not trusted at all, and how far they are; see `relative`."""
  ops.assert_grey(pair)
  if valid is None:
    return (pair.visible, pair.infrared), (None, None)
  ops.assert_grey(pair, valid)
  trust = relative(jax.tree.map(lambda x, image: x.astype(image.dtype), valid, pair))
  images = jax.tree.map(lambda x, image: jnp.where(x > 0, image, 0), trust, pair)
  return (images.visible, images.infrared), (trust.visible, trust.infrared)


def relative(trust: Pair) -> Pair:
  """The trust in each of two images over the greater of both; 0 where there is none.

  What both images are doubted for alike, neither can mend. For arrays of JAX or NumPy.
  """
  a, b = trust.visible, trust.infrared
  greater = a * (a >= b) + b * (b > a)
  safe = greater + (greater == 0)
  return Pair(a / safe, b / safe)
