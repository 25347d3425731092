"""Published fused pictures of three methods on TNO, scored by the toolkits themselves."""

import csv
import itertools

import numpy as np
import pytest
from command_line import SHARED
from full import FULL
from PIL import Image

from cfi_jax.metrics import Triplet

TOOLKIT = SHARED / "reference" / "toolkit"
TNO = SHARED / "data" / "tno"

pytestmark = pytest.mark.skipif(
  not (TOOLKIT.is_dir() and TNO.is_dir()), reason="shared/reference/toolkit is not here"
)


def read(path):
  with Image.open(path) as image:
    return np.asarray(image)


@pytest.fixture(scope="module")
def published():
  with open(TOOLKIT / "values.csv", newline="") as file:
    return list(csv.DictReader(file))


def chosen(pictures):
  """Pictures of two of the eight sizes, of two methods; with CFI_JAX_FULL=1 all pictures."""
  if FULL:
    return pictures
  sizes = {read(TNO / "ir" / f"{name}.png").shape[:2]: name for _, name in pictures}
  assert len(sizes) == 8
  methods = itertools.cycle(sorted({method for method, _ in pictures}))
  return list(zip(methods, [sizes[size] for size in sorted(sizes)[::4]], strict=False))


@pytest.mark.parametrize("convention", ("tang", "cddfuse"))
def test_toolkit_values(convention, published, score_large):
  """33 pictures of eight sizes; the published table has no FMI."""
  expected = {
    (row["method"], row["name"], row["metric"]): float(row["value"])
    for row in published
    if row["convention"] == convention
  }
  pictures = sorted({key[:2] for key in expected})
  assert len(pictures) == 33
  pictures = chosen(pictures)
  expected = {key: value for key, value in expected.items() if key[:2] in pictures}
  triplets = [
    Triplet(
      method,
      name,
      read(TNO / "vi" / f"{name}.png"),
      read(TNO / "ir" / f"{name}.png"),
      read(TOOLKIT / method / f"{name}.png"),
    )
    for method, name in pictures
  ]
  scores = score_large(triplets, convention)
  assert len(scores.rows) == len(expected)
  for row in scores.rows:
    value = expected[row.method, row.name, row.metric]
    if row.metric.startswith("Nabf"):
      assert row.value == pytest.approx(value, abs=1e-6), row
    else:
      assert row.value == pytest.approx(value, rel=1e-5), row
