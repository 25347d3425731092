"""One network that learns from another whose weights are frozen: constants of the program."""

import dataclasses
import hashlib
import pathlib

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.engine import config as engine_config
from toys import one
from toys.common import descend, distance, fuse, shapes

__all__ = ["shapes"]

streams, held_out, load = one.streams, one.held_out, one.load
product, begin = one.product, one.begin


@dataclasses.dataclass(frozen=True)
class Config(engine_config.Config):
  """teacher: an .npz file with the frozen parameters."""

  teacher: str


def constants(config):
  path = pathlib.Path(config.teacher)
  if not path.is_file():
    raise InputError(f"config.teacher: {path} is no file")
  with np.load(path) as arrays:
    return dict(arrays), {"teacher": hashlib.sha256(path.read_bytes()).hexdigest()}


def procedure(config, steps):
  def train_step(state, batch, constants, key):
    sample = batch["pairs"]
    target = fuse(constants, sample)
    params, opt_state, loss = descend(
      state.params, state.opt_state, lambda p: distance(p, sample, target).mean()
    )
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), {"loss": loss}

  return one.procedure(config, steps)._replace(train_step=train_step)
