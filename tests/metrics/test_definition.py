"""Input checks of the metrics and of their lookup."""

import math
import re

import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.core.types import InputError
from cfi_jax.metrics import (
  METRICS,
  catalogue,
  definition,
  find_metric,
  find_metrics,
  spell_metrics,
)
from cfi_jax.metrics.catalogue import make_scorer, require_side
from cfi_jax.metrics.definition import Score

IMAGE = np.zeros((48, 48), np.uint8)


def test_unknown_names_list_the_valid_ones():
  with pytest.raises(InputError, match=r"'SSMI'.*valid: EN, SD.*FMI_dct"):
    find_metric("SSMI")
  with pytest.raises(InputError, match=r"'matlab'.*valid: tang, cddfuse, strict"):
    find_metrics(None, "matlab")
  with pytest.raises(InputError, match=r"'matlab'.*tang, cddfuse, strict"):
    METRICS["EN"](IMAGE, IMAGE, IMAGE, convention="matlab")
  with pytest.raises(InputError, match=r"NMI is not defined under convention 'tang'.*strict"):
    find_metrics(["EN", "NMI"], "tang")
  with pytest.raises(InputError, match="named twice: EN"):
    find_metrics(["EN", "SD", "EN"], "tang")
  with pytest.raises(InputError, match="no metric"):
    find_metrics([], "tang")


@pytest.mark.parametrize(
  ("written", "name"),
  [("ms-ssim", "MS_SSIM"), ("Qab/f", "Qabf"), ("q^{AB/F}", "Qabf"), ("en", "EN"),
   ("fmi pixel", "FMI_pixel"), ("NABF-AsIs", "Nabf_asis"), ("Nabf", "Nabf")],
)  # fmt: skip
def test_names_fold_capitals_dashes_underscores_and_slashes(written, name):
  assert find_metric(written) is METRICS[name]
  assert spell_metrics([written, "SD"], "tang") == (name, "SD")


def test_no_two_metrics_have_one_folded_name():
  assert all(find_metric(name.lower().replace("_", "-")) is METRICS[name] for name in METRICS)


@pytest.mark.parametrize(("written", "near"), [("SSMI", "SSIM"), ("fmi-edges", "FMI_edge")])
def test_a_misspelt_metric_names_the_nearest(written, near):
  with pytest.raises(InputError, match=f"'{written}' .did you mean '{near}'.*valid: EN"):
    find_metric(written)
  with pytest.raises(InputError, match="unknown metric '-'; valid"):
    find_metric("-")


def test_one_metric_in_two_spellings_is_named_twice():
  with pytest.raises(InputError, match="named twice: MS_SSIM"):
    find_metrics(["MS_SSIM", "SD", "ms-ssim"], "tang")


def test_floating_point_images_are_refused():
  with pytest.raises(InputError, match=r"infrared.*integer levels 0\.\.255, got float32"):
    METRICS["EN"](IMAGE, IMAGE.astype(np.float32), IMAGE, convention="tang")


def test_levels_beyond_eight_bits_are_refused():
  with pytest.raises(InputError, match=r"fused: levels 0\.\.4000; allowed: 0\.\.255"):
    wide = np.zeros((48, 48), np.uint16)
    wide[0, 0] = 4000
    METRICS["EN"](IMAGE, IMAGE, wide, convention="tang")


@pytest.mark.parametrize("level", [-1, 256])
def test_levels_just_beyond_eight_bits_are_refused(level):
  wide = np.full((48, 48), 9, np.int16)
  wide[5, 7] = level
  with pytest.raises(InputError, match=rf"visible: levels .*{level}.*; allowed: 0\.\.255"):
    METRICS["EN"](wide, IMAGE, IMAGE, convention="tang")


def test_one_channel_is_an_image_and_a_batch_is_none():
  assert definition._levels(np.zeros((4, 5, 1), np.uint8), "x").shape == (4, 5)
  with pytest.raises(InputError, match=r"x: metrics take one image .*got shape \(1, 4, 5\)"):
    definition._levels(np.zeros((1, 4, 5), np.uint8), "x")


SIDES = {
  1: ("EN", "SD", "CE", "MI", "NMI", "CC", "SCD", "MSE", "PSNR"),
  2: ("SF", "AG", "EI", "Qabf", "Nabf", "Nabf_asis"),
  3: ("FMI_none", "FMI_gradient", "FMI_edge", "FMI_pixel", "FMI_dct"),
  41: ("VIF",),
}


def test_every_metric_has_the_side_that_it_needs_and_its_conventions():
  for side, names in SIDES.items():
    for name in names:
      sides = {METRICS[name].minimum_side(c) for c in METRICS[name].conventions}
      assert sides == {side}, name
  assert METRICS["SSIM"].minimum_sides == {"tang": 1, "cddfuse": 7, "strict": 11}
  others = {name for names in SIDES.values() for name in names}
  assert set(METRICS) - others == {"SSIM", "MS_SSIM"}


