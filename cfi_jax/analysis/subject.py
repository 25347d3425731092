"""The fusion models that are analysed."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Sequence

import jax
import numpy as np

from cfi_jax.inference import load
from cfi_jax.types import Fusion, Pair


@dataclasses.dataclass(frozen=True)
class Subject:
  """A fusion model under analysis.

  name: in tables.
  fuse: Pair [B, H, W, 1] on the host -> Fusion on the host, for any size and batch. A model without
    gates or features returns them empty.
  function: the same as a pure, differentiable function of arrays of one size.
  """

  name: str
  fuse: Callable[[Pair], Fusion]
  function: Callable[[Pair], Fusion]


def from_function(name: str, function: Callable[[Pair], Fusion]) -> Subject:
  """The subject of a pure function of pairs [B, H, W, 1]; compiled once for each shape."""
  compiled = jax.jit(function)
  return Subject(name, lambda pair: jax.tree.map(np.asarray, compiled(pair)), function)


def from_weights(path: str | os.PathLike, sizes: Sequence[tuple[int, int]] = ()) -> Subject:
  """The subject of a weights file, under the file's name; `sizes` share at most six programs."""
  model = load(path)
  model.reserve(sizes)

  def fuse(pair: Pair) -> Fusion:
    return model.fuse(pair.visible, pair.infrared, return_details=True)[1]

  def function(pair: Pair) -> Fusion:
    return model.module.apply(model.variables, pair, train=False)

  return Subject(pathlib.Path(path).stem, fuse, function)
