"""Batch normalisation of several views, and the running statistics that follow."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.systems.isfuse.operations.plain import Plain

STATISTICS_VIEWS = ("all", "original")
NORMALISERS = ("own", "original")


class BatchNorm(nn.Module):
  """A convolution's batch normalisation, whose running statistics are updated by the caller.

  A training step normalises several views and shares some of them. So in training this module only
  leaves its biased moments and the number of pixels per image in the collection `moments`.
  `update_running` folds them in, in the caller's order.
  """

  features: int
  operations: Plain
  param_dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array, kernel: Array, bias: Array, train: bool) -> Array:
    """3x3 convolution of a map, normalised, and LeakyReLU; see `Plain.block`."""
    shape = (self.features,)
    scale = self.param("scale", nn.initializers.ones, shape, self.param_dtype)
    offset = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
    mean = self.variable("batch_stats", "mean", jnp.zeros, shape, self.param_dtype)
    var = self.variable("batch_stats", "var", jnp.ones, shape, self.param_dtype)
    given = None if train else (mean.value, var.value)
    out, moments = self.operations.block(x, kernel, bias, scale, offset, given)
    if train:
      pixels = jnp.asarray(self.operations.pixels(x), moments[0].dtype)
      for name, value in zip(("mean", "var", "pixels"), (*moments, pixels), strict=True):
        self.put_variable("moments", name, value)
    return out


@dataclasses.dataclass(frozen=True)
class StatisticsOptions:
  """Normalisation in training, and the update of running statistics.

  normalise: a treated view by its "own" batch statistics (release), or by those of the "original"
    pairs, which the gradient follows. After training, too, a hole changes no statistics.
  momentum: share of the old value that an update keeps.
  views: "all" folds in every view of a training step (release), "original" only the unmodified
    pairs. With all views blank images are 46 % of the weight, and fused images come out far too
    bright early in training.
  """

  normalise: str
  momentum: float
  views: str

  def __post_init__(self):
    """Raises InputError for what is not allowed."""
    if self.normalise not in NORMALISERS:
      raise InputError(
        f"statistics.normalise is {self.normalise!r}; valid: {', '.join(NORMALISERS)}"
      )
    if not 0 <= self.momentum < 1:
      raise InputError(f"statistics.momentum is {self.momentum}; allowed: 0 to below 1")
    if self.views not in STATISTICS_VIEWS:
      raise InputError(f"statistics.views is {self.views!r}; valid: {', '.join(STATISTICS_VIEWS)}")
    if self.normalise == "original" and self.views != "original":
      raise InputError(
        f"statistics.views is {self.views!r} and statistics.normalise 'original', where treated "
        "views have no statistics of their own; allowed: views 'original'"
      )


def update_running(batch_stats: dict, moments: dict, batch_size: int, momentum: float) -> dict:
  """One update of the running statistics `batch_stats` by the `moments` of one forward pass.

  running = momentum * running + (1 - momentum) * batch; the variance that enters is the unbiased
  one, n / (n - 1) times the biased one, n = batch_size * pixels (as PyTorch). `batch_size` is an
  argument because a view whose samples are all equal may have been computed on one sample only.
  Modules absent from `moments` keep their statistics.
  """
  if "pixels" not in moments:
    return {
      name: update_running(stats, moments[name], batch_size, momentum) if name in moments else stats
      for name, stats in batch_stats.items()
    }
  n = batch_size * moments["pixels"]
  new = {"mean": moments["mean"], "var": moments["var"] * (n / (n - 1))}
  return {
    name: (momentum * old + (1 - momentum) * new[name]).astype(old.dtype)
    for name, old in batch_stats.items()
  }
