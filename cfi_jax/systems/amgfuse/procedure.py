"""AMG-Fuse as the engine runs it: streams of scenes, the procedure, what a weights file keeps."""

import functools
import json
from typing import Any

import jax
import jax.numpy as jnp

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.engine.procedure import Constants, Procedure, Stream
from cfi_jax.engine.state import TrainState
from cfi_jax.systems import files
from cfi_jax.systems.amgfuse import model as model_lib
from cfi_jax.systems.amgfuse import optimizer, pseudo
from cfi_jax.systems.amgfuse.config import Config
from cfi_jax.systems.amgfuse.samples import COLOUR, make_scene
from cfi_jax.systems.amgfuse.step import Parts, eval_step, train_step
from cfi_jax.systems.amgfuse.untrained import warn_of_untrained


def streams(config: Config) -> dict[str, Stream]:
  """The stream `scenes` of the training split."""
  return {"scenes": _stream(config, "train")}


def held_out(config: Config) -> Stream | None:
  """The split "validation"; None where the data set holds nothing out."""
  splits = datasets.load(config.data).splits
  return _stream(config, "validation") if "validation" in splits else None


def _stream(config: Config, split: str) -> Stream:
  source = datasets.load(config.data).source(split).coloured(COLOUR)
  source = pseudo.with_fusion(source, config.pseudo, config.input.normalize)
  return Stream(
    source,
    config.batch_size,
    config.input,
    lambda images, key: make_scene(images, key, config.weather, config.pseudo),
  )


def constants(config: Config) -> tuple[Constants, dict[str, Any]]:
  """Variables of the frozen restoration network, and the hash of their file; none without one."""
  path = config.restoration.weights
  if not path:
    return (), {}
  variables, card = files.load(path)
  expected = {"system": config.system, **config.restoration.architecture}
  found = {"system": card.system, **card.architecture}
  if differing := [k for k in expected if _plain(found.get(k)) != _plain(expected[k])]:
    given = ", ".join(f"{k}={found.get(k)!r}" for k in differing)
    raise InputError(
      f"config.restoration.weights: {path} holds {given}; config.restoration says "
      f"{', '.join(f'{k}={expected[k]!r}' for k in differing)}"
    )
  warn_of_untrained(variables, f"config.restoration.weights={path}")
  return variables, {"restoration": files.digest(path)}


def _plain(value: Any) -> Any:
  """Lists and tuples alike."""
  return list(value) if isinstance(value, tuple) else value


def procedure(config: Config, steps: int) -> Procedure:
  """The procedure of a run of `steps` steps."""
  parts = make_parts(config, steps)
  step = parts.model.step
  if config.input.crop % step:
    raise InputError(f"input.crop is {config.input.crop}; the network needs a multiple of {step}")
  scores = (config.validation_metrics, config.metric_convention)
  return Procedure(
    init=functools.partial(init_state, parts),
    train_step=lambda state, batch, constants, key: train_step(
      parts, state, batch["scenes"], constants, key
    ),
    eval_step=lambda state, batch, constants, key: eval_step(
      parts, *scores, state, batch, constants
    ),
  )


def make_parts(config: Config, steps: int) -> Parts:
  """The parts of the training step of a run of `steps` steps."""
  rate = optimizer.schedule(config.optim, config.epochs, steps)
  computed = {name: config.model[name] for name in model_lib.COMPUTED if name in config.model}
  return Parts(
    model=model_lib.make_model(config.model),
    frozen=model_lib.make_model(config.restoration.architecture | computed),
    weights=config.loss,
    optimizer=optimizer.make_optimizer(config.optim, rate),
    learning_rate=rate,
    ema_decay=config.optim.ema_decay,
  )


def init_state(parts: Parts, key: jax.Array) -> TrainState:
  """A fresh state, a pure function of the key."""
  params = model_lib.init(parts.model, key)["params"]
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    params=params,
    batch_stats={},
    opt_state=parts.optimizer.init(params),
    ema_params=params if parts.ema_decay else {},
  )


def product(config: Config, state: TrainState) -> tuple[dict, dict[str, Any]]:
  """Variables of the network that was trained, and the fields that decide what they mean."""
  return {"params": state.ema_params or state.params}, model_lib.architecture(config.model)


def begin(config: Config, state: TrainState, variables: dict) -> TrainState:
  """The state with these parameters, also as their moving average."""
  params = variables["params"]
  return state.replace(params=params, ema_params=params if config.optim.ema_decay else {})


def shapes(architecture: dict[str, Any]) -> dict:
  """Variables of an architecture as float32 shapes."""
  return _shapes(json.dumps(architecture))


@functools.lru_cache(maxsize=8)  # traced in seconds, and asked for on writing and on reading
def _shapes(architecture: str) -> dict:
  network = model_lib.from_architecture(json.loads(architecture), "float32")
  return jax.eval_shape(lambda: model_lib.init(network, jax.random.key(0)))
