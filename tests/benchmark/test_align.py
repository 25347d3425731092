"""The benchmark of alignment: pairs whose homography is known."""

import json

import numpy as np
import pytest
import two_cameras
from PIL import Image

from cfi_jax.benchmark import __main__ as command
from cfi_jax.benchmark import align
from cfi_jax.benchmark.harness import misaligned
from cfi_jax.images import warp


@pytest.fixture(scope="module")
def roadscene(tmp_path_factory):
  """Six aligned pairs in the folders of RoadScene."""
  root = tmp_path_factory.mktemp("roadscene")
  for part in align.FOLDERS["roadscene"]:
    (root / part).mkdir()
  for k in range(6):
    images = two_cameras.scene(k, (150, 200))
    for part, image in zip(align.FOLDERS["roadscene"], images, strict=True):
      Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(root / part / f"{k}.png")
  return root


def test_cases_are_measured_kept_and_tabulated(roadscene, tmp_path, monkeypatch, capsys):
  two_cameras.hasten(monkeypatch)
  output = tmp_path / "align.json"
  flags = [f"--roadscene={roadscene}", f"--output={output}", "--count=1"]
  assert command.main(["align", *flags, "--cases=mild"]) == 0
  (row,) = json.loads(output.read_text())["cases"]["mild"]
  assert row["error"] < 1 and row["accepted"] and row["seconds"] > 0
  monkeypatch.setattr(align, "_align", lambda *_: row | {"error": 500.0, "accepted": False})
  assert command.main(["align", *flags, "--cases=wrong"]) == 0
  cases = json.loads(output.read_text())["cases"]
  assert list(cases) == ["mild", "wrong"] and cases["mild"] == [row]
  assert command.main(["align", *flags[:2], "--count=2", "--cases=mild,wrong"]) == 0
  cases = json.loads(output.read_text())["cases"]
  assert [r["error"] for r in cases["mild"]] == [row["error"], 500]  # goes on where it stopped
  lines = {line.split()[0]: line for line in output.with_suffix(".txt").read_text().splitlines()}
  assert "50 %" in lines["mild"] and "1 of 1" in lines["mild"]
  assert "500.0" in lines["wrong"] and "0 of 0" in lines["wrong"]
  assert command.main(["align", *flags, "--seed=3"]) == 2
  assert "holds seed 2026, not --seed=3" in capsys.readouterr().err
  assert command.main(["align", *flags, "--cases=odd"]) == 2
  assert "--cases=odd; allowed: mild" in capsys.readouterr().err


@pytest.mark.parametrize("name", misaligned.STRENGTHS)
def test_what_is_drawn_lies_in_the_picture_and_shows_what_it_should(name):
  strength = misaligned.STRENGTHS[name]
  rng = np.random.default_rng(1)
  y, x = np.mgrid[:240, :320].astype(float)
  view = misaligned.draw(strength, (240, 320), rng)
  seen = [view.render(x, image, rng) for image in (x / 2, y / 2)]
  assert seen[0][1].shape == strength.size and seen[0][0].shape == view.crop_size
  # The pictures hold their own coordinates, so the infrared pixels say where they come from.
  v, u = np.mgrid[10 : strength.size[0] - 10, 10 : strength.size[1] - 10].astype(float)
  back = warp.transform(np.linalg.inv(view.truth), u, v)
  for axis, (_, infrared) in enumerate(seen):
    start = view.crop[1 - axis].start
    measured = 2 * infrared[10:-10, 10:-10] - start
    assert abs((measured - back[axis]).mean()) < 0.5


def test_a_shift_is_the_error():
  truth = np.diag([0.5, 0.5, 1])
  found = truth @ warp.shift(3, -4)
  assert misaligned.error(found, truth, (120, 160), (60, 80)) == pytest.approx(5)


def test_rigs_share_a_homography_and_are_shuffled_whole(roadscene, monkeypatch):
  monkeypatch.setattr(align, "RIG_SIZE", (140, 190))
  options = type("Options", (), {"roadscene": str(roadscene), "seed": 1})
  right, wrong = (
    next(align._rigs(align.Case("alternating", wrong=wrong, pairs=3), options))
    for wrong in (False, True)
  )
  np.testing.assert_array_equal(right[3], wrong[3])
  assert {v.shape for v in right[1]} == {right[1][0].shape} and len(right[1]) == 3
  for k in range(3):
    np.testing.assert_array_equal(wrong[1][k], right[1][k])
    np.testing.assert_array_equal(wrong[2][k], right[2][(k + 1) % 3])


def test_alterations_take_the_truth_along():
  for alter in (np.rot90, align._mirrored, align._reversed):
    image = np.zeros((20, 30), np.float32)
    image[4, 7] = 1
    x, y = warp.transform(align._altered(alter, (20, 30)), np.array(7.0), np.array(4.0))
    changed = np.asarray(alter(image), np.float64)
    assert np.argwhere(abs(changed - np.median(changed)) > 0.5).tolist() == [[round(y), round(x)]]


def test_pairs_alternate_in_size_and_wrong_ones_have_the_next_infrared_image(roadscene):
  folders = {"roadscene": str(roadscene)}
  turned, wrong = (
    list(align._pairs(align.Case("alternating", **more), folders, 1))
    for more in ({"alter": np.rot90}, {"wrong": True})
  )
  assert [pair[2][0].shape for pair in turned] == [(320, 240), (160, 120), (320, 240)]
  for k in range(3):
    np.testing.assert_array_equal(np.rot90(wrong[k][2][0], 1), turned[(k + 1) % 3][2][0])
    np.testing.assert_array_equal(wrong[k][1][0], turned[k][1][0])
