"""Similarity of two feature spaces: linear CKA without bias, over images.

Kornblith et al. 2019 (CKA), Song et al. 2012 (the unbiased HSIC_1), Nguyen et al. 2021 (CKA from
batches), Murphy et al. 2024 (why the biased estimator must not be used with few samples).

HSIC_1 is unbiased for independent samples, which pixels of one image are not. So a batch holds one
pixel of each image: its N samples are independent; the estimates of P batches are averaged.
"""

from collections.abc import Hashable, Iterable, Mapping

import numpy as np

_NUMBERS = 1 << 22  # that the arrays of one feature space and chunk of batches may hold


def hsic(
  sets: Mapping[Hashable, np.ndarray],
  pairs: Iterable[tuple[Hashable, Hashable]],
  weights: np.ndarray,
) -> dict[tuple[Hashable, Hashable], np.ndarray]:
  """HSIC_1 with linear kernels of pairs of feature sets, [R] for each.

  As a sum over different images: with k, l the kernels and i, j, q, r all different,
  mean(k_ij l_ij) - 2 mean(k_ij l_iq) + mean(k_ij l_qr), where a term counts with the product of the
  weights of its images. With weights 1 this is HSIC_1 (Song et al. 2012, eq. 5). A resample holds
  an image several times; here no term sets an image against itself, which would bring back the
  bias. NaN where fewer than four images have a weight.

  Args:
    sets: [N, P, C] each, C may differ; row n of batch p is [n, p].
    weights: whole numbers [R, N].
  """
  pairs = list(pairs)
  images, batches = next(iter(sets.values())).shape[:2]
  centred = {name: _centred(values) for name, values in sets.items()}
  sums = dict.fromkeys(pairs, (0.0, 0.0, 0.0))
  step = max(1, _NUMBERS // (images * (images + len(weights))))
  w = weights.T.astype(np.float64)
  for start in range(0, batches, step):
    kernels = {name: _kernels(x[:, start : start + step]) for name, x in centred.items()}
    rows = {name: k @ w for name, k in kernels.items()}
    totals = {name: np.einsum("pnr,nr->pr", row, w) for name, row in rows.items()}
    for a, b in pairs:
      parts = (
        np.einsum("pij,pij->ij", kernels[a], kernels[b]),
        np.einsum("pnr,pnr->nr", rows[a], rows[b]),
        np.einsum("pr,pr->r", totals[a], totals[b]),
      )
      sums[a, b] = tuple(x + y for x, y in zip(sums[a, b], parts, strict=True))
  return {pair: _combine(*parts, w) / batches for pair, parts in sums.items()}


def ratio(cross: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """CKA = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)); NaN where a space has no variance."""
  product = np.where((first > 0) & (second > 0), first * second, np.nan)
  return cross / np.sqrt(product)


def _centred(values: np.ndarray) -> np.ndarray:
  """Values without their mean, in units of their size: a large mean would cost HSIC digits."""
  values = values.astype(np.float64)
  values = values - values.mean(axis=(0, 1))
  scale = np.sqrt((values**2).mean())
  return values / scale if scale > 0 else values


def _kernels(values_NPC: np.ndarray) -> np.ndarray:
  """Linear kernels [P, N, N] of each batch, zero on the diagonal."""
  batches = values_NPC.transpose(1, 0, 2)
  kernels = batches @ batches.transpose(0, 2, 1)
  diagonal = np.arange(kernels.shape[1])
  kernels[:, diagonal, diagonal] = 0
  return kernels


def _combine(product: np.ndarray, rows: np.ndarray, totals: np.ndarray, w: np.ndarray):
  """HSIC [R] from sums over the batches.

  product [N, N]: k_ij l_ij. rows [N, R]: (k w)_i (l w)_i. totals [R]: (w' k w) (w' l w).
  """
  two = np.einsum("ir,ij,jr->r", w, product, w, optimize=True)
  two_squared = np.einsum("ir,ij,jr->r", w**2, product, w**2, optimize=True)
  same = product @ w**2  # the part of `rows` in which j = q
  three = (w * (rows - same)).sum(0)
  three_squared = (w**2 * (rows - same)).sum(0)
  four = totals - 4 * three_squared - 2 * two_squared
  p1, p2, p3, p4 = (np.round((w**k).sum(0)) for k in (1, 2, 3, 4))
  counts = (  # sums of the products of the weights of different images: two, three, four of them
    p1**2 - p2,
    p1**3 - 3 * p1 * p2 + 2 * p3,
    p1**4 - 6 * p1**2 * p2 + 3 * p2**2 + 8 * p1 * p3 - 6 * p4,
  )
  enough = (w > 0).sum(0) >= 4
  two, three, four = (
    x / np.where(enough, n, np.nan) for x, n in zip((two, three, four), counts, strict=True)
  )
  return two - 2 * three + four
