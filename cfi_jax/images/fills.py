"""Fill values: what stands where a sensor gave none, such as the border that warping leaves."""

import numpy as np

MOST = 0.5  # share of an image that a fill value may take
BETWEEN = (1, 99)  # percentiles of the others, between which they lie
_FEW = 0.001  # share of pixels that need no fill value, as `ranges.USED` passes over them


def find(values: np.ndarray, dtype: np.dtype) -> tuple[float | None, np.ndarray]:
  """The fill value of an image, None where there is none, and the values to judge it by.

  Many pixels hold a fill value exactly: 0, the least or the largest of an integer type. It lies
  farther from all others than these lie from each other; what lies between, as a border has it
  after interpolation, does not count either.

  values: flat, none of them missing. dtype: of the image, if it is not theirs.
  """
  ends = (0, np.iinfo(dtype).min, np.iinfo(dtype).max) if np.dtype(dtype).kind in "iu" else (0,)
  for end in dict.fromkeys(ends):
    others = values[values != end]
    if not _FEW < 1 - others.size / values.size <= MOST:
      continue
    low, high = (float(p) for p in np.percentile(others, BETWEEN))
    spread = high - low
    if 0 < spread < max(low - end, end - high):
      inside = (others >= low - spread) & (others <= high + spread)
      return float(end), others[inside]
  return None, values
