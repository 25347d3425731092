"""The Frechet distance between sets of features: FID with those of `inception`."""

import numpy as np

from cfi_jax.core.types import InputError


def frechet_distance(first: np.ndarray, second: np.ndarray) -> float:
  """Squared Frechet distance of Gaussians with the moments of two sets [N, D] and [M, D].

  |m1 - m2|^2 + trace(S1 + S2 - 2 (S1 S2)^(1/2)), S with the divisors N - 1 and M - 1. With A and B
  the centred sets over the roots of these, the root's trace is the sum of the singular values of
  A B^T: exact also where there are fewer pictures than features. Computed in float64. Depends on
  the number of pictures, which has to be told. Raises InputError for sets of fewer than two.
  """
  sets = [np.asarray(values, np.float64) for values in (first, second)]
  if min(map(len, sets)) < 2:
    raise InputError(
      f"a Frechet distance of {len(first)} and {len(second)} pictures; allowed: two or more of each"
    )
  means = [values.mean(0) for values in sets]
  a, b = (
    _short((values - mean) / np.sqrt(len(values) - 1))
    for values, mean in zip(sets, means, strict=True)
  )
  root = np.linalg.svd(a @ b.T, compute_uv=False).sum()
  traces = np.square(a).sum() + np.square(b).sum()
  return float(np.square(means[0] - means[1]).sum() + traces - 2 * root)


def _short(rows: np.ndarray) -> np.ndarray:
  """At most D rows of the same second moments as [N, D]."""
  return rows if len(rows) <= rows.shape[1] else np.linalg.qr(rows, mode="r")
