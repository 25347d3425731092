"""Fill values: what stands where a sensor gave none, such as the border that warping leaves."""

import numpy as np

MOST = 0.5  # share of an image that fill values may take
# Percentiles of the other values that bound the scene. Below it the edge of a border, interpolated,
# takes up to a tenth of a small image; above it lies what is hot enough to saturate.
SCENE = (10, 99)
_FEW = (
  0.0001  # share that hides nothing of `ranges.USED`, even with a border's edge of nine times it
)


def find(values: np.ndarray, dtype: np.dtype) -> tuple[tuple[float, ...], np.ndarray]:
  """The fill values of an image, none or more, and the values to judge it by.

  Many pixels hold a fill value exactly: 0, the least or the largest of an integer type. It lies
  farther from the scene than the scene is wide; so does what interpolation makes of a border's
  edge, which does not count either.

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
  found = [end for end in many if not first <= end <= last]
  if low == high or not 0 < sum(counts[end] for end in found) <= MOST * values.size:
    return (), values
  return tuple(map(float, found)), values[(first <= values) & (values <= last)]
