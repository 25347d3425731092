"""The metrics by name, with what one must know to read a value: the one place that names them."""

import difflib
import functools
import re
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array, InputError
from cfi_jax.metrics import correlation, fmi, fmi_maps, gradient, information, statistics
from cfi_jax.metrics.definition import CONVENTIONS, Metric, check_convention
from cfi_jax.metrics.levels import quantise
from cfi_jax.metrics.structure import BOX, multiscale, structural_similarity
from cfi_jax.metrics.vif import visual_information_fidelity

INFINITE = float("inf")
NATS = float(np.log(2))  # in a bit
RATIO = 20 * float(np.log10(255))  # decibels between a peak of 255 and one of 1
# A perfect transfer; the toolkits' rule for equal strengths adds 0.0006.
QABF = {"tang": (0.0, 0.9754), "cddfuse": (0.0, 0.9754)}
QABF["strict"] = (0.0, float(gradient.PERFECT_TRANSFER))
# The toolkit divides a sum over H W pixels by (H - 1)(W - 1): at most 4 times the mean, at 2x2.
AG = {"tang": (0.0, 1020.0), "cddfuse": (0.0, 255.0), "strict": (0.0, 255.0)}
# The toolkit counts entropy of levels that it has merged: up to 1 bit more per image and source.
MI = {"tang": (0.0, 20.0), "cddfuse": (0.0, 16 * NATS), "strict": (0.0, 16.0)}
MSE = {"tang": (0.0, 1.0), "cddfuse": (0.0, 255.0**2), "strict": (0.0, 255.0**2)}
PSNR = {"tang": (RATIO, INFINITE), "cddfuse": (-INFINITE, INFINITE), "strict": (0.0, INFINITE)}
SSIM = {"tang": (-1.0, 1.0), "cddfuse": (-2.0, 2.0), "strict": (-1.0, 1.0)}
# The toolkit repeats the border, so that any image holds a window.
SSIM_SIDES = {"tang": 1, "cddfuse": BOX, "strict": 11}
MS_SSIM = {"tang": (-1.0, 1.0), "strict": (0.0, 1.0)}


def _within(low: float, high: float, *conventions: str) -> dict[str, tuple[float, float]]:
  """One range under several conventions; without names under all."""
  return dict.fromkeys(conventions or CONVENTIONS, (low, high))


def _fmi(name: str, title: str, feature, *conventions: str) -> Metric:
  title = f"feature mutual information of {title}"
  function = functools.partial(fmi.feature_mutual_information, feature=feature)
  return Metric(name, title, "higher", _within(0.0, 1.0, *conventions), function, 3)


_TABLE = (
  Metric("EN", "entropy", "higher", _within(0.0, 8.0), information.entropy, unit="bits"),
  Metric("SD", "standard deviation", "higher", _within(0.0, 127.5),
         statistics.standard_deviation, unit="levels"),
  Metric("SF", "spatial frequency", "higher", _within(0.0, 360.6244584051392),
         statistics.spatial_frequency, 2, "levels"),
  Metric("AG", "average gradient", "higher", AG,
         statistics.average_gradient, 2, "levels per pixel"),
  Metric("EI", "edge intensity (mean Sobel magnitude)", "higher",
         _within(0.0, 1442.4978336205573, "strict"), statistics.edge_intensity, 2, "levels"),
  Metric("CE", "cross entropy of the histograms (add-one smoothed)", "lower",
         _within(0.0, INFINITE, "strict"), information.cross_entropy, unit="bits"),
  Metric("MI", "mutual information, sum over the sources", "higher", MI,
         information.mutual_information, unit="bits (cddfuse: nats)"),
  Metric("NMI", "normalised mutual information (Hossny), sum over the sources", "higher",
         _within(0.0, 2.0, "strict"), information.normalised_mutual_information),
  Metric("CC", "correlation coefficient, mean over the sources", "higher",
         _within(-1.0, 1.0), correlation.correlation_coefficient),
  Metric("SCD", "sum of the correlations of differences", "higher",
         _within(-2.0, 2.0), correlation.correlations_of_differences),
  Metric("MSE", "mean squared error, mean over the sources", "lower", MSE,
         correlation.mean_squared_error, unit="squared levels (tang: of images in [0, 1])"),
  Metric("PSNR", "peak signal-to-noise ratio", "higher", PSNR,
         correlation.peak_signal_to_noise_ratio, unit="dB"),
  Metric("SSIM", "structural similarity, mean (cddfuse: sum) over the sources", "higher", SSIM,
         structural_similarity, SSIM_SIDES),
  Metric("MS_SSIM", "multi-scale structural similarity (tang: a three-scale MEF-SSIM, not Wang's)",
         "higher", MS_SSIM, multiscale, {"tang": 44, "strict": 176}),
  Metric("VIF", "visual information fidelity (VIFp), sum over the sources", "higher",
         _within(0.0, INFINITE), visual_information_fidelity, 41),
  Metric("Qabf", "edge transfer (Xydeas-Petrovic)", "higher", QABF, gradient.edge_transfer, 2),
  Metric("Nabf", "modified fusion artefacts (arguments in the meant order)", "lower",
         _within(0.0, 1.0, "tang", "strict"), gradient.fusion_artefacts, 2),
  Metric("Nabf_asis",
         "what the toolkit prints as Nabf: its arguments are swapped, do not rank by it", "lower",
         _within(0.0, 1.0, "tang"), gradient.fusion_artefacts_as_printed, 2),
  _fmi("FMI_none", "pixels", fmi_maps.pixels, "tang", "strict"),
  _fmi("FMI_gradient", "horizontal gradients", fmi_maps.gradient, "tang", "strict"),
  _fmi("FMI_edge", "edge maps", fmi_maps.edges, "strict"),
  # The toolkit's FMI_pixel is taken on edge maps, the default of its function.
  _fmi("FMI_pixel", "edge maps, under the toolkit's name", fmi_maps.edges, "tang"),
  _fmi("FMI_dct", "cosine-transform coefficients", fmi_maps.cosines, "tang", "strict"),
)  # fmt: skip
METRICS: dict[str, Metric] = {metric.name: metric for metric in _TABLE}


