"""Training and trained networks: all that studies ask of the engine and of systems."""

import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax import systems
from cfi_jax.core.types import Array, InputError
from cfi_jax.data.source import Source
from cfi_jax.engine import loop, validation
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.config import Config
from cfi_jax.engine.workdir.checkpoint import Checkpoints
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.systems import files
from cfi_jax.systems.isfuse.model import from_architecture
from cfi_jax.weights import shipped
from cfi_jax.weights.file import Card

CHUNK = 16  # scenes fused at once

read, save = files.read, files.save


def describe(sources: Mapping[str, Source]) -> dict[str, dict]:
  """Identity of the images of sources, by their names."""
  return {name: run_lib.describe_source(source) for name, source in sources.items()}


def count_steps(config: Config, folder: pathlib.Path) -> int:
  """Steps of a run; refuses data and settings it cannot use, and a folder of another run."""
  return run_lib.open_run(systems.find(config.system), config, folder).steps


def train(config: Config, folder: pathlib.Path, steps: int) -> bool:
  """Trains a run to its last step; returns whether it is there, which it is not after SIGTERM."""
  return loop.train(systems.find(config.system), config, folder) >= steps


def trained(folder: pathlib.Path, steps: int) -> tuple[dict, Card]:
  """Variables and card of a run that was trained to its last step."""
  return files.from_workdir(folder, steps)


def load(variables: dict, card: Card) -> Any:
  """Inference with the variables of a card, by its system."""
  return systems.find(card.system).load(variables, card.architecture, dtype="float32", devices=None)


def variables_at(
  config: Config, folder: pathlib.Path, steps: Iterable[int]
) -> Iterator[tuple[int, dict]]:
  """Variables of a trained run after each of these steps, on the host; 0 is before the first.

  Raises InputError for a step of which there is no checkpoint.
  """
  system = systems.find(config.system)
  run = run_lib.open_run(system, config, folder)
  with Checkpoints(folder, config.checkpoint, read_only=True) as checkpoints:
    for step in steps:
      state = (
        checkpoints.restore(run.state_shapes(), run.mesh, step) if step else run.initial_state()
      )
      yield step, jax.device_get(system.product(config, state)[0])


def validate(config: Config, folder: pathlib.Path) -> validation.Samples:
  """Values and scores of every held-out sample of a run at its last step, by its system."""
  return validation.measure_run(systems.find(config.system), config, folder)


def file_fuser(
  path: pathlib.Path, sizes: Iterable[tuple[int, int]]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  """f(visible, infrared) -> fused, uint8 [H, W], by the weights of a file, read when first used.

  sizes: (height, width) of all images to come.
  """

  @functools.cache
  def load() -> Fuser:
    fuser = files.make_fuser(*read(path), label=str(path))
    fuser.reserve(sizes)
    return fuser

  return lambda visible, infrared: load().fuse(visible, infrared, gray=True)


def published(weights: Mapping[str, str]) -> dict[str, pathlib.Path]:
  """The files of published weights by name, without those of ""; refuses unreadable ones.

  weights: the field `published` of a study: files, or names of weights that the package carries.
  """
  found = {name: shipped.resolve(path) for name, path in weights.items() if path}
  for name, path in found.items():
    if not path.is_file():
      raise InputError(
        f"config.published.{name}: {path} is no file; allowed: a weights file, a checkpoint of the "
        f"authors, {', '.join(shipped.SHA256)}"
      )
    read(path)
  return found


def batch_fuser(variables: dict, card: Card) -> Callable[[Pair], np.ndarray]:
  """f(pair) -> fused, uint8 [N, S, S, 1] all; networks of one architecture share one program."""
  module = from_architecture(card.architecture, "float32")

  def fuse(pair: Pair) -> np.ndarray:
    count = len(pair.visible)
    # The last scene fills up the last chunk: one shape, so one program.
    rows = np.minimum(np.arange(count + -count % CHUNK), count - 1).reshape(-1, CHUNK)
    parts = [_fuse(module, variables, Pair(pair.visible[r], pair.infrared[r])) for r in rows]
    return np.concatenate(parts)[:count]

  return fuse


@functools.partial(jax.jit, static_argnums=0)
def _fuse(module: object, variables: dict, pair: Pair) -> Array:
  """The fused picture of a uint8 pair; weights are arguments, so that seeds share the program."""
  pair = jax.tree.map(lambda x: x.astype(jnp.float32) / 255, pair)
  return ops.to_uint8(module.apply(variables, pair, train=False).fused)
