"""Parts that the toys share: pairs as samples, and a linear model of two numbers per image."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.engine.procedure import Evaluation, Stream

OPTIMIZER = optax.adam(0.1)


class Sample(NamedTuple):
  """Two images [crop, crop, 1] and a number in [0, 1] drawn for the sample."""

  visible: jax.Array
  infrared: jax.Array
  noise: jax.Array


def make_sample(images, key):
  return Sample(images["visible"], images["infrared"], jax.random.uniform(key))


def stream(config, split, rows=None):
  source = datasets.load(config.data).source(split)
  return Stream(source, rows or config.batch_size, config.input, make_sample)


def init_params(key):
  return {"gain": jax.random.normal(key, (2,)), "bias": jnp.zeros(())}


def fuse(params, sample):
  """[B, H, W, 1]"""
  gain = params["gain"]
  return gain[0] * sample.visible + gain[1] * sample.infrared + params["bias"]


def distance(params, sample, target):
  """[B]"""
  return jnp.square(fuse(params, sample) - target).mean((1, 2, 3))


def descend(params, opt_state, loss_fn):
  loss, gradient = jax.value_and_grad(loss_fn)(params)
  updates, opt_state = OPTIMIZER.update(gradient, opt_state)
  return optax.apply_updates(params, updates), opt_state, loss


def evaluate(params, sample):
  loss = distance(params, sample, sample.visible)
  picture = jnp.clip(fuse(params, sample)[..., 0] * 255, 0, 255).astype(jnp.uint8)
  score = jnp.where(sample.visible.std((1, 2, 3)) > 0, loss, jnp.nan)
  return Evaluation({"loss": loss}, {"score": score}, picture)


def shapes(architecture):
  if architecture != {"toy": 1}:
    raise InputError(f"architecture is {architecture}; allowed: {{'toy': 1}}")
  return {
    "params": {
      "gain": jax.ShapeDtypeStruct((2,), "float32"),
      "bias": jax.ShapeDtypeStruct((), "float32"),
    }
  }
