"""Constant and identical images: the values agreed on in `strict`, and those of the toolkits."""

import math

import numpy as np
import pytest

PERFECT_STRICT = 0.9747936250
PERFECT_TOOLKIT = 0.97533
NAN = math.nan

# case -> metric -> value; only what misbehaves or is agreed on
TANG = {
  "Fconst": {"CC": NAN, "Qabf": 0.217, "MS_SSIM": 0.080},
  "Aconst": {"CC": NAN, "SCD": NAN, "VIF": NAN, "MS_SSIM": NAN},
  "allconst": {
    "CC": NAN,
    "SCD": NAN,
    "VIF": NAN,
    "Qabf": 0.4877,
    "SSIM": 0.8000,
    "MS_SSIM": 1.0,
  },
  "allsame": {
    "CC": NAN,
    "SCD": NAN,
    "VIF": NAN,
    "PSNR": math.inf,
    "Qabf": PERFECT_TOOLKIT,
    "SSIM": 1.0,
  },
  "allzero": {"CC": NAN, "SCD": NAN, "VIF": NAN, "PSNR": math.inf, "Qabf": NAN},
  "identical": {"PSNR": math.inf, "SCD": NAN, "Qabf": PERFECT_TOOLKIT, "VIF": 2.0, "CC": 1.0},
  "FisA": {"SCD": NAN},
}
CDDFUSE = {
  "Fconst": {"CC": NAN, "Qabf": 0.217},
  "Aconst": {"CC": NAN, "SCD": NAN},
  "allconst": {"CC": NAN, "SCD": NAN, "VIF": 2.0, "Qabf": 0.4877, "SSIM": 1.6000},
  "allsame": {
    "CC": NAN,
    "SCD": NAN,
    "VIF": 2.0,
    "PSNR": math.inf,
    "Qabf": PERFECT_TOOLKIT,
    "SSIM": 2.0,
  },
  "allzero": {"CC": NAN, "SCD": NAN, "VIF": 2.0, "PSNR": NAN, "Qabf": NAN},
  "identical": {
    "PSNR": math.inf,
    "SCD": NAN,
    "Qabf": PERFECT_TOOLKIT,
    "VIF": 2.0,
    "CC": 1.0,
    "SSIM": 2.0,
  },
  "FisA": {"SCD": NAN},
}
ALL_CONSTANT = {
  "CC": 0.0,
  "SCD": 0.0,
  "VIF": 2.0,
  "NMI": 2.0,
  "Qabf": PERFECT_STRICT,
  "FMI_none": 1.0,
  "FMI_gradient": 1.0,
  "FMI_edge": 1.0,
  "FMI_dct": 1.0,
  "EI": 0.0,
  "EN": 0.0,
  "Nabf": 0.0,
}
STRICT = {
  "Fconst": {"CC": 0.0, "VIF": 0.0, "NMI": 0.0, "Qabf": 0.0002, "Nabf": 0.0},
  "allconst": ALL_CONSTANT | {"SSIM": 0.80006, "PSNR": 10.172},
  "allsame": ALL_CONSTANT | {"SSIM": 1.0, "PSNR": math.inf},
  "allzero": ALL_CONSTANT | {"SSIM": 1.0, "PSNR": math.inf},
  "identical": {
    "PSNR": math.inf,
    "SCD": 0.0,
    "Qabf": PERFECT_STRICT,
    "VIF": 2.0,
    "NMI": 2.0,
    "CE": 0.0,
    "SSIM": 1.0,
  },
}
TABLES = {"tang": TANG, "cddfuse": CDDFUSE, "strict": STRICT}
ROUNDED = 5e-5  # the table gives four digits


@pytest.mark.parametrize("convention", TABLES)
def test_agreed_values(convention, measure, degenerate_images, x64):
  for case, values in TABLES[convention].items():
    scores = measure(*_case(degenerate_images, case), convention)
    for metric, value in values.items():
      got = scores[metric].value
      if math.isnan(value):
        assert math.isnan(got), (case, metric, got)
      else:
        tolerance = 6e-4 if value in (0.217, 0.080, 10.172) else ROUNDED
        assert got == pytest.approx(value, abs=tolerance), (case, metric)
      assert scores[metric].degenerate or math.isfinite(got), (case, metric)


@pytest.mark.parametrize("precision", ("float32", "float64"))
def test_strict_is_finite_but_for_psnr(precision, measure, degenerate_images, request):
  if precision == "float64":
    request.getfixturevalue("x64")
  cases = sorted({key.rsplit("_", 1)[0] for key in degenerate_images})
  assert len(cases) == 10
  for case in cases:
    scores = measure(*_case(degenerate_images, case), "strict", precision == "float64")
    for metric, score in scores.items():
      if metric == "PSNR" and math.isinf(score.value):
        assert score.value > 0 and score.degenerate
      else:
        assert math.isfinite(score.value), (case, metric)


def test_flags_under_strict(measure, degenerate_images, x64):
  """The flag is set where a source (or, for correlations, an operand) holds nothing."""
  flagged = {
    case: {
      name
      for name, score in measure(*_case(degenerate_images, case), "strict").items()
      if score.degenerate
    }
    for case in ("Fconst", "Aconst", "identical", "FisA", "allconst")
  }
  feature = {"FMI_none", "FMI_gradient", "FMI_edge", "FMI_dct"}
  assert flagged["Fconst"] == {"CC"}
  assert flagged["Aconst"] == {"CC", "SCD", "VIF"} | feature
  assert flagged["identical"] == {"SCD", "PSNR"}
  assert flagged["FisA"] == {"SCD"}
  assert flagged["allconst"] == {"CC", "SCD", "VIF", "NMI", "Qabf"} | feature


def test_terms_of_a_constant_source_under_strict(measure, degenerate_images, x64):
  """With a constant infrared image the visible image's own term is what is left."""
  visible, infrared, fused = _case(degenerate_images, "Aconst")
  scores = measure(visible, infrared, fused, "strict")
  twice = measure(visible, visible, fused, "strict")
  assert scores["CC"].value == pytest.approx(twice["CC"].value / 2, rel=1e-12)
  assert scores["VIF"].value == pytest.approx(1 + twice["VIF"].value / 2, rel=1e-12)
  difference = fused.astype(float) - infrared
  assert scores["SCD"].value == pytest.approx(
    np.corrcoef(difference.ravel(), visible.ravel())[0, 1], rel=1e-12
  )
  assert measure(visible, infrared, fused, "cddfuse")["VIF"].value == pytest.approx(
    scores["VIF"].value, rel=1e-12
  )


def test_identical_and_equal_images_under_strict(measure, degenerate_images, x64):
  scores = measure(*_case(degenerate_images, "identical"), "strict")
  assert scores["MI"].value == pytest.approx(2 * scores["EN"].value, rel=1e-12)
  visible, infrared, fused = _case(degenerate_images, "FisA")
  difference = infrared.astype(float) - visible
  assert measure(visible, infrared, fused, "strict")["SCD"].value == pytest.approx(
    np.corrcoef(difference.ravel(), infrared.ravel())[0, 1], rel=1e-12
  )


def test_entropy_of_a_constant_is_positive_zero(measure, degenerate_images, x64):
  for convention in TABLES:
    value = measure(*_case(degenerate_images, "allconst"), convention)["EN"].value
    assert value == 0 and math.copysign(1, value) == 1


def _case(images, case):
  return images[f"{case}_b"], images[f"{case}_a"], images[f"{case}_f"]
