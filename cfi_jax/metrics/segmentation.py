"""Intersection over union of label images, from confusion matrices; on the host, in integers."""

import numpy as np

from cfi_jax.core.types import InputError


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: int, ignored: int) -> np.ndarray:
  """The confusion matrix of one image, int64 [classes, classes]: truth down, prediction across.

  truth, predicted: integers [H, W]; `predicted` is a class everywhere, 0 to classes - 1.
  ignored: the label of pixels that are not judged, a class itself or any other number. An ignored
    class that is predicted where the truth is another one counts as a mistake.
  Raises InputError for shapes that differ, and for a label that is neither a class nor ignored.
  """
  if truth.shape != predicted.shape or truth.ndim != 2:
    raise InputError(
      f"the truth is {list(truth.shape)} and the prediction {list(predicted.shape)}; allowed: one "
      "shape [height, width]"
    )
  judged = truth != ignored
  truth, predicted = (x[judged].astype(np.int64) for x in (truth, predicted))
  for name, values in (("truth", truth), ("prediction", predicted)):
    wrong = np.unique(values[(values < 0) | (values >= classes)])
    if wrong.size:
      raise InputError(
        f"the {name} has the labels {wrong.tolist()}; allowed: 0 to {classes - 1}, and {ignored} "
        "in the truth for pixels that are ignored"
      )
  counts = np.bincount(classes * truth + predicted, minlength=classes**2)
  return counts.reshape(classes, classes)


def intersection_over_union(confusions: np.ndarray, ignored: int = -1) -> np.ndarray:
  """Intersection over union per class, [..., classes], of matrices [..., classes, classes].

    IoU_c = n_cc / (sum_j n_cj + sum_j n_jc - n_cc)

  NaN for a class that neither truth nor prediction has, and for the class `ignored`; 0 for one that
  is predicted and absent from the truth. Source: the PASCAL VOC challenge (Everingham et al. 2015).
  """
  inside = np.diagonal(confusions, axis1=-2, axis2=-1).astype(np.float64)
  union = confusions.sum(-1) + confusions.sum(-2) - inside
  found = np.where(union > 0, inside / np.maximum(union, 1), np.nan)
  if 0 <= ignored < found.shape[-1]:
    found[..., ignored] = np.nan
  return found


def mean(values: np.ndarray) -> float:
  """The mean over the classes that have a value; NaN where none has."""
  present = values[~np.isnan(values)]
  return float(present.mean()) if present.size else float("nan")


def mean_iou(confusions: np.ndarray, ignored: int = -1) -> float:
  """Mean intersection over union of a set, by the global confusion matrix.

  confusions: int [N, classes, classes], one per image; they are summed first. ignored: see
  `confusion`.
  """
  return mean(intersection_over_union(confusions.sum(0), ignored))


def mean_iou_per_image(confusions: np.ndarray, ignored: int = -1) -> np.ndarray:
  """Mean intersection over union of each image over the classes it has, [N]; NaN for none.

  Its average over images weighs small images and rare classes otherwise than `mean_iou`, and is
  no substitute for it.
  """
  return np.array([mean(row) for row in intersection_over_union(confusions, ignored)])
