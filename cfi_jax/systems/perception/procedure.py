"""Perception as the engine runs it: streams of labelled samples, the procedure, the product."""

import dataclasses
import functools
import json
from typing import Any

import jax
import jax.numpy as jnp

from cfi_jax import datasets
from cfi_jax.core.types import Array
from cfi_jax.datasets.files import FileDataset
from cfi_jax.engine import optim
from cfi_jax.engine.procedure import Constants, Procedure, Stream
from cfi_jax.engine.state import TrainState
from cfi_jax.systems.perception import fused
from cfi_jax.systems.perception import model as model_lib
from cfi_jax.systems.perception.config import Config
from cfi_jax.systems.perception.model import Perception
from cfi_jax.systems.perception.samples import make_sample, require_truth
from cfi_jax.systems.perception.step import Parts, eval_step, train_step


def streams(config: Config) -> dict[str, Stream]:
  """The stream `samples` of the training split."""
  return {"samples": stream(config, "train")}


def held_out(config: Config) -> Stream | None:
  """The split "validation" or, where the data set holds no training images out, "test"."""
  splits = [s for s in ("validation", "test") if s in datasets.load(config.data).splits]
  return stream(config, splits[0]) if splits else None


def stream(config: Config, split: str) -> Stream:
  """A split of the data set as a stream of `samples.Labelled`."""
  colour = config.model.colour
  dataset = datasets.load(config.data)
  source = dataset.source(split)
  if config.fused.given:
    part = dataset.needs(split)[0] if isinstance(dataset, FileDataset) else split
    source = fused.replace(source, config.fused, part, config.input.normalize)
  source = source.coloured(("visible",) if colour else ())
  headers = source.check_headers()
  if headers:
    require_truth(tuple(headers[0]), config.model, f"data.name={config.data['name']!r}")
  finish = functools.partial(make_sample, colour=colour)
  return Stream(source, config.batch_size, config.input, finish)


def constants(config: Config) -> tuple[Constants, dict[str, Any]]:
  """Nothing is frozen."""
  del config
  return (), {}


def procedure(config: Config, steps: int) -> Procedure:
  """The procedure of a run of `steps` steps."""
  parts = make_parts(config, steps)
  return Procedure(
    init=functools.partial(init_state, parts, ema=config.optim.ema),
    train_step=lambda state, batch, constants, key: train_step(parts, state, batch["samples"]),
    eval_step=lambda state, samples, constants, key: eval_step(parts, state, samples),
  )


def make_parts(config: Config, steps: int) -> Parts:
  """The parts of the training step of a run of `steps` steps."""
  return Parts(
    network=Perception(config.architecture),
    classes=config.classes,
    loss=config.loss,
    optimizer=optim.make_optimizer(config.optim, steps),
    rate=optim.learning_rate(config.optim, steps),
    ema_decay=config.optim.ema_decay,
  )


def init_state(parts: Parts, key: Array, *, ema: bool) -> TrainState:
  """A fresh state, a pure function of the key; ema: whether parameters are averaged."""
  params = model_lib.init(parts.network.architecture, key)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats={},
    opt_state=parts.optimizer.init(params),
    ema_params=params if ema else {},
  )


def product(config: Config, state: TrainState) -> tuple[dict, dict[str, Any]]:
  """The parameters that are validated, and the network's fields with the names of its classes."""
  fields = config.architecture
  architecture = dataclasses.asdict(fields) | {"classes": list(fields.classes)}  # as JSON reads it
  return {"params": state.variables["params"]}, architecture


def begin(config: Config, state: TrainState, variables: dict) -> TrainState:
  """The state with these parameters, also as their moving average."""
  params = variables["params"]
  return state.replace(params=params, ema_params=params if config.optim.ema else {})


def shapes(architecture: dict[str, Any]) -> dict:
  """Variables of an architecture as float32 shapes."""
  return _shapes(json.dumps(dict(architecture)))


@functools.lru_cache(maxsize=8)  # traced in a second, and asked for on writing and on reading
def _shapes(architecture: str) -> dict:
  fields = model_lib.from_architecture(json.loads(architecture))
  return {"params": jax.eval_shape(lambda: model_lib.init(fields, jax.random.key(0)))}
