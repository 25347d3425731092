"""Pictures with keypoints in the layouts of other projects: what is read, and what is refused."""

import json
import re

import numpy as np
import pytest
from command_line import ROOT
from PIL import Image

from cfi_jax import datasets, systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.datasets import inspect
from cfi_jax.datasets.figures import joints
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.datasets.posed import keypoints
from cfi_jax.datasets.posed.people import PeopleWarning

COMMON = dict(root="", validation_fraction=0.0, size=16, support=0, seed=0)


def draw(path, shade, size=(12, 20)):
  """A picture of one shade with a mark, so that no two are alike."""
  path.parent.mkdir(parents=True, exist_ok=True)
  pixels = np.full((size[1], size[0], 3), shade, np.uint8)
  pixels[:, shade % size[0]] = 255 - shade
  Image.fromarray(pixels).save(path)


def body(shift=0.0, count=18):
  """Points of a person within 12 x 20 pixels, [count, 3], confidences 0.5."""
  places = np.stack([np.linspace(2, 9, count) + shift, np.linspace(1, 19, count)], 1)
  return np.concatenate([places, np.full((count, 1), 0.5)], 1)


@pytest.fixture
def pairs(tmp_path):
  """Two people of three and two pictures in train, one of two in test, and their lists."""
  people = {"train": ("a1", "a2", "a3", "b1", "b2"), "test": ("c1", "c2")}
  links = {"train": [("a1", "a2"), ("a2", "a3"), ("b1", "b2")], "test": [("c1", "c2")]}
  shade = 0
  for part, names in people.items():
    lines = ["name:keypoints_y:keypoints_x"]
    for name in names:
      shade += 10
      draw(tmp_path / part / f"{name}.png", shade)
      x, y = np.round(body()[:, :2].T).astype(int).tolist()
      x[3] = y[3] = -1
      lines.append(f"{name}.png: {y}: {x}")
    (tmp_path / f"some-annotation-{part}.csv").write_text("\n".join(lines))
    text = "\n".join(["from,to", *(f"{a}.png,{b}.png" for a, b in links[part])])
    (tmp_path / f"some-pairs-{part}.csv").write_text(text)
  return tmp_path


def of_pairs(root, **changes):
  return datasets.load(COMMON | dict(name="pose_pairs", root=str(root)) | changes)


def test_pairs_are_the_person_and_the_pose(pairs):
  source = of_pairs(pairs).source("train")
  assert source.names == ("a1.png___a2.png", "a2.png___a3.png", "b1.png___b2.png")
  found = source[0]
  assert {n: x.shape[-1] for n, x in found.items()} == dict(
    source=3, source_joints=18, target=3, target_joints=18, truth=3, truth_joints=18
  )
  np.testing.assert_array_equal(found["truth"], found["source"])  # from a1: a1 in the pose of a2
  assert [np.median(found[role]) for role in ("target", "source")] == [10, 20]
  # 12 x 20 pixels stand in the middle of a square of 20, which is scaled to 16.
  read = np.asarray(joints.decode(found["source_joints"] / np.float32(255)))
  expected = (np.round(body()[:, :2]) + (4, 0)) * 16 / 20
  shown = read[:, 2] > 0
  assert not shown[3] and shown.sum() == 17
  np.testing.assert_allclose(read[shown, :2], expected[shown].clip(0.5, 15.5), atol=0.02)
  (header, *_) = source.check_headers()
  assert {name: x.shape for name, x in found.items()} == {
    name: (h.height, h.width, h.channels) for name, h in header.items()
  }
  other = of_pairs(pairs, size=24).source("train")
  assert (
    other.fingerprint() != source.fingerprint() == of_pairs(pairs).source("train").fingerprint()
  )
  assert len(of_pairs(pairs).source("test")) == 1


def test_people_are_held_out_whole_and_support_shows_two(pairs):
  dataset = of_pairs(pairs, validation_fraction=0.5, support=20)
  assert dataset.splits == ("train", "validation", "test", "support")
  people = [{name[0] for name in dataset.source(s).names} for s in ("train", "validation")]
  assert sorted(map(sorted, people)) == [["a"], ["b"]]
  support = of_pairs(pairs, support=20).source("support")
  assert len(support) == 20 and "truth" not in support[0]
  shown = [{r: f.path[6] for r, f in record.files.items()} for record in support.source.records]
  assert all(record["source"] != record["target"] for record in shown)
  assert {record["target"] for record in shown} == {"a", "b"}
  report = inspect.check(dataset, 16)
  assert report.problems == () and sum(report.counts.values()) == 4


