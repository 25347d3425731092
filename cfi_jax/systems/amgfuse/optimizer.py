"""Adam with a clipped gradient, and a learning rate that changes once per epoch."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import optax

from cfi_jax.core.types import Array
from cfi_jax.engine import optim

EPSILON = 1e-6  # added to the norm that a gradient is clipped by


@dataclasses.dataclass(frozen=True)
class OptimOptions:
  """Adam and its schedule.

  learning_rate: reached in epoch `warmup_epochs`, growing linearly; then a half cosine down to
    final_learning_rate in the last epoch.
  clip_norm: greatest global norm of the gradient, 0 for none.
  ema_decay: as of `engine.optim.OptimOptions`.
  """

  learning_rate: float
  final_learning_rate: float
  warmup_epochs: int
  b1: float
  b2: float
  eps: float
  clip_norm: float
  ema_decay: float

  def __post_init__(self):
    """Refuses values that make no step or no finite one."""
    optim.require_ranges(self, not_negative=("final_learning_rate", "warmup_epochs", "clip_norm"))


def learning_rates(options: OptimOptions, epochs: int) -> np.ndarray:
  """The learning rates of all epochs, float64 [epochs]."""
  first, last = options.learning_rate, options.final_learning_rate
  warmup, epoch = options.warmup_epochs, np.arange(1, epochs + 1)
  done = (epoch - warmup) / max(1, epochs - warmup)
  cosine = last + (first - last) * 0.5 * (1 + np.cos(np.pi * done))
  return np.where(epoch <= warmup, first * epoch / max(1, warmup), cosine)


def schedule(options: OptimOptions, epochs: float, steps: int) -> optax.Schedule:
  """The learning rate as a function of the number of steps taken, of `steps` in all.

  epochs: that the steps are divided into; 0 makes every step one.
  """
  count = math.ceil(epochs) or steps
  # Of epoch e the first step is the first that begins when e epochs of samples have been seen.
  starts = np.ceil(np.arange(count) * steps / (epochs or steps)).astype(np.int32)
  rates = learning_rates(options, count)

  def rate(step: Array) -> Array:
    epoch = jnp.searchsorted(jnp.asarray(starts), step, side="right") - 1
    return jnp.asarray(rates, jnp.result_type(float))[epoch]

  return rate


def clip(norm: float) -> optax.GradientTransformation:
  """Scales gradients by min(1, norm / (global norm + 1e-6))."""

  def update(gradients, state, params=None):
    del params
    factor = jnp.minimum(1, norm / (optax.tree.norm(gradients) + EPSILON))
    return jax.tree.map(lambda g: g * factor.astype(g.dtype), gradients), state

  return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def make_optimizer(options: OptimOptions, rate: optax.Schedule) -> optax.GradientTransformation:
  """The optimizer with a learning rate."""
  adam = optax.adam(rate, b1=options.b1, b2=options.b2, eps=options.eps)
  return optax.chain(clip(options.clip_norm), adam) if options.clip_norm else adam