def test_ranges_are_those_of_8_bits():
  """The range for n levels: differences of up to 255, and of Sobel of up to 4 times that."""
  infinite, bit = math.inf, math.log(2)
  ranges = {
    "EN": [(0, 8)] * 3,
    "SD": [(0, 255 / 2)] * 3,
    "SF": [(0, 255 * math.sqrt(2))] * 3,
    "AG": [(0, 4 * 255), (0, 255), (0, 255)],
    "EI": [(0, 4 * 255 * math.sqrt(2))],
    "CE": [(0, infinite)],
    "MI": [(0, 16 + 4), (0, 16 * bit), (0, 16)],
    "NMI": [(0, 2)],
    "CC": [(-1, 1)] * 3,
    "SCD": [(-2, 2)] * 3,
    "MSE": [(0, 1), (0, 255**2), (0, 255**2)],
    "PSNR": [(20 * math.log10(255), infinite), (-infinite, infinite), (0, infinite)],
    "SSIM": [(-1, 1), (-2, 2), (-1, 1)],
    "MS_SSIM": [(-1, 1), (0, 1)],
    "VIF": [(0, infinite)] * 3,
    "Nabf": [(0, 1)] * 2,
    "Nabf_asis": [(0, 1)],
    "FMI_dct": [(0, 1)] * 2,
  }
  for name, wanted in ranges.items():
    assert list(METRICS[name].ranges.values()) == [pytest.approx(ends) for ends in wanted], name
  perfect = 0.9994 / (1 + math.exp(-7.5)) * 0.9879 / (1 + math.exp(-4.4))
  assert METRICS["Qabf"].ranges["strict"] == pytest.approx((0, perfect))
  for convention in ("tang", "cddfuse"):
    assert METRICS["Qabf"].ranges[convention] == pytest.approx((0, perfect + 6e-4), abs=1e-4)


def test_shapes_are_checked():
  with pytest.raises(InputError, match=r"differ in shape.*\(48, 48\).*\(48, 47\)"):
    METRICS["EN"](IMAGE, IMAGE, IMAGE[:, :-1], convention="tang")
  colour = np.zeros((48, 48, 3), np.uint8)
  with pytest.raises(InputError, match=r"visible: .*\(48, 48, 3\)"):
    METRICS["EN"](colour, colour, colour, convention="tang")


@pytest.mark.parametrize(
  ("name", "convention", "side"),
  [
    ("VIF", "tang", 41),
    ("MS_SSIM", "tang", 44),
    ("MS_SSIM", "strict", 176),
    ("SSIM", "cddfuse", 7),
    ("SSIM", "strict", 11),
    ("FMI_none", "strict", 3),
    ("AG", "strict", 2),
  ],
)
def test_minimum_side(name, convention, side):
  metric = METRICS[name]
  assert metric.minimum_side(convention) == side
  small = np.zeros((side - 1, side + 20), np.uint8)
  with pytest.raises(InputError, match=f"{name}.*at least {side}x{side}.*got {side - 1}x"):
    metric(small, small, small, convention=convention)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_defined_in_the_documents(name):
  scores = (ROOT / "docs" / "scores.md").read_text()
  assert re.search(rf"(^|\W){name}(\W|$)", scores), f"docs/scores.md lacks {name}"
  assert METRICS[name].direction in scores


@pytest.mark.parametrize(("side", "fits"), [(41, True), (40, False)])
def test_a_crop_below_the_side_of_a_metric_is_refused(side, fits):
  require_side((), "strict", 1)
  if fits:
    require_side(("EN", "vif"), "strict", side)
  else:
    with pytest.raises(InputError, match="VIF needs images of 41 pixels or more, and input.crop "):
      require_side(("EN", "vif"), "strict", side)


def test_a_scorer_compares_levels_and_gives_nan_where_there_is_no_score(monkeypatch):
  images = np.random.default_rng(0).random((3, 6, 8, 1), np.float32)

  def metric(name, degenerate):
    def measure(*levels, convention):
      for image, level in zip(images, levels, strict=True):
        np.testing.assert_array_equal(level, np.floor(image * 255 + 0.5))
      return Score(7.5, degenerate)

    measure.name = name
    return measure

  chosen, asked = [metric("a", False), metric("b", True)], []
  monkeypatch.setattr(catalogue, "find_metrics", lambda *given: asked.append(given) or chosen)
  scores = make_scorer(("a", "b"), "strict")(*images)
  assert asked == [(("a", "b"), "strict")]
  assert list(scores) == ["a", "b"] and scores["a"] == 7.5 and np.isnan(scores["b"])
  assert make_scorer((), "strict")(*images) == {} and len(asked) == 1