ROW = json.dumps([1] * 18)
NEW = "a1.png,d.png"  # a pair with a new picture


@pytest.mark.parametrize(
  ("pair", "row", "message"),
  [
    ("a1.png,x.png", "", "pairs-train.csv names and train lacks .1.: x.png"),
    (NEW, "", "pictures without keypoints in some-annotation-train.csv .1.: d.png"),
    ("", f"x.png:{ROW}:{ROW}", "annotation-train.csv without a picture in train .1.: x.png"),
    (NEW, f"d.png:{[-1] * 18}:{[-1] * 18}", "pictures whose points are all missing .1.: d.png"),
    (NEW, f"d.png:{ROW}:{[13] + [1] * 17}", "train/d.png has 12x20 pixels, and nose at .13, 1."),
    ("", "x.png:[1]:[2]", "line 7: 1 and 1 numbers; allowed: NAME:"),
    ("", f"a1.png:{ROW}:{ROW}", "line 7: a1.png has keypoints already"),
    ("a,b,c", "", "line 5 has 3 columns; allowed: 2"),
  ],
)
def test_pair_lists_that_cannot_be_are_named(pair, row, message, pairs):
  if pair == NEW:
    draw(pairs / "train" / "d.png", 99)
  for name, line in (("pairs", pair), ("annotation", row)):
    path = pairs / f"some-{name}-train.csv"
    path.write_text(f"{path.read_text()}\n{line}")
  with pytest.raises(InputError, match=message):
    of_pairs(pairs).source("train")
  assert re.search(message, "\n".join(inspect.check(of_pairs(pairs), 16).problems))


def test_lists_and_pictures_that_do_not_fit_are_named(pairs):
  draw(pairs / "train" / "a2.png", 9, (10, 20))
  with pytest.raises(InputError, match="a pair must have one size, but .*a1.png has 20 rows"):
    of_pairs(pairs).source("train").check_headers()
  path = pairs / "some-pairs-train.csv"
  path.write_text("x,y")
  with pytest.raises(InputError, match="begins with 'x,y'; allowed: from, to"):
    of_pairs(pairs).source("train")
  path.unlink()
  with pytest.raises(InputError, match=r"holds none; allowed: one file \*pairs-train.csv"):
    of_pairs(pairs).source("train")


def openpose(*bodies):
  people = [{"pose_keypoints_2d": np.asarray(b).ravel().tolist()} for b in bodies]
  return json.dumps({"version": 1.3, "people": people})


@pytest.fixture
def frames(tmp_path):
  """Frames of two people, of 18 and of 25 points, and one frame of nobody."""
  for k, (person, count) in enumerate({"anna": 18, "ben": 25}.items()):
    for i in range(4):
      folder = tmp_path / person / "train"
      draw(folder / "frames" / f"frame{i:06d}.png", 40 * k + 10 * i)
      (folder / "keypoints").mkdir(exist_ok=True)
      text = openpose(body(0.25 * i, count))
      (folder / "keypoints" / f"frame{i:06d}_keypoints.json").write_text(text)
  (folder / "keypoints" / "frame000003_keypoints.json").write_text(openpose())
  return tmp_path


def of_frames(path, **changes):
  return datasets.load(COMMON | dict(name="pose_frames", root=str(path), targets=2) | changes)


def test_frames_are_asked_for_from_others_of_the_same_person(frames):
  with pytest.warns(PeopleWarning, match=r"of ben/train with nobody, which are left out .1.: fr"):
    source = of_frames(frames).source("train")
  records = source.source.records
  assert 7 <= len(records) <= 14
  for record in records:
    own, other = (record.files[role].path.split("/") for role in ("source", "target"))
    assert own[0] == other[0] and own[-1] != other[-1]
  assert "ben/train/frames/frame000003.png" not in source.keypoints
  # BODY_25 has the middle of the hips at 8, which COCO lacks.
  found = source.keypoints["ben/train/frames/frame000000.png"]
  np.testing.assert_allclose(found[JOINTS.index("right hip"), :2], body(0, 25)[9, :2])
  np.testing.assert_allclose(found[JOINTS.index("left ear"), :2], body(0, 25)[18, :2])
  report = inspect.check(of_frames(frames), 16)
  (problem,) = report.problems
  assert problem.startswith(f"test: {frames} has no folder PERSON/test/frames; expected are PERS")
  assert any("with nobody" in note for note in report.notes)


