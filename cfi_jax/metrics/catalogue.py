"""The metrics by name: the one place that resolves a name."""

from collections.abc import Sequence

from cfi_jax.core.types import InputError
from cfi_jax.metrics import correlation, fmi, gradient, information, statistics, structure, vif
from cfi_jax.metrics.definition import Metric, check_convention

METRICS: dict[str, Metric] = {
  "EN": information.EN,
  "SD": statistics.SD,
  "SF": statistics.SF,
  "AG": statistics.AG,
  "EI": statistics.EI,
  "CE": information.CE,
  "MI": information.MI,
  "NMI": information.NMI,
  "CC": correlation.CC,
  "SCD": correlation.SCD,
  "MSE": correlation.MSE,
  "PSNR": correlation.PSNR,
  "SSIM": structure.SSIM,
  "MS_SSIM": structure.MS_SSIM,
  "VIF": vif.VIF,
  "Qabf": gradient.QABF,
  "Nabf": gradient.NABF,
  "Nabf_asis": gradient.NABF_AS_PRINTED,
  "FMI_none": fmi.FMI_NONE,
  "FMI_gradient": fmi.FMI_GRADIENT,
  "FMI_edge": fmi.FMI_EDGE,
  "FMI_pixel": fmi.FMI_PIXEL,
  "FMI_dct": fmi.FMI_DCT,
}


def find_metric(name: str) -> Metric:
  """The metric of this name; raises InputError, listing the valid names, where there is none."""
  if name not in METRICS:
    raise InputError(f"unknown metric {name!r}; valid: {', '.join(METRICS)}")
  return METRICS[name]


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
  twice = sorted({n for n in names if list(names).count(n) > 1})
  if twice:
    raise InputError(f"metrics named twice: {', '.join(twice)}")
  metrics = tuple(find_metric(name) for name in names)
  for metric in metrics:
    metric.check(convention)
  return metrics
