"""Masks as users give them, as fusers take them, and refusals of fusers that take none."""

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.fusion import masks
from cfi_jax.fusion.array_fuser import ArrayFuser
from cfi_jax.fusion.types import Pair
from cfi_jax.images import validity

SIZE = (9, 12)
HOLE = np.zeros(SIZE, bool)
HOLE[2:5, 3:7] = True
IMAGE = np.full((*SIZE, 1), 9, np.uint8)


class Whole(ArrayFuser):
  """Gives the visible images, and keeps the tasks; takes no masks."""

  def __init__(self):
    self.tasks = []

  def _fuse_ready(self, task):
    self.tasks.append(task)
    return list(task.visibles)

  def _fuse_with_details(self, task):
    pytest.fail("nobody asks for details here")


class Masked(Whole):
  """The same with masks."""

  takes_valid = True


def holes(tmp_path):
  """The mask of a hole in every form that a user may have it in."""
  Image.fromarray(~HOLE * np.uint8(255)).save(tmp_path / "mask.png")
  Image.fromarray(~HOLE).save(tmp_path / "bits.png")
  return {
    "bool": ~HOLE,
    "numbers": (~HOLE).astype(int) * 7,
    "channel": ~HOLE[..., None],
    "floats": np.where(HOLE, np.nan, 1.0),
    "list": (~HOLE).tolist(),
    "masked": np.ma.array(np.ones(SIZE), mask=HOLE),
    "path": tmp_path / "mask.png",
    "picture": Image.open(tmp_path / "bits.png"),
  }


FORMS = ("bool", "numbers", "channel", "floats", "list", "masked", "path", "picture")


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mask(tmp_path, form):
  mask = holes(tmp_path)[form]
  for given in ({"infrared": mask}, Pair(None, mask)):
    (found,) = masks.apply([IMAGE], [given], "infrared")
    np.testing.assert_array_equal(validity.of(found)[..., 0], ~HOLE)
    (untouched,) = masks.apply([IMAGE], [given], "visible")
    assert validity.of(untouched) is None
  fuser = Masked()
  fuser.fuse(IMAGE, IMAGE, valid={"infrared": mask})
  (pair,) = fuser.tasks[0].valid
  assert pair.visible.all() and pair.visible.shape == pair.infrared.shape == (*SIZE, 1)
  np.testing.assert_array_equal(pair.infrared[..., 0], ~HOLE)


def test_masks_of_a_batch_and_of_pairs():
  batch, fuser = np.stack([IMAGE] * 3), Masked()
  each = np.stack([~HOLE, np.ones(SIZE, bool), HOLE])
  fuser.fuse(batch, batch, valid={"visible": each})
  first, second, third = fuser.tasks[-1].valid
  assert second is None and (first.visible[..., 0] == ~HOLE).all()
  assert (third.visible[..., 0] == HOLE).all()
  fuser.fuse(batch, batch, valid=Pair(~HOLE, None))
  assert all((pair.visible[..., 0] == ~HOLE).all() for pair in fuser.tasks[-1].valid)
  fuser.fuse_pairs([IMAGE] * 2, [IMAGE] * 2, valid=[None, {"infrared": ~HOLE}])
  assert fuser.tasks[-1].valid[0] is None and fuser.tasks[-1].valid[1] is not None


WRONG = {
  "name": ({"ir": HOLE}, "valid is of ir; allowed: a Pair, or a mapping, of masks by visible and"),
  "bare mask": (HOLE, "valid is <class 'numpy.ndarray'>; allowed: a Pair, or a mapping"),
  "size": ({"infrared": HOLE[:8]}, "valid, infrared: the mask is 12x8 and the image 12x9"),
  "count": ({"visible": np.stack([HOLE] * 2)}, "valid, visible: 2 masks; allowed: one, or 1"),
  "text": ({"visible": np.full(SIZE, "x")}, "valid, visible is <U1; allowed: integers and float"),
  "nothing": ({"visible": HOLE & False}, "the visible image: no pixel has a value"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_mask_is_refused(kind):
  valid, words = WRONG[kind]
  with pytest.raises(InputError, match=words):
    Masked().fuse(IMAGE, IMAGE, valid=valid)


def test_there_is_one_entry_for_each_pair():
  with pytest.raises(InputError, match="valid has 1 entries; allowed: 2, one for each pair"):
    Masked().fuse_pairs([IMAGE] * 2, [IMAGE] * 2, valid=[None])


LACKING = {
  "nan": np.where(HOLE, np.nan, 0.5),
  "infinite": np.where(HOLE, np.inf, 0.5),
  "masked": np.ma.array(IMAGE[..., 0], mask=HOLE),
  "alpha": np.stack([*[IMAGE[..., 0]] * 3, (~HOLE).astype(np.uint8)], -1),
}


@pytest.mark.parametrize("kind", LACKING)
def test_a_fuser_without_masks_refuses_with_number_and_way(kind):
  words = (
    "^infrared: 12 of 108 pixels have no value .NaN, nodata, alpha 0 or a mask., which these "
    "weights cannot leave out: fill them first, or fuse by a rule.*--weights=wavelet"
  )
  with pytest.raises(InputError, match=words):
    Whole().fuse(IMAGE, LACKING[kind])
  with pytest.raises(InputError, match="^visible 2 of 2: 12 of 108 pixels have no value"):
    Whole().fuse_pairs([IMAGE] * 2, [IMAGE] * 2, valid=[None, {"visible": ~HOLE}])
  fuser = Whole()
  fuser.fuse(IMAGE, IMAGE, valid={"infrared": ~HOLE | True})
  assert fuser.tasks[0].valid == [None]