@pytest.mark.filterwarnings("ignore:.*with nobody:cfi_jax.datasets.posed.people.PeopleWarning")
def test_of_two_people_the_one_with_most_confidence_is_taken(frames):
  path = frames / "anna" / "train" / "keypoints" / "frame000000_keypoints.json"
  sure = body(1.0)
  sure[:, 2] = 0.9
  path.write_text(openpose(body(), sure, 0 * body()))
  with pytest.warns(PeopleWarning, match=r"several people, of whom the one .*frame000000_key"):
    source = of_frames(frames).source("train")
  found = source.keypoints["anna/train/frames/frame000000.png"]
  np.testing.assert_allclose(found[:, :2], sure[:, :2])


@pytest.mark.filterwarnings("ignore::cfi_jax.datasets.posed.people.PeopleWarning")
@pytest.mark.parametrize(
  ("name", "text", "message"),
  [
    ("9_keypoints.json", openpose(body()), "anna/train without a frame .1.: frame000009_"),
    ("0_keypoints.json", None, "anna/train without a file in keypoints .1.: frame000000.png"),
    ("0_keypoints.json", "{}", "not OpenPose's JSON .KeyError: 'people'.; allowed: {"),
    ("0_keypoints.json", "[", "not OpenPose's JSON .JSONDecodeError"),
    ("0_keypoints.json", openpose(body(0, 17)), "a body of 17 points; allowed: 18, 25, 23"),
    ("0_keypoints.json", openpose(body(20)), "anna/train/frames/frame000000.png has 12x20 pix"),
    ("0_keypoints.json", openpose(body() * np.nan), "a point is not finite; missing points are"),
    ("0_pose.yml", "sizes: [1, 23, 3]\ndata: [1., 2.]", "no matrix of points in OpenCV's YAML"),
  ],
)
def test_keypoint_files_that_cannot_be_are_named(name, text, message, frames):
  path = frames / "anna" / "train" / "keypoints" / f"frame00000{name}"
  path.unlink() if text is None else path.write_text(text)
  with pytest.raises(InputError, match=message):
    of_frames(frames).source("train")


def test_poses_of_everybody_dance_now_are_reordered():
  points = body(0, 23)
  points[5] = 0
  numbers = ",\n  ".join(f"{x:.3f}" for x in points.ravel())
  text = (
    f"%YAML:1.0\n---\npose_0: !!opencv-nd-matrix\n   sizes: [ 1, 23, 3 ]\n   data: [ {numbers} ]\n"
  )
  found = keypoints.read_yaml(text, "file").keypoints
  for name, place in {"nose": 18, "neck": 0, "left ankle": 15, "right knee": 9}.items():
    np.testing.assert_allclose(found[JOINTS.index(name), :2], points[place, :2], atol=1e-3)
  assert found[JOINTS.index("left elbow"), 2] == 0
  assert keypoints.read_yaml("sizes: [ 0, 25, 3 ]\ndata: [ ]", "file").people == 0


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"size": 20}, "data.size is 20; allowed: a multiple of 8 from 16 to 1024"),
    ({"support": -1}, "data.support is -1; allowed: a whole number from 0"),
    ({"targets": 0}, "data.targets is 0; allowed: a whole number from 1"),
    ({"root": "/nowhere"}, "the root does not exist"),
    ({"root": ""}, "the data root is empty"),
    ({"validation_fraction": 1.0}, r"validation_fraction=1.0: must be in \[0, 1\)"),
  ],
)
def test_options_that_cannot_be_are_named(changes, message, frames):
  with pytest.raises(InputError, match=message):
    of_frames(frames, **changes).source("train")


def test_a_run_opens_them(pairs):
  config = config_lib.load(str(ROOT / "tests" / "systems" / "dfcnet" / "tiny.py")).to_dict()
  of = COMMON | dict(name="pose_pairs", root=str(pairs), support=5)
  system, built = systems.configure(config | {"data": of})
  found = system.streams(built)
  assert [len(stream.source) for stream in found.values()] == [3, 5]
  assert system.held_out(built) is None
  sample = found["support"].finish(
    {name: x / np.float32(255) for name, x in found["support"].source[0].items()}, None
  )
  assert not sample.paired and sample.truth_parts is None
  of["validation_fraction"] = 0.5
  assert len(system.held_out(systems.configure(config | {"data": of})[1]).source) in (1, 2)
