"""The rig: warping, confidence, and its file."""

import dataclasses
import json

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.images import warp
from cfi_jax.registration import rig as rig_lib
from cfi_jax.registration.rig import Confidence, Rig, Score, load

RIG = Rig(
  warp.shift(-3, 2) @ np.diag([0.5, 0.5, 1]),
  (40, 60),
  (20, 24),
  (Score("a", 0.5, (1.0, -2.0)), Score("b", 0.4, (0.0, 0.0))),
  Confidence(0.3, 0.4, 4.5),
)


def test_a_file_gives_the_rig_back(tmp_path):
  RIG.save(tmp_path / "new" / "rig.json")
  again = load(tmp_path / "new" / "rig.json")
  np.testing.assert_array_equal(again.matrix, RIG.matrix)
  for field in ("visible", "infrared", "scores", "confidence"):
    assert getattr(again, field) == getattr(RIG, field)


@pytest.mark.parametrize(
  ("change", "said"),
  [
    ({"format": "other"}, "is no rig"),
    ({"version": 2}, "version is 2; allowed: 1"),
    ({"matrix": [[1, 0], [0, 1]]}, "3 rows of 3 numbers"),
    ({"matrix": [[1, 0, float("nan")], [0, 1, 0], [0, 0, 1]]}, "3 rows of 3 numbers"),
    ({"matrix": [[1, 0, 0], [1, 0, 0], [0, 0, 1]]}, "cannot be inverted"),
    ({"matrix": "x"}, "damaged"),
    ({"visible": {"height": 0, "width": 60}}, "visible is .* above 0"),
    ({"infrared": {"height": 20}}, "lacks 'width'"),
    ({"pairs": [{"name": "a"}]}, "lacks 'ncc'"),
    ({"confidence": {}}, "lacks 'ratio'"),
  ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, change, said):
  path = tmp_path / "rig.json"
  RIG.save(path)
  path.write_text(json.dumps(json.loads(path.read_text()) | change))
  with pytest.raises(InputError, match=f"rig.json: .*{said}"):
    load(path)


@pytest.mark.parametrize(("content", "said"), [("{", "is no JSON"), ("[]", "is no rig")])
def test_what_is_no_rig_is_refused(tmp_path, content, said):
  (tmp_path / "rig.json").write_text(content)
  with pytest.raises(InputError, match=said):
    load(tmp_path / "rig.json")
  with pytest.raises(InputError, match="none.json: No such file"):
    load(tmp_path / "none.json")
  (tmp_path / "bytes").write_bytes(b"\xff\xfe\x00")
  with pytest.raises(InputError, match="is no JSON"):
    load(tmp_path / "bytes")


def test_warping_takes_the_forms_of_images_and_says_where_there_is_one(random):
  image = random.integers(0, 65536, (20, 24), np.uint16)
  values, mask = RIG.warp(image)
  assert values.shape == mask.shape == (40, 60) and values.dtype == np.uint16
  assert values[10, 20] == image[7, 7]  # (20, 10) / 2 + (-3, 2)
  assert mask.mean() == RIG.share and 0.3 < RIG.share < 0.7
  colour, _ = RIG.warp(np.repeat(image[..., None], 3, -1))
  np.testing.assert_array_equal(colour, np.repeat(values[..., None], 3, -1))
  with pytest.raises(InputError, match="infrared is 20x24; the rig was aligned .* 24x20"):
    RIG.warp(image.T)
  for bad in (image[None, None], image > 9):
    with pytest.raises(InputError, match="allowed: numbers \\[H, W\\]"):
      RIG.warp(bad)


def test_a_rig_is_believed_by_exchanged_pairs_and_a_pair_by_margin_and_sharpness():
  assert Confidence(0.0, 0.0, rig_lib.RATIO).holds
  assert not Confidence(1.0, 1.0, rig_lib.RATIO - 0.01).holds
  alone = Confidence(rig_lib.MARGIN + 0.01, rig_lib.SHARPNESS + 0.01)
  assert alone.holds
  assert not dataclasses.replace(alone, margin=rig_lib.MARGIN).holds
  assert not dataclasses.replace(alone, sharpness=rig_lib.SHARPNESS).holds
  assert not Confidence(0.0, 0.0, accepted=True).holds
  assert "0.210" in alone.describe() and "2.50 times" in Confidence(0, 0, 2.5).describe()


def test_masked_pixels_of_a_frame_are_pixels_without_a_value(random):
  infrared = random.integers(0, 200, (20, 24), np.uint8)
  masked = np.ma.masked_array(infrared, infrared > 150)
  image, mask = RIG.warp(masked)
  wanted = RIG.warp(np.where(infrared > 150, np.nan, infrared).astype(np.float32))
  assert image.dtype == np.float32 and not mask.all()
  np.testing.assert_array_equal(image, wanted[0])
  np.testing.assert_array_equal(mask, wanted[1])
