"""Restoration networks that were never trained, as the authors' script may leave one."""

import warnings
from collections.abc import Mapping

import numpy as np
from flax import traverse_util

FIRST = {"scale": 1, "temperature": 1, "bias": 0}  # values of leaves before training


class UntrainedWarning(UserWarning):
  """A restoration network whose parameters look as they were before training."""


def warn_of_untrained(variables: Mapping, label: str) -> None:
  """Warns, under a label, of variables whose norms and temperatures are all as before training."""
  leaves = traverse_util.flatten_dict(variables["params"]).items()
  telling = [(leaf, FIRST[path[-1]]) for path, leaf in leaves if path[-1] in FIRST]
  if all(np.all(np.asarray(leaf) == first) for leaf, first in telling):
    warnings.warn(
      f"{label}: every norm and temperature of the restoration network is as before training; the "
      "authors' script leaves it random where names in its file do not fit",
      UntrainedWarning,
      stacklevel=3,
    )
