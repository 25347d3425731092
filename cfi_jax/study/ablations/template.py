"""The config of a study of ablations, for config files."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict


def ablations(
  full: ConfigDict,
  changes: Mapping[str, Mapping[str, Any]],
  scores: Sequence[str],
  paths: Sequence[str] = (),
) -> ConfigDict:
  """A study of a recipe, the row `full`, and of copies of it, each with its changes by path.

  scores: to be tabulated. paths: names of the fields of `paths`, which rows may refer to.
  """
  rows = {"full": full}
  for name, change in changes.items():
    rows[name] = copy.deepcopy(full)
    rows[name].update_from_flattened_dict(change)
  return ConfigDict(
    dict(
      study="ablations",
      rows=rows,
      order=tuple(rows),
      seeds=(0, 1, 2),
      reference="full",
      scores=tuple(scores),
      paths=dict.fromkeys(paths, ""),
    )
  )
