"""The optimizer: Adam, with a learning-rate schedule, gradient clipping and parameter averaging."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import optax

from cfi_jax.core.types import Array, InputError


@dataclasses.dataclass(frozen=True)
class OptimOptions:
  """Adam and its schedule.

  learning_rate: after warm-up. schedule: "constant", or "cosine" down to 0 at the last step.
  warmup_steps: linear from 0. clip_norm: greatest global gradient norm, 0 for none.
  ema_decay: d in average = d average + (1 - d) parameters, the exponential moving average that is
    validated and shipped instead of the last parameters; 0 for none. In step t, from 0, d is at
    most (1 + t) / (10 + t), so that the random first parameters do not linger: a decay of 0.99 is
    reached after 890 steps.
  """

  learning_rate: float
  schedule: str
  warmup_steps: int
  b1: float
  b2: float
  eps: float
  clip_norm: float
  ema_decay: float

  @property
  def fixed_length(self) -> str:
    """A clause on why a run with this schedule cannot be made longer; "" where it can."""
    if self.schedule in ENDLESS:
      return ""
    return f"optim.schedule is {self.schedule!r}, which ends at the last step"

  @property
  def ema(self) -> bool:
    """Whether a moving average is kept."""
    return self.ema_decay > 0

  def __post_init__(self):
    """Refuses values that make no step or no finite one."""
    if self.schedule not in SCHEDULES:
      raise InputError(f"optim.schedule is {self.schedule!r}; valid: {', '.join(SCHEDULES)}")
    require_ranges(self, not_negative=("warmup_steps", "clip_norm"))


def require_ranges(options: Any, *, not_negative: Sequence[str]) -> None:
  """Raises InputError for options of Adam that make no step or no finite one.

  options: a dataclass with learning_rate, eps, b1, b2 and ema_decay. not_negative: other fields.
  """
  for names, fits, allowed in (
    (("learning_rate", "eps"), lambda x: x > 0, "more than 0"),
    (("b1", "b2", "ema_decay"), lambda x: 0 <= x < 1, "0 to below 1"),
    (not_negative, lambda x: x >= 0, "0 or more"),
  ):
    for name in names:
      if not fits(getattr(options, name)):
        raise InputError(f"optim.{name} is {getattr(options, name)}; allowed: {allowed}")


def _constant(options: OptimOptions, steps: int) -> optax.Schedule:
  del steps
  return optax.constant_schedule(options.learning_rate)


def _cosine(options: OptimOptions, steps: int) -> optax.Schedule:
  return optax.cosine_decay_schedule(options.learning_rate, max(1, steps - options.warmup_steps))


SCHEDULES = {"constant": _constant, "cosine": _cosine}
ENDLESS = ("constant",)  # schedules that do not depend on the number of steps of the run


def learning_rate(options: OptimOptions, steps: int) -> optax.Schedule:
  """The learning rate as a function of the number of steps taken, for a run of `steps` steps."""
  schedule = SCHEDULES[options.schedule](options, steps)
  if not options.warmup_steps:
    return schedule
  warmup = optax.linear_schedule(0.0, options.learning_rate, options.warmup_steps)
  return optax.join_schedules([warmup, schedule], [options.warmup_steps])


def make_optimizer(options: OptimOptions, steps: int) -> optax.GradientTransformation:
  """The optimizer for a run of `steps` steps."""
  adam = optax.adam(learning_rate(options, steps), b1=options.b1, b2=options.b2, eps=options.eps)
  if options.clip_norm:
    return optax.chain(optax.clip_by_global_norm(options.clip_norm), adam)
  return adam


def update_ema(ema_params: dict, params: dict, step: int | Array, decay: float) -> dict:
  """The moving average after step `step`, counted from 0, which ended in `params`; {} stays {}."""
  if not ema_params:
    return ema_params
  decay = jnp.minimum(decay, (1 + step) / (10 + step))
  return optax.incremental_update(params, ema_params, 1 - decay)
