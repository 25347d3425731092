"""The methods that fusers of all systems share, for one that keeps the brighter of both."""

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion import buckets
from cfi_jax.fusion.array_fuser import ArrayFuser
from cfi_jax.fusion.types import Fusion

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (3, 12, 10), np.uint8)
RGB = RNG.integers(0, 256, (3, 12, 10, 3), np.uint8)


class Brighter(ArrayFuser):
  """Notes its tasks; of the visible image only the first channel counts."""

  def __init__(self):
    self.tasks = []

  def _fuse_ready(self, task):
    self.tasks.append(task)
    pairs = zip(task.visibles, task.infrareds, strict=True)
    return [np.maximum(v if not task.gray else v[..., :1], i) for v, i in pairs]

  def _fuse_with_details(self, task):
    fused = self._fuse_ready(task)
    return fused, Fusion(fused=len(fused), gates=(), features={}, levels=())


@pytest.mark.parametrize(
  ("visible", "infrared", "gray", "shape"),
  [
    (GREY[0], GREY[1], False, (12, 10)),
    (GREY[0, ..., None], GREY[1], False, (12, 10, 1)),
    (RGB[0], GREY[1], False, (12, 10, 3)),
    (RGB[0], GREY[1], True, (12, 10, 1)),
    (RGB, GREY[..., None], False, (3, 12, 10, 3)),
    (np.stack([GREY] * 2)[:, 0], np.stack([GREY] * 2)[:, 1], False, (2, 12, 10)),
  ],
)
def test_the_result_has_the_form_of_the_visible_image(visible, infrared, gray, shape):
  fuser = Brighter()
  fused = fuser.fuse(visible, infrared, gray=gray, memory_mb=7.0)
  assert fused.shape == shape and fused.dtype == np.uint8
  first = visible[..., :1] if gray else visible
  other = infrared[..., None] if first.ndim > infrared.ndim else infrared
  np.testing.assert_array_equal(fused, np.maximum(first, other))
  (task,) = fuser.tasks
  assert (task.gray, task.memory_mb) == (gray, 7.0)


def test_details_are_given_on_request():
  fused, details = Brighter().fuse(GREY[0], GREY[1], return_details=True)
  np.testing.assert_array_equal(fused, np.maximum(GREY[0], GREY[1]))
  assert details.fused == 1


def test_colours_are_kept_and_only_the_picture_is_given_unless_asked_otherwise():
  fused = Brighter().fuse(RGB[0], GREY[1])
  np.testing.assert_array_equal(fused, np.maximum(RGB[0], GREY[1, ..., None]))
  assert Brighter().takes_valid is False


def test_counts_are_fused_in_their_range_and_come_back_in_it():
  low, high = np.linspace(20_000, 21_000, 240), np.linspace(21_000, 20_000, 240)
  visible, infrared = (x.reshape(12, 20).astype(np.uint16) for x in (low, high))
  fused = Brighter().fuse(visible, infrared, normalize="window=20000:21000")
  expected = np.maximum(visible, infrared)
  assert fused.dtype == np.uint16 and np.abs(fused.astype(int) - expected).max() <= 1


def test_pairs_may_differ_in_size_and_stay_apart():
  visibles, infrareds = [GREY[0], RGB[1][:9]], [GREY[1], GREY[2][:9]]
  fuser = Brighter()
  fused = fuser.fuse_pairs(visibles, infrareds, memory_mb=5.0)
  assert [picture.shape for picture in fused] == [(12, 10, 1), (9, 10, 3)]
  np.testing.assert_array_equal(fused[0][..., 0], np.maximum(GREY[0], GREY[1]))
  np.testing.assert_array_equal(fused[1], np.maximum(RGB[1][:9], GREY[2][:9, :, None]))
  grey = fuser.fuse_pairs(visibles, infrareds, gray=True)
  assert [picture.shape for picture in grey] == [(12, 10, 1), (9, 10, 1)]
  assert [(task.gray, task.memory_mb) for task in fuser.tasks] == [(False, 5.0), (True, None)]


@pytest.mark.parametrize(
  ("visible", "infrared", "words"),
  [
    (RGB, GREY[:2, ..., None], "batches of 3 visible and 2 infrared images"),
    (GREY[0], GREY[0, :11], "visible 12x10, infrared 11x10 .height x width"),
    (GREY[0], GREY[0, :, :9], "visible 12x10, infrared 12x9"),
  ],
)
def test_what_is_no_pair_is_refused(visible, infrared, words):
  with pytest.raises(InputError, match=words):
    Brighter().fuse(visible, infrared)


def test_a_pair_of_another_size_among_several_is_refused():
  with pytest.raises(InputError, match="visible 12x10, infrared 11x10"):
    Brighter().fuse_pairs([GREY[0], GREY[1]], [GREY[0], GREY[1, :11]])


@pytest.mark.parametrize(
  ("known", "chosen"),
  [
    ((), None),
    (((100, 100),), (100, 100)),
    (((130, 100), (120, 100)), (120, 100)),
    (((130, 100),), (130, 100)),  # 1.3 times the pixels
    (((131, 100),), None),
    (((99, 110), (110, 99)), None),
  ],
)
def test_a_known_bucket_is_taken_that_wastes_little(known, chosen):
  assert buckets.choose((100, 100), known) == chosen
