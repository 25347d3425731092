import contextlib
import io

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.metrics import detection
from cfi_jax.metrics.detection import Boxes


def boxes(*rows, scored=True):
  """Boxes of (top, left, bottom, right, class[, score])."""
  table = np.array(rows, np.float64).reshape(len(rows), 6 if scored else 5)
  scores = table[:, 5] if scored else None
  return Boxes(table[:, :4], table[:, 4].astype(int), scores)


def truth(*rows):
  return boxes(*rows, scored=False)


def made(seed, images=12, classes=3, levels=5):
  """Boxes near those of the truth, beside them and missing, with tied scores."""
  rng = np.random.default_rng(seed)
  pairs = []
  for _ in range(images):
    count = rng.integers(0, 5)
    low = rng.integers(0, 30, (count, 2))
    true = np.concatenate([low, low + rng.integers(4, 20, (count, 2))], 1).astype(float)
    labels = rng.integers(0, classes - 1, count)  # the last class is absent from the truth
    kept = np.repeat(np.arange(count), rng.integers(0, 3, count))
    near = true[kept] + rng.integers(-2, 3, (len(kept), 4)) * [1, 1, 0.5, 0.5]
    stray = rng.integers(0, 30, (2, 2))
    found = np.concatenate([near, np.concatenate([stray, stray + 8], 1)])
    found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
    guessed = np.concatenate([labels[kept], rng.integers(0, classes, 2)])
    scores = rng.integers(1, levels + 1, len(found)) / levels
    pairs.append((Boxes(found, guessed, scores), Boxes(true, labels)))
  return pairs


