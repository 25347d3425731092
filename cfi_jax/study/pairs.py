"""Test pairs that studies score on: named data sets, and the folders that their settings need."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.data.source import Source
from cfi_jax.datasets.files import FileDataset
from cfi_jax.datasets.folder import Folder
from cfi_jax.study import grid

Size = tuple[int, int]  # height, width


def check_tests(tests: Mapping[str, Mapping[str, Any]], chosen: tuple[str, ...]) -> None:
  """Refuses config.score = `chosen` where it names no data set of `tests` with test pairs."""
  grid.check_names("score", chosen, tests)
  for test in chosen:
    dataset = datasets.load(tests[test])
    if isinstance(dataset, Folder) and dataset.validation_fraction:
      raise InputError(
        f"config.tests.{test}.validation_fraction is {dataset.validation_fraction}; allowed: 0, "
        "as all pairs of a folder are scored"
      )
    if not isinstance(dataset, FileDataset) or _split(tests[test]) not in dataset.splits:
      raise InputError(f"config.tests.{test}: {dataset.title} has no test pairs")


def require_roots(
  places: Mapping[str, Mapping[str, Any]], roots: Iterable[str], without: str
) -> None:
  """Refuses settings of data sets without a folder, which no config file has.

  places: by path in the config. roots: names under config.roots. without: names of the fields that
  can leave one out.
  """
  for place, settings in places.items():
    if "root" in settings and not settings["root"]:
      raise InputError(
        f"config.{place}.root is empty; give its folder by --config.roots.NAME=PATH, NAME among "
        f"{', '.join(roots)}, or leave it out of {without}"
      )


def open_tests(
  tests: Mapping[str, Mapping[str, Any]], chosen: tuple[str, ...]
) -> dict[str, Source]:
  """The test pairs of the chosen data sets."""
  return {test: datasets.load(tests[test]).source(_split(tests[test])) for test in chosen}


def _split(settings: Mapping[str, Any]) -> str:
  """The split that is scored; of a folder all pairs are for training."""
  return "train" if settings["name"] == Folder.name else "test"


def read_sizes(sources: Mapping[str, Source]) -> dict[str, list[Size]]:
  """Sizes of all pairs by test; refuses what cannot be read and what no metric is defined on."""
  sizes: dict[str, list[Size]] = {}
  for test, source in sources.items():
    sizes[test] = []
    for name, headers in zip(source.names, source.check_headers(), strict=True):
      if {header.depth for header in headers.values()} != {np.uint8}:
        raise InputError(
          f"config.tests.{test}: {name} has 16 bits per channel; metrics are defined on 8-bit files"
        )
      sizes[test].append((headers["visible"].height, headers["visible"].width))
  return sizes
