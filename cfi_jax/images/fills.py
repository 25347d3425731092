"""Fill values: what stands where a sensor gave none, such as the border that warping leaves."""

import numpy as np

MOST = 0.5  # share of an image that fill values may take
# Percentiles of the other values that bound the scene. Below it the edge of a border, interpolated,
# takes up to a tenth of a small image; above it lies what is hot enough to saturate.
SCENE = (10, 99)
EDGE = 5  # times the number of a fill value's pixels that its edge may have; of borders 3 at most
_FEW = 0.0001  # share that hides nothing, as `ranges.USED` passes over it and its edge


def find(values: np.ndarray, dtype: np.dtype) -> tuple[tuple[float, ...], np.ndarray]:
  """The fill values of an image, none or more, and the values to judge it by.

  Many pixels hold a fill value exactly: 0, the least or the largest of an integer type. It lies
  farther from the scene than the scene is wide. What lies as far on its side is taken for the edge
  of a border, interpolated, and does not count either; where that is much, it is no edge, and the
  value no fill value.

  values: flat, none of them missing. dtype: of the image, if it is not theirs.
  """
  ends = {0, np.iinfo(dtype).min, np.iinfo(dtype).max} if np.dtype(dtype).kind in "iu" else {0}
  counts = {end: np.count_nonzero(values == end) for end in sorted(ends)}
  many = [end for end, count in counts.items() if count > _FEW * values.size]
  others = values[~np.isin(values, many)] if many else values[:0]
  if not others.size:
    return (), values
  low, high = (float(p) for p in np.percentile(others, SCENE))
  first, last = low - (high - low), high + (high - low)
  below, above = (np.count_nonzero(side) for side in (others < first, others > last))
  lower = [end for end in many if end < first and below <= EDGE * counts[end]]
  upper = [end for end in many if end > last and above <= EDGE * counts[end]]
  found = (*lower, *upper)
  if low == high or not 0 < sum(counts[end] for end in found) <= MOST * values.size:
    return (), values
  judged = values[values >= first] if lower else values
  return tuple(map(float, found)), judged[judged <= last] if upper else judged
