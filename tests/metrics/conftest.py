"""Few compiled programs, and the reference triplets, for all tests of metrics."""

import functools
import json

import jax
import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.metrics import METRICS, Score, Triplet, find_metrics, score

FIXTURES = ROOT / "tests" / "fixtures"
CANVAS = 128


@functools.partial(jax.jit, static_argnames=("names", "convention"))
def _measure(visible, infrared, fused, size, names, convention):
  return {
    name: METRICS[name](visible, infrared, fused, convention=convention, size=size)
    for name in names
  }


def measure_triplet(visible, infrared, fused, convention, costly=True) -> dict[str, Score]:
  """Metrics of images of up to 128 pixels a side, on a canvas whose rest is filled with noise.

  FMI and VIF are called without jit: their costly parts are jitted by themselves, and so compiled
  once for all features and conventions. costly=False leaves them out.
  """
  names = tuple(
    name
    for name, metric in METRICS.items()
    if convention in metric.conventions and metric.minimum_side(convention) <= CANVAS
  )
  images = [np.asarray(x) for x in (visible, infrared, fused)]
  size = tuple(np.int32(side) for side in images[0].shape)
  rng = np.random.default_rng(5)
  canvases = rng.integers(0, 256, (3, CANVAS, CANVAS), dtype=np.int32)
  for canvas, image in zip(canvases, images, strict=True):
    canvas[: image.shape[0], : image.shape[1]] = image
  apart = [name for name in names if name.startswith(("FMI", "VIF"))]
  together = tuple(name for name in names if name not in apart)
  scores = _measure(*canvases, size, together, convention)
  for name in apart if costly else ():
    scores[name] = METRICS[name](*canvases, convention=convention, size=size)
  scores = jax.device_get(scores)
  return {name: Score(float(s.value), bool(s.degenerate)) for name, s in scores.items()}


@pytest.fixture(scope="session")
def measure():
  """measure(visible, infrared, fused, convention, costly=True) -> {metric: Score}."""
  return measure_triplet


@pytest.fixture(scope="session")
def reference():
  """(arrays, values): four triplets and their scores by other programs; null means NaN."""
  with np.load(FIXTURES / "metrics_fixture.npz") as arrays:
    images = dict(arrays)
  return images, json.loads((FIXTURES / "metrics_fixture.json").read_text())


@pytest.fixture(scope="session")
def degenerate_images():
  """Constant and identical images ; keys CASE_f, CASE_a, CASE_b."""
  with np.load(FIXTURES / "metrics_degenerate.npz") as arrays:
    return dict(arrays)


@pytest.fixture(scope="session")
def scene():
  """A small triplet (visible, infrared, fused) of smooth and rough parts, uint8 [44, 47]."""
  rng = np.random.default_rng(11)
  rows, columns = np.mgrid[0:44, 0:47]
  visible = 90 + 60 * np.sin(columns / 5) + 12 * rng.standard_normal(rows.shape)
  infrared = 60 + 120 * ((rows - 20) ** 2 + (columns - 25) ** 2 < 90) + rows
  infrared = infrared + 6 * rng.standard_normal(rows.shape)
  fused = 0.6 * visible + 0.5 * infrared + 4 * rng.standard_normal(rows.shape)
  fused[30:40, 5:20] = 100  # a flat patch
  return tuple(np.clip(np.round(x), 0, 255).astype(np.uint8) for x in (visible, infrared, fused))


@pytest.fixture
def score_large(one_canvas):
  """score_large(triplets, convention) -> Scores but for FMI, all on the canvas of the largest."""

  def compute(triplets: list[Triplet], convention: str):
    names = [m.name for m in find_metrics(None, convention) if not m.name.startswith("FMI")]
    return score(triplets, names, convention, progress=False)

  return compute
