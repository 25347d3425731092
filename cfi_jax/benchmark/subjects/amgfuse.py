"""AMG-Fuse as the benchmarks know it."""

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from cfi_jax.benchmark.harness import amgfuse_floors
from cfi_jax.benchmark.harness.compiled import Fuse
from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.benchmark.harness.images import make_images
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.benchmark.harness.timing import timed
from cfi_jax.benchmark.subjects import Sampled, fused
from cfi_jax.core.types import InputError
from cfi_jax.systems import files
from cfi_jax.systems.amgfuse import optimizer, torch_names, ways
from cfi_jax.systems.amgfuse.config import Config
from cfi_jax.systems.amgfuse.model import make_model
from cfi_jax.systems.amgfuse.procedure import constants
from cfi_jax.systems.amgfuse.samples import Scene

NO_LIMIT_MB = 1e6  # of memory: whatever there is
PLAIN = {"model": ways.PLAIN}
CHANNELS = {
  "visible": 3, "infrared": 1, "clean_visible": 3, "clean_infrared": 1, "pseudo": 3,
}  # fmt: skip
SCHEDULE = amgfuse_floors.SCHEDULE
STEP_TOLERANCE = 1e-3
rows, dtypes = fused.rows, fused.dtypes


class Folder(Fuse):
  """`Model.fuse`; resident, its program alone, which takes one pair."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    self.model = files.load_fuser(spec.file("weights.safetensors"), dtype=spec.dtype)
    self.from_host = lambda: self.model.fuse(*self.images, memory_mb=NO_LIMIT_MB)

  def prepare(self) -> None:
    """Compiles, and fuses once."""
    _, self.compile_seconds = timed(self.from_host)
    programs = self.model.programs
    ((_, self.program),) = programs.compiled.items()
    padded = programs.bucket(self.images[0].shape[1:3])
    whole = padded == self.images[0].shape[1:3] and len(self.images[0]) == 1
    if self.resident and not whole:
      raise ValueError("resident: one pair whose sides the network takes as they are")
    self.arguments = (programs.variables, *jax.device_put(self.images)) if self.resident else ()

  def from_device(self, result: jax.Array) -> np.ndarray:
    """Fused images as the host gets them."""
    return np.clip(np.asarray(result, np.float32), 0, 1)


class Graph(Fuse):
  """The graph that training uses, with the outputs of all streams, in the ways of the config."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    variables, card = files.load(spec.file("weights.safetensors"))
    chosen = json.loads(spec.file("settings.json").read_text())["ways"]
    chosen = {name: chosen.get(name, "auto") for name in ways.WAYS}
    computed = {"dtype": spec.dtype, "param_dtype": "float32"}
    module = make_model({**card.architecture, **chosen, **computed})

    def forward(variables, *pair):
      fusions = module.apply(variables, *pair)
      return fusions.fused, fusions.visible, fusions.infrared, fusions.masked

    self.forward = jax.jit(forward)
    self.arguments = jax.device_put((variables, *self.images))
    self.from_host = lambda: self.from_device(self.program(self.arguments[0], *self.images))

  def prepare(self) -> None:
    """Compiles."""
    self.program, self.compile_seconds = timed(
      lambda: self.forward.lower(*self.arguments).compile()
    )

  def from_device(self, result: tuple) -> np.ndarray:
    """The fused images, cut to [0, 1]; the others stay."""
    return np.clip(np.asarray(result[0], np.float32), 0, 1)


# Terms that `rivals.torch_amgfuse_train` has: the authors'.
TORCH_TERMS = ("intensity", "edges", "structure", "colour", "mgls", "tdas")
FUSE = {"plain_graph": Graph, "cfi_jax": Folder}


def streams(config: Config) -> dict[str, Sampled]:
  """See `Subject`."""
  scenes = Sampled(config.batch_size, CHANNELS, lambda images, key: Scene(**images))
  return {"scenes": scenes}


def images(rows: int, height: int, width: int) -> dict[str, np.ndarray]:
  """A batch of scenes [B, H, W, C] with edges and noise in haze, float32 in [0, 1]."""
  pair = make_images(rows, height, width)
  visible, infrared = pair["visible"], pair["infrared"][..., None]
  clean = np.stack([visible, 0.9 * visible[:, ::-1], 1 - visible], -1)
  return {
    "visible": 0.5 * clean + 0.4,
    "infrared": 0.8 * infrared,
    "clean_visible": clean,
    "clean_infrared": infrared,
    "pseudo": (clean + infrared) / 2,
  }


def inputs(config: Config) -> dict[str, np.ndarray]:
  """See `Subject`."""
  return images(config.batch_size, config.input.crop, config.input.crop)


fuse_cost = amgfuse_floors.fuse_cost


def step_cost(config: Config) -> Cost:
  """See `Subject`."""
  frozen = config.restoration.architecture if config.loss.get("tdas") else None
  return amgfuse_floors.train_cost(
    config.model, frozen, config.batch_size, config.input.crop, config.model["dtype"]
  )


def fuse_tolerance(*, exact: bool) -> float:
  """See `Subject`."""
  return 5e-2 if exact else 0.2


def differ(reference: np.ndarray, fused: np.ndarray) -> float:
  """The mean difference of a pixel's value, over the standard deviation of the reference.

  Rounding exchanges pixels of nearly equal value in a sort, which changes few of them by much.
  """
  return float(np.abs(reference - fused).mean() / reference.std())


def case(config: Config) -> dict[str, Any]:
  """The network and the width of it."""
  return {"model": config.model["name"], "width": config.model["width"]}


def settings(config: Config, steps: int) -> dict[str, Any]:
  """See `Subject`."""
  rate = optimizer.schedule(config.optim, config.epochs, steps)
  return {
    "model": config.model,
    "loss": config.loss,
    "optim": dataclasses.asdict(config.optim),
    "rates": [float(rate(step)) for step in range(steps)],
    "restoration": config.restoration.architecture,
  }


def torch_state(variables: Mapping, architecture: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """See `Subject`; InputError for a network with a prior or a fold, which PyTorch's form lacks."""
  for name, plain in {"prior": "none", "fold": 1}.items():
    if (value := architecture.get(name, plain)) != plain:
      raise InputError(f"model.{name} is {value!r}; the form in PyTorch knows {plain!r} only")
  return torch_names.to_torch(variables, len(architecture["blocks"]))


def torch_files(
  config: Config, scenes: Mapping[str, np.ndarray]
) -> dict[str, dict[str, np.ndarray]]:
  """The frozen restoration network, where the loss takes it; InputError for terms of ours."""
  del scenes
  for name, weight in config.loss.items():
    if weight and name not in TORCH_TERMS:
      raise InputError(
        f"loss.{name} is {weight}; the form in PyTorch knows {', '.join(TORCH_TERMS)}"
      )
  if not config.loss.get("tdas"):
    return {}
  variables, _ = constants(config)
  return {"frozen": torch_state(variables, config.restoration.architecture)}
