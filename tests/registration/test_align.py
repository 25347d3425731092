"""Alignment of pairs as a user has them."""

import importlib

import numpy as np
import pytest
import two_cameras

import cfi_jax
from cfi_jax.core.types import InputError
from cfi_jax.registration.pairs import align, find


@pytest.fixture
def few(monkeypatch):
  two_cameras.hasten(monkeypatch)


def test_three_pairs_of_a_rig_suffice_and_exchanged_ones_are_refused(few):
  visibles, infrareds = two_cameras.rig(3)
  rig = align(visibles, infrareds)
  assert two_cameras.error(rig.matrix) < 0.7
  assert rig.visible == (120, 160) and rig.infrared == (72, 96)
  assert rig.confidence.ratio > 3 and [s.name for s in rig.scores] == ["0", "1", "2"]
  assert all(s.ncc > 0.5 and np.hypot(*s.shift) <= 2 for s in rig.scores)
  with pytest.raises(InputError, match="cannot be believed: the pairs correlate .*--mounting=any"):
    align(visibles, [*infrareds[1:], infrareds[0]])


def test_one_pair_of_counts_in_reversed_contrast():
  visible, infrared = two_cameras.pair(0)
  counts = (30_000 - 5 * infrared.astype(int)).astype(np.uint16)
  rig = align(np.repeat(visible[..., None], 3, -1), counts)
  assert two_cameras.error(rig.matrix) < 1 and rig.confidence.ratio is None
  assert rig.confidence.holds and not rig.confidence.accepted


def test_a_turned_and_mirrored_camera_is_found_where_it_is_looked_for(few):
  visible, infrared = two_cameras.pair(1)
  rig = align(visible, np.rot90(infrared[:, ::-1]), mounting="any")
  assert rig.infrared == (96, 72)
  back = np.array([[0, -1, 95], [1, 0, 0], [0, 0, 1.0]])  # of np.rot90
  mirror = np.array([[-1, 0, 95], [0, 1, 0], [0, 0, 1.0]])
  assert two_cameras.error(mirror @ back @ rig.matrix) < 1


def test_pairs_of_one_scene_are_judged_as_one_pair(few):
  visible, infrared = two_cameras.pair(2)
  rig = align([visible, visible], [infrared, infrared])
  assert rig.confidence.ratio is None and len(rig.scores) == 2


def test_images_of_other_scenes_are_refused_but_where_they_are_accepted(few):
  visible, infrared = two_cameras.pair(0)[0], np.random.default_rng(0).integers(0, 99, (72, 96))
  with pytest.raises(InputError, match=r"margin over the best other place .* \(needed above"):
    align(visible, infrared)
  assert align(visible, infrared, accept=True).confidence.accepted


SMALL, FLAT = np.arange(31 * 40).reshape(31, 40), np.full((40, 40), 9)
GOOD = np.arange(1600).reshape(40, 40)


@pytest.mark.parametrize(
  ("visibles", "infrareds", "said"),
  [
    ([SMALL], [GOOD], "visible image of 0 is 40x31 .* from 32"),
    ([GOOD], [FLAT], "infrared image of 0 shows nothing"),
    ([GOOD, GOOD.T[:39]], [GOOD, GOOD], "visible images differ in size: 0 is 40x40, 1 is 40x39"),
    ([GOOD], [GOOD, GOOD], "1 visible and 2 infrared images"),
    ([], [], "visible holds no image"),
    (["/nowhere.png"], [GOOD], "/nowhere.png"),
  ],
)
def test_what_cannot_be_aligned_is_said(visibles, infrareds, said):
  with pytest.raises(InputError, match=said):
    align(visibles, infrareds)


def test_an_unknown_mounting_is_refused():
  with pytest.raises(InputError, match="mounting is 'left'; allowed: upright, any"):
    find([GOOD[..., None]], [GOOD[..., None]], mounting="left")


def test_the_name_is_the_function_and_the_package_of_that_name_is_called_like_it():
  assert cfi_jax.__getattr__("align") is align
  with pytest.raises(InputError, match="visible holds no image"):
    importlib.import_module("cfi_jax.align")([], [])
