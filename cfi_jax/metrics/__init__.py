"""Image-fusion quality metrics under three named conventions.

score = METRICS["SSIM"](visible, infrared, fused, convention="strict").value
table = score([Triplet(...), ...], ["EN", "SSIM"], "tang")
"""

from cfi_jax.metrics.catalogue import (
  METRICS,
  find_metric,
  find_metrics,
  make_scorer,
  require_side,
  spell_metrics,
)
from cfi_jax.metrics.columns import Columns
from cfi_jax.metrics.definition import CONVENTIONS, Metric, Score
from cfi_jax.metrics.levels import grey_levels, quantise
from cfi_jax.metrics.table import Row, Scores, Triplet, read_scores, score

__all__ = [
  "CONVENTIONS",
  "METRICS",
  "Metric",
  "Row",
  "Score",
  "Columns",
  "Scores",
  "Triplet",
  "find_metric",
  "find_metrics",
  "grey_levels",
  "make_scorer",
  "quantise",
  "read_scores",
  "require_side",
  "score",
  "spell_metrics",
]
