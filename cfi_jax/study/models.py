"""Training and trained networks: all that studies ask of the engine and of systems."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax import convert
from cfi_jax.core.types import Array
from cfi_jax.engine import loop
from cfi_jax.engine.compilation import Cache
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.systems import files
from cfi_jax.systems.files import Card
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.inference import Model

CHUNK = 16  # scenes fused at once

describe = loop.describe
save = files.save


@contextlib.contextmanager
def shared_programs(workdir: pathlib.Path) -> Iterator[None]:
  """Keeps the programs compiled inside for all runs of a study."""
  with Cache(workdir) as cache:
    yield
    cache.keep()


def count_steps(config: Config, folder: pathlib.Path) -> int:
  """Steps of a run; refuses data and settings it cannot use, and a folder of another run."""
  return loop.open_run(config, folder).steps


def train(config: Config, folder: pathlib.Path, steps: int) -> tuple[dict, Card] | None:
  """Variables and card of a run trained to its last step; None after SIGTERM."""
  if loop.train(config, folder) < steps:
    return None
  return convert.from_workdir(folder, steps)


def read(path: pathlib.Path) -> tuple[dict, Card]:
  """Variables and card of a weights file of this project, or of a checkpoint."""
  return files.load(path) if path.suffix == ".safetensors" else convert.read(path)


def file_fuser(
  path: pathlib.Path, sizes: Iterable[tuple[int, int]]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
  """f(visible, infrared) -> fused, uint8 [H, W], by the weights of a file, read when first used.

  sizes: (height, width) of all images to come.
  """

  @functools.cache
  def load() -> Model:
    variables, card = read(path)
    model = Model(variables, card.architecture)
    model.reserve(sizes)
    return model

  return lambda visible, infrared: load().fuse(visible, infrared, gray=True)


def batch_fuser(variables: dict, card: Card) -> Callable[[Pair], np.ndarray]:
  """f(pair) -> fused, uint8 [N, S, S, 1] all; networks of one architecture share one program."""
  module = files.model(card.architecture, "float32")

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
