"""The fusion models that are analysed."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.tree_util import Partial

from cfi_jax.core import storage
from cfi_jax.core.keys import name_number
from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.systems import files as weights
from cfi_jax.systems.isfuse import model as model_lib
from cfi_jax.systems.isfuse.inference import Model


@dataclasses.dataclass(frozen=True)
class Subject:
  """A fusion model under analysis.

  name: in tables.
  fuse: Pair [B, H, W, 1] on the host -> fused images [B, H, W, 1] on the host, for any size and
    batch.
  details: the same -> the whole Fusion. A model without gates or features returns them empty.
  function: the same as a pure, differentiable function of arrays of one size. As a `Partial` of its
    weights it can be an argument of compiled functions: subjects of one architecture share them.
  randomised: seed -> the same model with weights as drawn before training; None if it has none.
  reserve: sizes -> None; plans programs that images of these (height, width) share.
  details_mb: (height, width) -> memory that `details` of such an image needs; `fuse` keeps to a
    budget by tiles.
  card: of the file that the weights are from, if any.
  fuse_told: as `fuse`, of a pair and of the pixels that have a value, bool [B, H, W, 1] by
    modality; None of a model that takes no masks.
  """

  name: str
  fuse: Callable[[Pair], np.ndarray]
  details: Callable[[Pair], Fusion]
  function: Partial
  randomised: Callable[[int], "Subject"] | None = None
  reserve: Callable[[Sequence[tuple[int, int]]], None] = lambda sizes: None
  details_mb: Callable[[tuple[int, int]], float] = lambda size: 0.0
  card: weights.Card | None = None
  fuse_told: Callable[[Pair, Pair], np.ndarray] | None = None


@dataclasses.dataclass(frozen=True)
class _Apply:
  """A module as a function of variables and pair; to `jax.jit` equal modules are one function."""

  module: nn.Module

  def __call__(self, variables: Mapping, pair: Pair) -> Fusion:
    return self.module.apply(variables, pair)


def from_function(name: str, function: Callable[[Pair], Fusion]) -> Subject:
  """The subject of a pure function of pairs [B, H, W, 1]; compiled once for each shape."""
  compiled = jax.jit(function)

  def details(pair: Pair) -> Fusion:
    return jax.tree.map(np.asarray, compiled(pair))

  return Subject(name, lambda pair: details(pair).fused, details, Partial(function))


def from_weights(path: str | os.PathLike) -> Subject:
  """The subject of a weights file or of shipped weights, under the file's name."""
  variables, card = weights.load(path)
  if card.system != "isfuse":
    raise InputError(f"{path}: weights of the system {card.system!r}; allowed here: isfuse")
  subject = from_variables(storage.path(path).stem, variables, card.architecture)
  return dataclasses.replace(subject, card=card)


def from_variables(name: str, variables: Mapping, architecture: Mapping[str, Any]) -> Subject:
  """The subject of `params` and `batch_stats` of an architecture (see `weights.file.Card`)."""
  model = Model(variables, architecture)

  def fuse(pair: Pair) -> np.ndarray:
    return model.fuse(pair.visible, pair.infrared)

  def details(pair: Pair) -> Fusion:
    return model.fuse(pair.visible, pair.infrared, return_details=True)[1]

  def randomised(seed: int) -> Subject:
    # Not the key of training: a model stays akin to its first weights.
    key = jax.random.fold_in(jax.random.key(seed), name_number("randomised"))
    drawn = jax.tree.map(np.asarray, _initial(model.module, key))
    return from_variables(f"{name}, randomised", drawn, architecture)

  def fuse_told(pair: Pair, valid: Pair) -> np.ndarray:
    return model.fuse(pair.visible, pair.infrared, valid=valid)

  return Subject(
    name,
    fuse,
    details,
    Partial(_Apply(model.module), variables),
    randomised,
    model.reserve,
    model.details_mb,
    fuse_told=fuse_told if model.takes_valid else None,
  )


_initial = jax.jit(model_lib.init, static_argnums=0)
