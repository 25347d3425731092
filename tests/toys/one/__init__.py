"""One network, one stream."""

import jax.numpy as jnp

from cfi_jax.engine.config import Config
from cfi_jax.engine.procedure import Procedure
from cfi_jax.engine.state import TrainState
from toys.common import OPTIMIZER, descend, distance, evaluate, init_params, shapes, stream

__all__ = ["Config", "shapes"]


def streams(config):
  return {"pairs": stream(config, "train")}


def held_out(config):
  return stream(config, "validation")


def constants(config):
  return (), {}


def procedure(config, steps):
  def init(key):
    params = init_params(key)
    return TrainState(jnp.zeros((), jnp.int32), params, {}, OPTIMIZER.init(params))

  def train_step(state, batch, constants, key):
    sample = batch["pairs"]
    target = sample.noise[:, None, None, None]
    params, opt_state, loss = descend(
      state.params, state.opt_state, lambda p: distance(p, sample, target).mean()
    )
    return state.replace(step=state.step + 1, params=params, opt_state=opt_state), {"loss": loss}

  def eval_step(state, sample, constants, key):
    return evaluate(state.params, sample)

  return Procedure(init, train_step, eval_step)


def product(config, state):
  return {"params": state.params}, {"toy": 1}


def begin(config, state, variables):
  return state.replace(params=variables["params"])


def load(variables, architecture, *, dtype="float32", devices=None):
  return variables
