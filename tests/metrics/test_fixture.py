"""Every value of the reference fixture, in float64 and in float32."""

import functools

import jax
import numpy as np
import pytest

from cfi_jax.metrics import METRICS, Score, Triplet

NAMES = ("t1", "t2", "t3", "t4")
# helper values that the toolkit does not print, and the wavelet variant that cannot be reproduced
LEFT_OUT = {"SSIM255", "MEF_SSIM", "MS_SSIM_scales", "FMI_edge_octave", "FMI_w_pywt62"}


def triplet(images, name):
  return [images[f"{name}_{role}"] for role in ("visible", "infrared", "fused")]


def compare(scores, values, relative, absolute_nabf):
  for metric, value in values.items():
    if metric in LEFT_OUT:
      continue
    got = scores[metric].value
    if value is None:
      assert np.isnan(got) and scores[metric].degenerate, metric
      continue
    if metric.startswith("Nabf"):
      assert got == pytest.approx(value, rel=0, abs=absolute_nabf), metric
    else:
      tolerance = relative[metric] if metric in relative else relative["other"]
      assert got == pytest.approx(value, rel=tolerance, abs=0), metric
    assert not scores[metric].degenerate, metric


@pytest.mark.parametrize("convention", ("tang", "cddfuse", "strict"))
def test_float64(convention, reference, measure, x64):
  images, values = reference
  for name in NAMES:
    scores = measure(*triplet(images, name), convention)
    expected = dict(values[name][convention])
    if name == "t4" and convention == "strict":
      assert scores["SCD"].degenerate  # the fused image is the visible one
      assert scores["SCD"].value == pytest.approx(expected.pop("SCD"), rel=1e-9)
    tight = {"SSIM": 1e-8, "other": 1e-9} if convention == "tang" else {"other": 1e-9}
    compare(scores, expected, tight, absolute_nabf=1e-12)


@pytest.mark.parametrize("convention", ("tang", "cddfuse"))
def test_float32(convention, reference, score_large):
  """All but FMI as `score` gives it, on a canvas far larger than the images."""
  images, values = reference
  triplets = [Triplet("m", name, *triplet(images, name)) for name in NAMES]
  rows = score_large(triplets, convention).rows
  for name in NAMES:
    scores = {row.metric: Score(row.value, row.degenerate) for row in rows if row.name == name}
    expected = {k: v for k, v in values[name][convention].items() if not k.startswith("FMI")}
    compare(scores, expected, {"other": 1e-5}, absolute_nabf=1e-7)


def test_float32_fmi(reference):
  images, values = reference
  for name in ("t1", "t2"):
    padded = [np.pad(x, [(0, 128 - n) for n in x.shape]) for x in triplet(images, name)]
    size = images[f"{name}_fused"].shape
    for metric in ("FMI_none", "FMI_gradient", "FMI_pixel", "FMI_dct"):
      score = METRICS[metric](*padded, convention="tang", size=size)
      assert score.value.dtype == np.float32
      assert float(score.value) == pytest.approx(values[name]["tang"][metric], rel=1e-5), metric


def test_every_value_of_the_fixture_is_compared(reference):
  _, values = reference
  for name in NAMES:
    for convention in ("tang", "cddfuse", "strict"):
      for metric in set(values[name][convention]) - LEFT_OUT:
        assert convention in METRICS[metric].conventions


def test_multiscale_on_doubled_images(reference, x64):
  images, values = reference
  compiled = jax.jit(functools.partial(METRICS["MS_SSIM"], convention="strict"))
  for name in ("t1", "t3"):
    doubled = [np.kron(x, np.ones((2, 2), np.int32)) for x in triplet(images, name)]
    size = tuple(np.int32(side) for side in doubled[0].shape)
    canvases = [
      np.pad(x, [(0, 256 - side) for side in x.shape], constant_values=9) for x in doubled
    ]
    score = compiled(*canvases, size=size)
    assert float(score.value) == pytest.approx(values[name]["strict_x2"]["MS_SSIM"], rel=1e-9)
