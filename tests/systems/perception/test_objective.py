import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.datasets.labelled.classes import IGNORED
from cfi_jax.metrics import segmentation as scores
from cfi_jax.systems.perception import objective
from cfi_jax.systems.perception.inference import find_boxes
from cfi_jax.systems.perception.model import Detection
from cfi_jax.systems.perception.step import agreement

RNG = np.random.default_rng(1)
BOXES = jnp.array([[2.0, 3, 9, 12], [6, 8, 16, 11], [0, 0, 0, 0]])
CLASSES = jnp.array([1, 2, -1])


def labels():
  found = RNG.integers(0, 3, (2, 4, 5))
  found[0, 0] = IGNORED
  return found


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_cross_entropy_is_that_of_the_definition(balance):
  truth, logits = labels(), RNG.normal(size=(2, 4, 5, 3)).astype(np.float32)
  found = objective.segmentation(jnp.asarray(logits), jnp.asarray(truth), balance)
  for own, image, value in zip(truth, logits, found, strict=True):
    total = weight = 0.0
    for label, row in zip(own.ravel(), image.reshape(-1, 3).astype(np.float64), strict=True):
      if label != IGNORED:
        factor = float((own == label).sum()) ** -balance
        total += factor * (np.log(np.exp(row).sum()) - row[label])
        weight += factor
    assert value == pytest.approx(total / weight, rel=1e-5)


def test_an_image_without_judged_pixels_costs_nothing():
  nothing = jnp.full((1, 2, 2), IGNORED)
  assert objective.segmentation(jnp.ones((1, 2, 2, 3)), nothing, 0.5)[0] == 0


def perfect():
  """The detection that says exactly where the boxes are, 8 x 8 cells."""
  target = objective.heat_targets(BOXES, CLASSES, (8, 8, 3))
  heat = jnp.where(target == 1, 20.0, -20.0)
  size, offset = jnp.zeros((2, 8, 8, 2))
  middle, (rows, columns) = objective.middles(BOXES[:2], 8, 8)
  size = size.at[rows, columns].set(jnp.log((BOXES[:2, 2:] - BOXES[:2, :2]) / 2))
  offset = offset.at[rows, columns].set(middle - jnp.stack([rows, columns], -1))
  return Detection(heat, size, offset)


def test_heat_has_a_peak_at_every_middle():
  target = np.asarray(objective.heat_targets(BOXES, CLASSES, (8, 8, 3)))
  assert sorted(zip(*np.nonzero(target == 1), strict=True)) == [(2, 3, 1), (5, 4, 2)]
  assert (target[..., 0] == 0).all() and target.max() == 1
  area = 7 * 9 / 4
  deviation = max(objective.LEAST_DEVIATION, objective.SHARE_DEVIATION * area**0.5)
  assert target[2, 5, 1] == pytest.approx(np.exp(-((2 / deviation) ** 2) / 2), rel=1e-5)


def test_the_truth_costs_nothing_and_is_found_again():
  terms = objective.detection(perfect(), BOXES, CLASSES)
  for name, value in terms.items():
    assert value == pytest.approx(0, abs=1e-5), name
  boxes, classes, chances = find_boxes(perfect(), 6)
  order = np.argsort(classes[:2])
  np.testing.assert_allclose(boxes[:2][order], BOXES[:2], atol=1e-4)
  np.testing.assert_array_equal(classes[:2][order], [1, 2])
  assert (np.asarray(chances[:2]) > 0.99).all() and (np.asarray(chances[2:]) < 1e-6).all()


def test_middles_are_the_peaks_of_their_surroundings():
  heat = np.full((8, 8, 2), -9.0, np.float32)
  heat[2:5, 3:6, 0] = [[0, 1, 0], [1, 2, 1], [0, 1, 0]]  # one object
  heat[3, 4, 1], heat[6, 1, 1] = 1.5, 0.5  # another class in its place, and one elsewhere
  maps = Detection(jnp.asarray(heat), *jnp.zeros((2, 8, 8, 2)))
  boxes, classes, scores = (np.asarray(x) for x in find_boxes(maps, 128))
  sure = scores > 0.1
  expected = [1 / (1 + np.exp(-x)) for x in (2, 1.5, 0.5)]
  np.testing.assert_allclose(scores[sure], expected, rtol=1e-5)
  np.testing.assert_array_equal(classes[sure], [0, 1, 1])
  # A size of one cell, its upper left corner being the middle.
  np.testing.assert_allclose(boxes[sure], [[5, 7, 7, 9], [5, 7, 7, 9], [11, 1, 13, 3]])


def test_terms_of_detection_by_hand():
  found = perfect()
  wrong = found.replace(size=found.size + 0.5, offset=found.offset - 0.25)
  terms = objective.detection(wrong, BOXES, CLASSES)
  assert terms["size"] == pytest.approx(1.0, rel=1e-5)  # two sides of 0.5, the mean of the objects
  assert terms["offset"] == pytest.approx(0.5, rel=1e-5)
  blank = found.replace(heat=jnp.zeros_like(found.heat))
  target = np.float64(objective.heat_targets(BOXES, CLASSES, (8, 8, 3)))
  costs = np.where(target == 1, 1, (1 - target) ** 4) * 0.25 * np.log(2)
  expected = costs.sum() / 2
  assert objective.detection(blank, BOXES, CLASSES)["heat"] == pytest.approx(expected, rel=1e-5)


def test_scores_of_validation_are_those_of_the_host():
  truth, predicted = labels(), RNG.integers(0, 4, (2, 4, 5))
  for own, guess in zip(truth, predicted, strict=True):
    matrix = scores.confusion(own, guess, 4, IGNORED)
    found = agreement(jnp.asarray(own), jnp.asarray(guess), 4)
    assert found["miou"] == pytest.approx(scores.mean_iou(matrix[None]), rel=1e-6)
    assert found["accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum(), rel=1e-6)
  nothing = jnp.full((2, 2), IGNORED)
  assert all(jnp.isnan(x) for x in jax.tree.leaves(agreement(nothing, nothing * 0, 3)))
