"""The gradient of one training step on given views, for comparing ways of computing it."""

import dataclasses
import json

import flax.traverse_util as tree
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cfi_jax.benchmark.harness import torch_state
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.core import config as config_lib
from cfi_jax.engine.state import TrainState
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.systems.isfuse import step as step_lib
from cfi_jax.systems.isfuse import views as views_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.procedure import make_parts


class Gradients:
  """Our step's; the views are those of the file, as float64 draws others from the same key."""

  def __init__(self, spec: Spec):
    values = json.loads(spec.file("settings.json").read_text())["config"]
    values["model"] |= spec.model
    config = config_lib.build(Config, values)
    # Without momentum this optimizer keeps the gradient as it came.
    self.parts = dataclasses.replace(make_parts(config, 1), optimizer=optax.trace(decay=0.0))
    dtype = jnp.dtype(config.model["param_dtype"])
    with np.load(spec.file("inputs.npz")) as inputs:
      images = {name: jnp.asarray(image[..., None], dtype) for name, image in inputs.items()}
    batch = Pair(**{m: images[m] for m in MODALITIES})
    views = views_lib.make_views(self.parts, jax.random.key(0), batch)
    shown = {
      name: Pair(**{m: images[f"{name}/{m}"][: len(getattr(view.pair, m))] for m in MODALITIES})
      for name, view in views.items()
    }
    self.views = step_lib.show(views, shown)
    with np.load(spec.file("variables.npz")) as file:
      variables = tree.unflatten_dict({k: jnp.asarray(v, dtype) for k, v in file.items()}, sep="/")
    optimizer = self.parts.optimizer.init(variables["params"])
    self.state = TrainState(jnp.zeros((), jnp.int32), opt_state=optimizer, **variables)

  def prepare(self) -> None:
    """Compiles and takes the step."""
    pairs = {name: view.pair for name, view in self.views.items()}

    def step(state: TrainState, pairs: dict[str, Pair]):
      return step_lib.update(self.parts, state, step_lib.show(self.views, pairs))

    state, metrics = jax.device_get(jax.jit(step)(self.state, pairs))
    self.result = torch_state.to_state({"params": state.opt_state.trace})
    self.result["loss"] = metrics["loss"]

  def run(self, count: int) -> None:
    """Has nothing to time."""

  def output(self) -> dict[str, np.ndarray]:
    """The gradient by `torch_state`'s names, and the "loss"."""
    return {name: np.asarray(value, np.float64) for name, value in self.result.items()}

  def facts(self) -> dict[str, str]:
    """The device."""
    return {"device": jax.devices()[0].device_kind}


def make(spec: Spec) -> Gradients:
  """Ours, whatever its name."""
  return Gradients(spec)
