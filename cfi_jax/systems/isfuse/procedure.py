"""ISFuse as the engine runs it: streams of pairs, the procedure, and what a weights file keeps."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from cfi_jax import datasets
from cfi_jax.core.types import Array, InputError
from cfi_jax.engine import optim
from cfi_jax.engine.procedure import Procedure, Stream
from cfi_jax.engine.state import TrainState
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.isfuse import model as model_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.model import ISFuse, make_model
from cfi_jax.systems.isfuse.step import make_eval_step, train_step
from cfi_jax.systems.isfuse.views import Parts


def streams(config: Config) -> dict[str, Stream]:
  """The stream `pairs` of the training split."""
  return {"pairs": _stream(config, "train")}


def held_out(config: Config) -> Stream | None:
  """The split "validation" or, where the data set holds no training pairs out, "test"."""
  splits = [s for s in ("validation", "test") if s in datasets.load(config.data).splits]
  return _stream(config, splits[0]) if splits else None


def _stream(config: Config, split: str) -> Stream:
  source = datasets.load(config.data).source(split)
  return Stream(source, config.batch_size, config.input, make_pair)


def make_pair(images: dict[str, Array], key: Array) -> Pair:
  """The sample of images {"visible", "infrared": [H, W, 1]}."""
  del key
  return Pair(visible=images["visible"], infrared=images["infrared"])


def constants(config: Config) -> tuple[tuple[()], dict[str, Any]]:
  """No network of ISFuse is frozen."""
  del config
  return (), {}


def procedure(config: Config, steps: int) -> Procedure:
  """The procedure of a run of `steps` steps."""
  parts = make_parts(config, steps)
  least = parts.model.min_side
  if config.input.crop < least:
    raise InputError(f"input.crop is {config.input.crop}; the network needs {least} or more")
  evaluate = make_eval_step(parts, config.validation_metrics, config.metric_convention)
  return Procedure(
    init=functools.partial(init_state, parts, ema=config.optim.ema),
    train_step=lambda state, batch, constants, key: train_step(parts, state, batch["pairs"], key),
    eval_step=lambda state, batch, constants, key: evaluate(state, batch, key),
  )


def make_parts(config: Config, steps: int) -> Parts:
  """The parts of the training step of a run of `steps` steps."""
  return Parts(
    model=make_model(config.model),
    ways=model_lib.ways(config.model),
    optimizer=optim.make_optimizer(config.optim, steps),
    learning_rate=optim.learning_rate(config.optim, steps),
    loss=config.loss,
    masks=config.masks,
    cameras=config.cameras,
    decoys=config.decoys,
    statistics=config.statistics,
    ema_decay=config.optim.ema_decay,
    share_encodings=config.share_encodings,
    rematerialise=config.rematerialise,
    fold_views=config.fold_views,
  )


def init_state(parts: Parts, key: Array, *, ema: bool) -> TrainState:
  """A fresh state, a pure function of the key; ema: whether parameters are averaged."""
  variables = model_lib.init(parts.model, key)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=variables["params"],
    batch_stats=variables["batch_stats"],
    opt_state=parts.optimizer.init(variables["params"]),
    ema_params=variables["params"] if ema else {},
  )


def product(config: Config, state: TrainState) -> tuple[dict, dict[str, Any]]:
  """Variables to fuse with, and the fields of the network that decide their shapes and meaning."""
  return state.variables, model_lib.architecture(config.model)


def begin(config: Config, state: TrainState, variables: dict) -> TrainState:
  """The state with these parameters, also as their moving average, and running statistics."""
  params = variables["params"]
  averaged = params if config.optim.ema else {}
  return state.replace(params=params, batch_stats=variables["batch_stats"], ema_params=averaged)


def shapes(architecture: dict[str, Any]) -> dict:
  """Variables of an architecture as float32 shapes."""
  network: ISFuse = model_lib.from_architecture(architecture, "float32")
  return jax.eval_shape(lambda: model_lib.init(network, jax.random.key(0)))
