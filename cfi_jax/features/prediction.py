"""The share of one feature space that another predicts linearly, on images held out."""

import numpy as np

PENALTIES = tuple(10.0**k for k in range(-6, 3))


def residuals(
  source: np.ndarray, target: np.ndarray, folds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Residual and total sums of squares of ridge regression, per image, [N] each.

  For each fold, target = a + B source is fitted to the images of the other folds and applied to
  those of the fold. Source channels are in units of their standard deviation. The penalty is the
  one of `PENALTIES` that does best in cross-validation over the other folds. Residual: the sum of
  squares over places and channels of target - prediction; total: of target - its mean over the
  fitted images. Their ratio is 1 - R^2; it exceeds 1 where the fit is worse than the mean.

  Args:
    source, target: [N, P, D] and [N, P, C]. folds: number of the fold of each image [N], at least
      three different ones.
  """
  source, target = (x.astype(np.float64) - x.mean(axis=(0, 1)) for x in (source, target))
  ones = np.ones((*source.shape[:2], 1))
  joint = np.concatenate([source, ones, target], axis=2)
  grams = np.einsum("npi,npj->nij", joint, joint, optimize=True)
  width = source.shape[2]
  left, total = np.empty((2, len(folds)))
  for fold in np.unique(folds):
    test, train = folds == fold, folds != fold
    best = int(np.argmin(_errors(grams[train], folds[train], width)))
    left[test] = _squares(grams[test], _fit(grams[train].sum(0), width)[best])
    total[test] = _squares(grams[test], _mean(grams[train].sum(0), width))
  return left, total


def _errors(grams: np.ndarray, folds: np.ndarray, width: int) -> np.ndarray:
  """Cross-validated error of each penalty."""
  errors = np.zeros(len(PENALTIES))
  for fold in np.unique(folds):
    fits = _fit(grams[folds != fold].sum(0), width)
    whole = grams[folds == fold].sum(0, keepdims=True)
    errors += [_squares(whole, fit)[0] for fit in fits]
  return errors


def _fit(gram: np.ndarray, width: int) -> list[np.ndarray]:
  """The map from (source, 1, target) to target - prediction of each penalty, [D + 1 + C, C]."""
  n = gram[width, width]
  mean_x, mean_y = gram[width, :width] / n, gram[width, width + 1 :] / n
  xx = gram[:width, :width] / n - np.outer(mean_x, mean_x)
  xy = gram[:width, width + 1 :] / n - np.outer(mean_x, mean_y)
  deviation = np.sqrt(np.maximum(np.diag(xx), 0))
  scale = np.where(deviation > 1e-9 * deviation.max(initial=0), deviation, np.inf)
  values, vectors = np.linalg.eigh(xx / np.outer(scale, scale))
  along = vectors.T @ (xy / scale[:, None])
  fits = []
  for penalty in PENALTIES:
    slope = (vectors @ (along / (np.maximum(values, 0) + penalty)[:, None])) / scale[:, None]
    intercept = mean_y - mean_x @ slope
    fits.append(np.concatenate([-slope, -intercept[None], np.eye(len(mean_y))]))
  return fits


def _mean(gram: np.ndarray, width: int) -> np.ndarray:
  """The map from (source, 1, target) to target - mean of the target."""
  mean_y = gram[width, width + 1 :] / gram[width, width]
  return np.concatenate([np.zeros((width, len(mean_y))), -mean_y[None], np.eye(len(mean_y))])


def _squares(grams: np.ndarray, residual: np.ndarray) -> np.ndarray:
  """Sum of squares [N] of (source, 1, target) @ residual."""
  applied = grams @ residual
  return np.maximum(np.einsum("nic,ic->n", applied, residual), 0)
