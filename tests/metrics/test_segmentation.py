import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.metrics import segmentation

IGNORED = 255


def by_loops(truth, predicted, classes, ignored):
  """The definition, pixel by pixel."""
  counts = np.zeros((classes, classes), np.int64)
  for t, p in zip(truth.ravel(), predicted.ravel(), strict=True):
    if t != ignored:
      counts[t, p] += 1
  return counts


def images(seed, classes, ignored, absent=()):
  rng = np.random.default_rng(seed)
  truth, predicted = rng.integers(0, classes, (2, 6, 7))
  for label in absent:
    truth[truth == label] = 0
  truth[rng.random(truth.shape) < 0.2] = ignored
  return truth, predicted


@pytest.mark.parametrize("ignored", [IGNORED, 0])
@pytest.mark.parametrize("absent", [(), (3,)])
def test_the_matrix_is_that_of_the_definition(ignored, absent):
  truth, predicted = images(1, 5, ignored, absent)
  found = segmentation.confusion(truth, predicted, 5, ignored)
  np.testing.assert_array_equal(found, by_loops(truth, predicted, 5, ignored))
  assert found.sum() == (truth != ignored).sum()


@pytest.mark.parametrize("ignored", [IGNORED, 0])
@pytest.mark.parametrize("absent", [(), (2,)])
def test_matrix_and_intersection_over_union_are_those_of_scikit_learn(ignored, absent):
  metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
  truth, predicted = images(2, 4, ignored, absent)
  judged = truth != ignored
  flat = truth[judged], predicted[judged]
  found = segmentation.confusion(truth, predicted, 4, ignored)
  np.testing.assert_array_equal(found, metrics.confusion_matrix(*flat, labels=range(4)))
  theirs = metrics.jaccard_score(*flat, labels=range(4), average=None)
  np.testing.assert_allclose(segmentation.intersection_over_union(found), theirs)


def test_values_by_hand():
  # Class 0: 2 of 3 hit, one pixel of 1 taken for it. 2: predicted once, never there. 3: nowhere.
  truth = np.array([[0, 0, 0, 1], [1, 1, 1, IGNORED]])
  predicted = np.array([[0, 0, 2, 0], [1, 1, 1, 3]])
  counts = segmentation.confusion(truth, predicted, 4, IGNORED)
  values = segmentation.intersection_over_union(counts)
  np.testing.assert_allclose(values, [2 / 4, 3 / 4, 0, np.nan])
  assert segmentation.mean_iou(counts[None]) == pytest.approx((0.5 + 0.75 + 0) / 3)
  without = segmentation.intersection_over_union(counts, ignored=0)
  np.testing.assert_allclose(without, [np.nan, 3 / 4, 0, np.nan])
  for beyond in (4, -1):  # no class
    same = segmentation.intersection_over_union(counts, ignored=beyond)
    np.testing.assert_array_equal(same, values)


def test_global_and_per_image_averages_differ_as_they_should():
  perfect, wrong = np.diag([1, 1]), np.array([[0, 9], [0, 9]])
  both = np.stack([perfect, wrong])
  np.testing.assert_allclose(segmentation.mean_iou_per_image(both), [1, 0.25])
  # Summed: class 0 has 1 of 10, class 1 has 10 of 19.
  assert segmentation.mean_iou(both) == pytest.approx((1 / 10 + 10 / 19) / 2)


def test_an_image_without_a_judged_pixel_has_no_value():
  truth = np.full((2, 2), IGNORED)
  counts = segmentation.confusion(truth, np.zeros((2, 2), int), 3, IGNORED)
  assert np.isnan(segmentation.mean_iou_per_image(counts[None])).all()
  assert np.isnan(segmentation.mean_iou(counts[None]))


@pytest.mark.parametrize(
  "truth, predicted, words",
  [
    ([[0, 7]], [[0, 0]], r"the truth has the labels \[7\]; allowed: 0 to 2, and 255"),
    ([[0, 3]], [[0, 0]], r"the truth has the labels \[3\]; allowed: 0 to 2, and 255"),
    ([[0, 1]], [[0, -1]], r"the prediction has the labels \[-1\]; allowed: 0 to 2"),
    ([[0, 1]], [[0]], r"the truth is \[1, 2\] and the prediction \[1, 1\]"),
    ([0, 1], [0, 1], r"the truth is \[2\] and the prediction \[2\]; allowed: one shape"),
    ([[0, -1]], [[0, 1]], r"the truth has the labels \[-1\]; allowed"),
    ([[0, 1]], [[0, 3]], r"the prediction has the labels \[3\]; allowed"),
  ],
)
def test_labels_out_of_range_are_named(truth, predicted, words):
  with pytest.raises(InputError, match=words):
    segmentation.confusion(np.array(truth), np.array(predicted), 3, IGNORED)
