"""Two learners updated in one step, a moving average, and a second stream."""

import jax
import jax.numpy as jnp
import optax
from flax import struct

from cfi_jax.engine.config import Config
from cfi_jax.engine.procedure import Procedure
from toys.common import OPTIMIZER, descend, distance, evaluate, fuse, init_params, shapes, stream

__all__ = ["Config", "shapes"]


@struct.dataclass
class Learner:
  params: dict
  opt_state: optax.OptState


@struct.dataclass
class State:
  step: jax.Array
  generator: Learner
  judge: Learner
  average: dict


def streams(config):
  return {
    "pairs": stream(config, "train"),
    "support": stream(config, "train", 2 * config.batch_size),
  }


def held_out(config):
  return None


def constants(config):
  return (), {}


def procedure(config, steps):
  def init(key):
    first, second = jax.random.split(key)
    generator, judge = init_params(first), init_params(second)
    return State(
      jnp.zeros((), jnp.int32),
      Learner(generator, OPTIMIZER.init(generator)),
      Learner(judge, OPTIMIZER.init(judge)),
      generator,
    )

  def train_step(state, batch, constants, key):
    pairs, support = batch["pairs"], batch["support"]
    strength = jax.random.uniform(key)
    judge, judge_state, judged = descend(
      state.judge.params,
      state.judge.opt_state,
      lambda p: distance(p, support, support.infrared).mean(),
    )
    params, opt_state, loss = descend(
      state.generator.params,
      state.generator.opt_state,
      lambda p: distance(p, pairs, strength * fuse(judge, pairs)).mean(),
    )
    state = State(
      step=state.step + 1,
      generator=Learner(params, opt_state),
      judge=Learner(judge, judge_state),
      average=optax.incremental_update(params, state.average, 0.1),
    )
    return state, {"loss": loss, "judge": judged}

  def eval_step(state, sample, constants, key):
    return evaluate(state.average, sample)

  return Procedure(init, train_step, eval_step)


def product(config, state):
  return {"params": state.average}, {"toy": 1}


def begin(config, state, variables):
  params = variables["params"]
  return state.replace(generator=state.generator.replace(params=params), average=params)


def load(variables, architecture, *, dtype="float32", devices=None):
  return variables
