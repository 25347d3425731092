"""Input checks of the metrics and of their lookup."""

import re

import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.core.types import InputError
from cfi_jax.metrics import METRICS, catalogue, find_metric, find_metrics, spell_metrics
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