def _fold(name: str) -> str:
  """Letters and digits alone, as small ones: ms-ssim, MS_SSIM and "Qab/f", Qabf are the same."""
  return re.sub(r"[\W_]", "", name.casefold())


_FOLDED = {_fold(name): name for name in METRICS}


def find_metric(name: str) -> Metric:
  """The metric of this name, in capitals or not, with or without dashes, underscores and slashes.

  Raises InputError, naming the nearest and listing the valid names, where there is none.
  """
  folded = _fold(name)
  if folded not in _FOLDED:
    near = difflib.get_close_matches(folded, _FOLDED, n=1)
    hint = f" (did you mean {_FOLDED[near[0]]!r}?)" if near else ""
    raise InputError(f"unknown metric {name!r}{hint}; valid: {', '.join(METRICS)}")
  return METRICS[_FOLDED[folded]]


def find_metrics(names: Sequence[str] | None, convention: str) -> tuple[Metric, ...]:
  """The named metrics, or all that the convention defines.

  Raises:
    InputError: unknown name or convention, a name twice, or a metric that the convention lacks.
  """
  check_convention(convention)
  if names is None:
    return tuple(m for m in METRICS.values() if convention in m.conventions)
  if not names:
    raise InputError("no metric was named")
  metrics = tuple(find_metric(name) for name in names)
  twice = sorted({m.name for m in metrics if metrics.count(m) > 1})
  if twice:
    raise InputError(f"metrics named twice: {', '.join(twice)}")
  for metric in metrics:
    metric.check(convention)
  return metrics


def spell_metrics(names: Sequence[str], convention: str) -> tuple[str, ...]:
  """The names as the catalogue spells them; raises InputError as `find_metrics` does."""
  return tuple(metric.name for metric in find_metrics(names, convention))


def require_side(names: Sequence[str], convention: str, side: int) -> None:
  """Raises InputError unless each named metric can measure square images of that side.

  For configs that validate on crops: the message names input.crop. Raises like `find_metrics`.
  """
  for metric in find_metrics(names, convention) if names else ():
    least = metric.minimum_side(convention)
    if side < least:
      raise InputError(
        f"validation_metrics: {metric.name} needs images of {least} pixels or more, and input.crop "
        f"is {side}"
      )


def make_scorer(names: Sequence[str], convention: str) -> Callable[..., dict[str, Array]]:
  """A traceable function (visible, infrared, fused) -> the named scores of one triplet.

  The images are [H, W, 1] in [0, 1], scored on 8-bit levels; NaN where one is degenerate.
  """
  chosen = find_metrics(names, convention) if names else ()

  def measure(visible: Array, infrared: Array, fused: Array) -> dict[str, Array]:
    levels = [quantise(image) for image in (visible, infrared, fused)]
    scores = {metric.name: metric(*levels, convention=convention) for metric in chosen}
    return {k: jnp.where(s.degenerate, jnp.nan, s.value) for k, s in scores.items()}

  return measure