def by_pycocotools(pairs, classes):
  coco = pytest.importorskip("pycocotools.coco")
  evaluation = pytest.importorskip("pycocotools.cocoeval")

  def entries(found, image):
    for box, label in zip(found.boxes, found.classes, strict=True):
      top, left, bottom, right = map(float, box)
      size = [right - left, bottom - top]
      yield {
        "image_id": image, "category_id": int(label), "bbox": [left, top, *size], "iscrowd": 0,
        "area": size[0] * size[1],
      }  # fmt: skip

  annotations, detected = [], []
  for image, (guess, true) in enumerate(pairs, start=1):
    annotations += entries(true, image)
    scores = map(float, guess.scores)
    detected += [e | {"score": s} for e, s in zip(entries(guess, image), scores, strict=True)]
  data = {
    "images": [{"id": i} for i in range(1, len(pairs) + 1)],
    "categories": [{"id": c} for c in range(classes)],
    "annotations": [a | {"id": i} for i, a in enumerate(annotations, start=1)],
  }
  with contextlib.redirect_stdout(io.StringIO()):
    reference = coco.COCO()
    reference.dataset = data
    reference.createIndex()
    run = evaluation.COCOeval(reference, reference.loadRes(detected), "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
  precision = run.eval["precision"][:, :, :, 0, -1]  # [thresholds, recalls, classes]
  means = np.where((precision < 0).all(1), np.nan, precision.mean(1)).T
  return means, {"AP50": run.stats[1], "AP50:95": run.stats[0]}


@pytest.mark.parametrize("seed", range(4))
def test_precisions_are_those_of_pycocotools(seed):
  pairs = made(seed)
  expected, stats = by_pycocotools(pairs, 3)
  found = detection.average_precisions(pairs, 3)
  np.testing.assert_allclose(found, expected, rtol=1e-12)
  assert np.isnan(found[2]).all() and (found[:2] > 0).any()
  assert detection.summarise(found) == pytest.approx(stats, rel=1e-12)


def test_more_detections_than_count_are_those_of_pycocotools():
  rng = np.random.default_rng(0)
  low = rng.integers(0, 40, (150, 2)).astype(float)
  many = Boxes(np.concatenate([low, low + 6], 1), np.zeros(150, int), rng.integers(1, 9, 150) / 9)
  true = Boxes(many.boxes[::10], many.classes[::10])
  expected, _ = by_pycocotools([(many, true)], 1)
  np.testing.assert_allclose(detection.average_precisions([(many, true)], 1), expected, rtol=1e-12)


def ap50(*pairs, classes=1):
  # Like pycocotools, a precision has a spacing of 1 in its denominator.
  return detection.average_precisions(pairs, classes, (0.5,))[:, 0].round(12)


ONE, TWO = (0, 0, 10, 10, 0), (20, 20, 30, 30, 0)


def test_precisions_by_hand():
  assert ap50((boxes((*ONE, 0.9)), truth(ONE)))[0] == 1
  # One of two is found: the precision is 1 up to a recall of 1/2, at 51 of 101 recalls.
  assert ap50((boxes((*ONE, 0.9)), truth(ONE, TWO)))[0] == pytest.approx(51 / 101)
  # A surer mistake comes first: a precision of 1/2 at all recalls.
  first = boxes((40, 40, 50, 50, 0, 0.95), (*ONE, 0.9))
  assert ap50((first, truth(ONE)))[0] == pytest.approx(1 / 2)
  # A second detection of a box that is taken is a mistake, but a later one.
  assert ap50((boxes((*ONE, 0.9), (*ONE, 0.8)), truth(ONE)))[0] == 1


def test_empty_images_and_absent_classes():
  nothing = boxes()
  assert ap50((nothing, truth(ONE)))[0] == 0
  assert np.isnan(ap50((boxes((*ONE, 0.9)), truth()))[0])
  both = ap50((boxes((*ONE, 0.9)), truth(ONE)), (nothing, truth()), classes=2)
  assert both[0] == 1 and np.isnan(both[1])
  assert np.isnan(detection.summarise(np.full((2, 10), np.nan))["AP50"])
  # A class that is never found counts, one that is nowhere does not.
  rows = np.array([[1.0] * 10, [0.0] * 10, [np.nan] * 10])
  assert detection.summarise(rows) == {"AP50": 0.5, "AP50:95": 0.5}
  # A mistake in an image without objects counts.
  assert ap50((boxes((*ONE, 0.5)), truth(ONE)), (boxes((*TWO, 0.9)), truth()))[0] == 0.5


def test_of_tied_scores_the_earlier_counts_first():
  right, wrong = (*ONE, 0.5), (40, 40, 50, 50, 0, 0.5)
  assert ap50((boxes(right, wrong), truth(ONE)))[0] == 1
  assert ap50((boxes(wrong, right), truth(ONE)))[0] == 0.5


def test_thresholds_of_overlap():
  # Shifted by 2 of 10 pixels: 80 / 120 of the union, which passes 0.5 to 0.65.
  found = detection.average_precisions([(boxes((0, 2, 10, 12, 0, 1)), truth(ONE))], 1)
  np.testing.assert_allclose(found[0], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
  assert detection.summarise(found) == pytest.approx({"AP50": 1, "AP50:95": 0.4})
  touching = detection.overlaps(np.array([[0.0, 0, 10, 10]]), np.array([[0.0, 10, 10, 20]]))
  assert touching[0, 0] == 0


@pytest.mark.parametrize(
  "make, words",
  [
    (lambda: truth((5, 0, 4, 9, 0)), r"box \[5.0, 0.0, 4.0, 9.0\]; allowed: \[top, left"),
    (lambda: Boxes(np.zeros((2, 4)), np.zeros(1, int)), r"boxes are \[2, 4\] and classes \[1\]"),
    (lambda: boxes((*ONE, np.nan)), "scores are .*; allowed: 1 finite numbers"),
    (lambda: boxes((*ONE, 0.5), (*ONE, np.inf)), "scores are .*; allowed: 2 finite numbers"),
    (lambda: Boxes(np.zeros((2, 4)), np.zeros(2, int), np.ones(1)), "allowed: 2 finite numbers"),
    (lambda: truth(ONE, (0, 0, np.inf, 9, 0)), r"box \[0.0, 0.0, inf, 9.0\]; allowed"),
    (lambda: truth(ONE, (0, 5, 9, 4, 0)), r"box \[0.0, 5.0, 9.0, 4.0\]; allowed"),
  ],
)
def test_what_is_no_box_is_refused(make, words):
  with pytest.raises(InputError, match=words):
    make()


def test_a_box_without_area_is_one_and_the_same_box_overlaps_wholly():
  assert len(truth((5, 0, 5, 9, 0), (5, 3, 8, 3, 0)).boxes) == 2
  assert detection.match(boxes((*ONE, 0.9)), truth(ONE), (1.0,)).hits.all()


def test_a_bootstrap_in_parts_is_that_at_once(monkeypatch):
  matches = [detection.match(d.of_class(0), t.of_class(0)) for d, t in made(7, images=6)]
  weights = np.random.default_rng(1).multinomial(6, np.full(6, 1 / 6), 7)
  weights[2] = 0
  whole = detection.weighted_precision(matches, weights)
  count = sum(len(m.scores) for m in matches)
  for most in (1, 3 * count):  # one row at once, and three
    monkeypatch.setattr(detection, "_MOST_COUNTS", most)
    np.testing.assert_array_equal(detection.weighted_precision(matches, weights), whole)
  assert np.isnan(whole[2]).all() and not np.isnan(whole).all()


def test_weights_are_images_that_are_there_so_often():
  pairs = made(5, images=8, levels=10**9)
  matches = [detection.match(d.of_class(0), t.of_class(0)) for d, t in pairs]
  weights = np.random.default_rng(0).multinomial(8, np.full(8, 1 / 8), 20)
  weights[0] = 0
  weights[1] = 1
  found = detection.weighted_precision(matches, weights)
  assert np.isnan(found[0]).all()
  for row, own in zip(weights[1:], found[1:], strict=True):
    repeated = [matches[i] for i in np.repeat(np.arange(8), row)]
    np.testing.assert_allclose(own, detection.average_precision(repeated), rtol=1e-12)
  tied = made(6, images=8, levels=2)
  matches = [detection.match(d.of_class(0), t.of_class(0)) for d, t in tied]
  once = detection.weighted_precision(matches, weights[1:2])[0]
  np.testing.assert_allclose(once, detection.average_precisions(tied, 1)[0], rtol=1e-12)
