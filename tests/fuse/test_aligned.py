"""Notes on aligned pairs, and the visible image where the infrared camera sees nothing."""

import types

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fuse import aligned
from cfi_jax.fuse.aligned import Aligner
from cfi_jax.fusion.inputs import Prepared


def rig(accepted):
  return types.SimpleNamespace(confidence=types.SimpleNamespace(accepted=accepted))


@pytest.mark.parametrize(
  ("made", "shares", "by", "seen"),
  [
    (None, [0.5], "each pair by itself", "50.0 %"),
    (None, [0.501, 0.5014, 0.5006], "each pair by itself", "50.1 %"),
    (rig(False), [0.75, 1.0, 0.25], "by the rig", "25.0 % to 100.0 %"),
    (
      rig(True),
      [0.5, 0.5],
      "by the rig, which was saved by --accept though it could not be believed",
      "50.0 %",
    ),
  ],
)
def test_one_line_says_how_much_was_seen(made, shares, by, seen):
  aligner = Aligner(made)
  aligner.shares.extend(shares)
  assert aligner.describe() == (
    f"aligned {by}: the infrared camera saw {seen} of the visible picture; elsewhere the result is "
    "the visible image"
  )


class FakeRig:
  """A rig whose infrared camera sees the left half of pictures of 4 x 8."""

  def __init__(self, holds):
    self.confidence = types.SimpleNamespace(holds=holds, describe=lambda: "too unlike")
    self.required = []

  def require(self, name, size, label):
    self.required.append((name, size, label))

  def warp(self, image):
    mask = np.broadcast_to(np.arange(8) < 4, (4, 8))
    return image + 1, mask & ~np.isnan(image[..., 0])


def prepared(known=None):
  plain = np.zeros((4, 8, 1), np.float32)
  return Prepared(plain, plain, None, known)


@pytest.mark.parametrize("itself", [False, True])
def test_a_pair_is_brought_together_by_the_rig_or_its_own(itself, monkeypatch):
  rig, asked = FakeRig(True), []
  monkeypatch.setattr(aligned, "find", lambda *given: asked.append(given) or rig)
  aligner, known = Aligner(None if itself else rig), np.ones((4, 8, 1), bool)
  known[:2] = False
  visible, infrared, holed = prepared(), prepared(), prepared(known)
  found, mask = aligner.bring(visible, infrared)
  assert asked == [([visible.plain], [infrared.plain])] * itself
  assert (found.plain == 1).all() and found.valid is None and mask.sum() == 16
  found, mask = aligner.bring(visible, holed)
  assert mask.sum() == 8 and (found.valid[..., 0] == mask).all()
  assert aligner.shares == [0.5, 0.25]
  each = [(name, (4, 8), f"the {name} image") for name in ("visible", "infrared")]
  assert rig.required == each * 2


def test_a_pair_that_cannot_be_aligned_is_refused(monkeypatch):
  monkeypatch.setattr(aligned, "find", lambda *given: FakeRig(False))
  surer = "is surer: give 3 or more pairs of the same rig, of different scenes$"
  with pytest.raises(InputError, match=f"by itself: too unlike; python -m cfi_jax.align .*{surer}"):
    Aligner().bring(prepared(), prepared())


def test_the_option_names_a_rig_or_each_pair_by_itself(monkeypatch):
  monkeypatch.setattr(aligned, "load", lambda text: f"rig of {text}")
  assert aligned.parse("", "") is None and aligned.parse("", "infrared") is None
  assert aligned.parse("auto", "").rig is None
  assert aligned.parse("rig.json", "").rig == "rig of rig.json"
  with pytest.raises(InputError, match="--align=auto and --resize=x are given; allowed: one of"):
    aligned.parse("auto", "x")


MASK = np.array([[True, False]])


def composed(fused, stored, gray, dtype):
  full = types.SimpleNamespace(to_unit=lambda values, kind: values.astype(kind) / 100)
  visible = types.SimpleNamespace(stored=stored, range=full)
  found = aligned.compose(fused, visible, MASK, gray, np.dtype(dtype))
  assert found.dtype == dtype
  np.testing.assert_array_equal(found[:, 0], fused[:, 0])
  return found[0, 1].tolist()


def test_elsewhere_the_visible_image_is_as_it_is():
  stored = np.array([[[1, 2, 3], [40, 50, 60]]], np.uint8)
  assert composed(np.zeros_like(stored), stored, False, "uint8") == [40, 50, 60]
  luma = composed(np.zeros((1, 2, 1), np.uint8), stored, True, "uint8")
  assert luma == [round(0.299 * 40 + 0.587 * 50 + 0.114 * 60)]
  numbers = composed(np.zeros((1, 2, 3), np.float32), stored, False, "float32")
  assert numbers == [40, 50, 60]
  wide = np.array([[[1], [2.5]]], np.float64)
  assert composed(np.zeros((1, 2, 1), np.float32), wide, False, "float32") == [2.5]


def test_in_another_type_its_range_fills_the_type_and_alpha_is_the_same_share():
  stored = np.array([[[0, 0, 0, 0], [0, 50, 100, 51]]], np.uint8)
  found = composed(np.zeros((1, 2, 4), np.uint16), stored, False, "uint16")
  assert found == [0, pytest.approx(32767.5, abs=0.5), 65535, 51 * 257]
