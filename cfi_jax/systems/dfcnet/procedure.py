"""DFC-Net as the engine runs it: streams of transfers, the procedure, what a weights file keeps."""

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cfi_jax import datasets
from cfi_jax.datasets.figures import triples
from cfi_jax.engine.procedure import Constants, Procedure, Stream
from cfi_jax.systems.dfcnet import model as model_lib
from cfi_jax.systems.dfcnet.config import Config
from cfi_jax.systems.dfcnet.discriminator import Discriminator
from cfi_jax.systems.dfcnet.networks import Networks
from cfi_jax.systems.dfcnet.proportions import Proportions, fit
from cfi_jax.systems.dfcnet.samples import make_transfer, require_images
from cfi_jax.systems.dfcnet.step import (
  Learner,
  Optimizers,
  Parts,
  State,
  eval_step,
  train_step,
)


def streams(config: Config) -> dict[str, Stream]:
  """The stream `pairs` of the training split, and `support` of unpaired pictures."""
  found = {"pairs": _stream(config, "train", config.batch_size)}
  if config.support_rows:
    found["support"] = _stream(config, "support", config.support_rows)
  return found


def held_out(config: Config) -> Stream | None:
  """The split "validation", None where the data set has none."""
  if "validation" not in datasets.load(config.data).splits:
    return None
  return _stream(config, "validation", config.batch_size)


def _stream(config: Config, split: str, rows: int) -> Stream:
  source = datasets.load(config.data).source(split)
  headers = source.check_headers()
  require_images(tuple(headers[0]) if headers else (), f"data.name={config.data['name']!r}")
  return Stream(source, rows, config.input, make_transfer)


def constants(config: Config) -> tuple[Constants, dict[str, Any]]:
  """Nothing: the estimator is part of the state."""
  return (), {}


def procedure(config: Config, steps: int) -> Procedure:
  """The procedure of a run of `steps` steps."""
  parts = make_parts(config, steps)
  return Procedure(
    init=functools.partial(init_state, parts),
    train_step=lambda state, batch, constants, key: train_step(parts, state, batch),
    eval_step=lambda state, samples, constants, key: eval_step(parts, state, samples),
  )


def make_parts(config: Config, steps: int) -> Parts:
  """The parts of the training step of a run of `steps` steps."""
  options = config.optim
  rate = options.schedule(steps)
  adam = functools.partial(optax.adam, b1=options.b1, b2=options.b2, eps=options.eps)
  return Parts(
    networks=Networks(config.model),
    discriminator=Discriminator(config.model.width, config.discriminator_scales),
    loss=config.loss,
    optimizers=Optimizers(
      estimator=optax.adam(options.estimator_schedule(steps), eps=options.eps),
      generator=adam(rate),
      discriminator=adam(options.discriminator_learning_rate),
    ),
    rate=rate,
    ema_decay=options.ema_decay,
    fit=_make_fit(config) if options.proportions_steps else None,
  )


def _make_fit(config: Config) -> Callable[[dict, jax.Array], dict]:
  """Fits proportions to people whose keypoints need no pictures."""
  size, steps = config.model.side, config.optim.proportions_steps
  draw = functools.partial(triples.draw, size=size)
  return lambda params, key: fit(Proportions(size), params, draw, key, steps)


def init_state(parts: Parts, key: jax.Array) -> State:
  """A fresh state, a pure function of the key."""
  first, second = jax.random.split(key)
  architecture = parts.networks.architecture
  params = model_lib.init(architecture, first)
  if parts.fit:
    own = params["network"]["proportions"]
    params["network"]["proportions"] = parts.fit(own, jax.random.fold_in(first, 1))
  maps, _, picture, _ = model_lib.blank(architecture)
  judge = parts.discriminator.init(second, picture, maps)["params"]
  trained = (params["estimator"], params["network"], judge)
  learners = (
    Learner(params, optimizer.init(params))
    for params, optimizer in zip(trained, parts.optimizers, strict=True)
  )
  average = params["network"] if parts.ema_decay else {}
  return State(jnp.zeros((), jnp.int32), *learners, average)


def product(config: Config, state: State) -> tuple[dict, dict[str, Any]]:
  """Estimator, branches and generator without the discriminator, and their architecture."""
  return {"params": state.variables}, dataclasses.asdict(config.model)


def begin(config: Config, state: State, variables: dict) -> State:
  """The state with these parameters; the discriminator begins anew."""
  params = variables["params"]
  return state.replace(
    estimator=state.estimator.replace(params=params["estimator"]),
    generator=state.generator.replace(params=params["network"]),
    average=params["network"] if config.optim.ema_decay else {},
  )


def shapes(architecture: dict[str, Any]) -> dict:
  """Variables of an architecture as float32 shapes."""
  return _shapes(json.dumps(architecture))


@functools.lru_cache(maxsize=8)  # traced in seconds, and asked for on writing and on reading
def _shapes(architecture: str) -> dict:
  fields = model_lib.from_architecture(json.loads(architecture))
  return {"params": jax.eval_shape(lambda: model_lib.init(fields, jax.random.key(0)))}
