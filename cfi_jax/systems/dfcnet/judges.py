"""Judges, which read keypoints off pictures: a network's own estimator, or BlazePose."""

import dataclasses
import os
from typing import Protocol

import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.images import ops
from cfi_jax.keypoints import blazepose
from cfi_jax.keypoints.blazepose import BlazePose

ENDINGS = (".tflite", ".tgz", ".tar", ".gz", ".whl", ".zip")  # of files of BlazePose
SIZE = "full"  # which network of a package reads


class Judge(Protocol):
  """Reads keypoints off pictures."""

  def read(self, pictures: Array) -> Array:
    """Keypoints [B, K, 3] of pictures [B, S, S, 3] in [0, 1]: x, y in pixels, above 0 if found."""


@dataclasses.dataclass(frozen=True)
class Independent:
  """BlazePose, which no training of these networks has seen."""

  network: BlazePose

  def read(self, pictures: Array) -> np.ndarray:
    """Keypoints as of `Judge`, of one picture after the other."""
    found = map(self.network.find, np.asarray(ops.to_uint8(pictures)))
    return np.stack([np.zeros((len(JOINTS), 3)) if own is None else own for own in found])


def is_blazepose(path: str | os.PathLike) -> bool:
  """Whether a path is called as a file or package of BlazePose, and not as weights."""
  return os.fspath(path).endswith(ENDINGS)


def load(path: str | os.PathLike) -> Independent:
  """The judge by a file or package of BlazePose, see `blazepose.load`."""
  return Independent(blazepose.load(os.fspath(path), SIZE))
