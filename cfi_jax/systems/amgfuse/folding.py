"""Squares of pixels as single pixels with more channels, which a network computes faster on."""

from cfi_jax.core.types import Array
from cfi_jax.systems.amgfuse.layers import shuffle, unshuffle

FOLDS = (1, 2, 4)  # sides of the squares


def folded(x: Array, fold: int) -> Array:
  """[B, H, W, C] -> [B, H / fold, W / fold, fold^2 C]; fold: of `FOLDS`.

  The order of channels is that of `layers.unshuffle`, which 4 takes twice.
  """
  for _ in range(FOLDS.index(fold)):
    x = unshuffle(x)
  return x


def unfolded(x: Array, fold: int) -> Array:
  """[B, H / fold, W / fold, fold^2 C] -> [B, H, W, C], the inverse of `folded`."""
  for _ in range(FOLDS.index(fold)):
    x = shuffle(x)
  return x
