"""Closed forms, symmetries, invariances and responses that hold by definition (section 12)."""

import functools

import jax
import numpy as np
import pytest
import scipy.ndimage

from cfi_jax.metrics import METRICS, find_metrics

SIDE = 128


def checkerboard():
  rows, columns = np.mgrid[0:SIDE, 0:SIDE]
  return ((rows + columns) % 2 * 255).astype(np.uint8)


def test_checkerboard(measure, x64):
  image = checkerboard()
  strict = measure(image, image, image, "strict")
  expected = {
    "EN": 1,
    "SD": 127.5,
    "SF": 360.6244584,
    "AG": 5.608969941,
    "EI": 0.1760861613,
    "MI": 2,
  }
  for metric, value in expected.items():
    assert strict[metric].value == pytest.approx(value, rel=1e-9), metric
  assert measure(image, image, image, "tang")["AG"].value == pytest.approx(5.697647933, rel=1e-9)


def test_ramp(measure, x64):
  image = np.tile(2 * np.arange(SIDE, dtype=np.uint8), (SIDE, 1))
  strict = measure(image, image, image, "strict")
  expected = {"EN": 7, "SF": 2, "AG": 1.414213562, "EI": 15.875, "MI": 14}
  for metric, value in expected.items():
    assert strict[metric].value == pytest.approx(value, rel=1e-9), metric
  assert measure(image, image, image, "tang")["AG"].value == pytest.approx(1.436572324, rel=1e-9)


@pytest.mark.parametrize("convention", ("tang", "cddfuse", "strict"))
def test_swapping_the_sources_changes_only_the_misprinted_nabf(convention, scene, measure, x64):
  visible, infrared, fused = scene
  one, other = measure(*scene, convention), measure(infrared, visible, fused, convention)
  for metric in one:
    same = one[metric].value == pytest.approx(other[metric].value, rel=1e-12)
    assert same != (metric == "Nabf_asis"), metric


def test_transposing_changes_only_fmi(scene, measure, x64):
  one = measure(*scene, "strict")
  other = measure(*(x.T for x in scene), "strict")
  for metric in one:
    # a pixel without gradient has an agreed orientation, which does not turn with the image
    tolerance = {"Qabf": 1e-4, "Nabf": 1e-6}.get(metric, 1e-11)
    if metric.startswith("FMI"):
      tolerance = 0.05
    assert one[metric].value == pytest.approx(other[metric].value, rel=tolerance), metric
  assert one["FMI_none"].value != pytest.approx(other["FMI_none"].value, rel=1e-9)


def test_adding_a_constant_changes_no_contrast_metric(scene, measure, x64):
  visible, infrared, fused = (x // 2 for x in scene)
  one, other = (measure(visible, infrared, fused + k, "strict") for k in (0, 100))
  for metric in ("SD", "SF", "AG", "EI", "CC", "SCD", "VIF", "EN", "MI", "NMI", "Qabf", "Nabf"):
    assert one[metric].value == pytest.approx(other[metric].value, rel=1e-9), metric
  for metric in ("MSE", "PSNR", "SSIM", "CE"):
    assert one[metric].value != pytest.approx(other[metric].value, rel=1e-2), metric


def test_conventions_are_tied_as_documented(scene, measure, x64):
  """Which values of one convention follow from those of another, and by which factor."""
  tang, cddfuse, strict = (measure(*scene, c) for c in ("tang", "cddfuse", "strict"))
  height, width = scene[0].shape
  for metric in ("EN", "SD", "SF", "CC", "SCD", "VIF"):
    assert tang[metric].value == pytest.approx(cddfuse[metric].value, rel=1e-12), metric
    assert tang[metric].value == pytest.approx(strict[metric].value, rel=1e-12), metric
  factor = height * width / ((height - 1) * (width - 1))
  assert tang["AG"].value == pytest.approx(factor * cddfuse["AG"].value, rel=1e-12)
  assert strict["AG"].value == cddfuse["AG"].value
  assert tang["MSE"].value == pytest.approx(cddfuse["MSE"].value / 65025, rel=1e-12)
  assert strict["MI"].value == pytest.approx(cddfuse["MI"].value / np.log(2), rel=1e-12)
  assert tang["PSNR"].value == pytest.approx(strict["PSNR"].value + 48.1308036087, abs=1e-9)
  peak = 20 * np.log10(scene[2].max() / 255)
  assert cddfuse["PSNR"].value == pytest.approx(strict["PSNR"].value + peak, abs=1e-9)


def test_noise_raises_what_it_should(scene, measure, x64):
  """Noise raises the metrics of the fused image alone, and lowers those of fidelity."""
  visible, infrared, _ = scene
  average = (visible.astype(float) + infrared) / 2
  noise = np.random.default_rng(3).standard_normal(average.shape)
  rows = [
    measure(visible, infrared, np.clip(np.round(average + s * noise), 0, 255), "strict")
    for s in (0, 6, 18)
  ]
  for metric in ("SF", "AG", "EI", "MSE"):
    assert rows[0][metric].value < rows[1][metric].value < rows[2][metric].value, metric
  for metric in ("PSNR", "SSIM", "CC", "VIF", "Qabf"):
    assert rows[0][metric].value > rows[1][metric].value > rows[2][metric].value, metric


def test_blur_lowers_what_it_should(scene, measure, x64):
  visible, infrared, fused = scene
  rows = [
    measure(
      visible,
      infrared,
      np.round(scipy.ndimage.gaussian_filter(fused.astype(float), sigma)),
      "strict",
    )
    for sigma in (0, 0.8, 2.5)
  ]
  for metric in ("SF", "AG", "EI", "SD", "VIF", "Qabf"):
    assert rows[0][metric].value > rows[1][metric].value > rows[2][metric].value, metric


def test_values_lie_in_the_stated_range(reference, measure, degenerate_images, x64):
  images, _ = reference
  cases = [[images[f"t2_{role}"] for role in ("visible", "infrared", "fused")]]
  cases += [[degenerate_images[f"{c}_{r}"] for r in "baf"] for c in ("identical", "F255")]
  for convention in ("tang", "cddfuse", "strict"):
    for case in cases:
      for name, score in measure(*case, convention).items():
        low, high = METRICS[name].ranges[convention]
        if not score.degenerate:
          assert low - 1e-5 <= score.value <= high + 1e-5, (convention, name)


def test_eager_jit_vmap_and_channel_axis_agree(scene):
  """A cheap metric called in every way gives one number, also with the exact size."""
  metric = functools.partial(METRICS["SF"], convention="strict")
  eager = float(metric(*scene).value)
  images = [np.asarray(x)[None, ..., None] for x in scene]
  batch = jax.vmap(metric)(*(np.concatenate([x, x[:, ::-1]]) for x in images))
  assert float(jax.jit(metric)(*scene).value) == pytest.approx(eager, rel=1e-6)
  np.testing.assert_allclose(batch.value, [eager, eager], rtol=1e-6)
  assert batch.degenerate.shape == (2,)


def test_every_metric_states_what_it_is():
  for name, metric in METRICS.items():
    assert metric.name == name and metric.title
    assert metric.direction in ("higher", "lower")
    for convention in metric.conventions:
      low, high = metric.ranges[convention]
      assert low < high
      assert 1 <= metric.minimum_side(convention) <= 176
  lower = {name for name, metric in METRICS.items() if metric.direction == "lower"}
  assert lower == {"CE", "MSE", "Nabf", "Nabf_asis"}
  assert len(find_metrics(None, "cddfuse")) == 12
