"""Keypoints of pictures: answers of BlazePose in the picture, files, and what is refused."""

import builtins
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.keypoints import __main__ as command
from cfi_jax.keypoints import blazepose
from cfi_jax.keypoints.blazepose import BlazePose, Look


def answer(places, score=0.9, logits=4.0):
  """A look in which every point lies at places [39, 2] of the network's input."""
  points = np.full((39, 5), logits)
  points[:, :2] = places
  return Look(points, score)


def test_points_are_in_the_pictures_pixels_after_both_looks():
  picture = np.zeros((100, 60, 3), np.uint8)
  picture[30:70, 20:50] = 255
  seen = []

  def run(given):
    """Says the corners of what is bright, as a network would that sees a person there."""
    seen.append(given)
    rows, columns = np.nonzero(given[0, ..., 0] > 0.5)
    corners = np.array([[columns.min(), rows.min()], [columns.max() + 1, rows.max() + 1]])
    return answer(corners[np.arange(39) % 2])

  found = BlazePose(run).find(picture)
  assert len(seen) == 2 and (seen[1] > 0.5).mean() > 2 * (seen[0] > 0.5).mean()
  at = dict(zip(JOINTS, found, strict=True))
  np.testing.assert_allclose(at["nose"][:2], (20, 30), atol=0.5)
  np.testing.assert_allclose(at["left shoulder"][:2], (50, 70), atol=0.5)
  np.testing.assert_allclose(at["neck"][:2], (35, 50), atol=0.5)  # the middle of both shoulders
  assert at["nose"][2] == pytest.approx(1 / (1 + np.exp(-4)))


def test_joints_that_are_unsure_or_outside_are_missing():
  picture = np.zeros((100, 60, 3), np.uint8)

  def run(given):
    found = answer(np.full((39, 2), 128.0)).points
    found[16, 3] = -1.0  # the right wrist is hidden
    found[15, 4] = -1.0  # the left one is not there
    found[28, 0] = 2.0  # the right ankle is in the margin left of a narrow picture
    return Look(found, 0.9)

  found = dict(zip(JOINTS, BlazePose(run).find(picture), strict=True))
  missing = {name for name, point in found.items() if not point.any()}
  assert missing == {"right wrist", "left wrist", "right ankle"}
  assert BlazePose(lambda given: answer(np.zeros((39, 2)), 0.4)).find(picture) is None


@pytest.fixture
def frames(tmp_path):
  folder = tmp_path / "anna" / "train" / "frames"
  folder.mkdir(parents=True)
  for i in range(3):
    Image.new("RGB", (30, 40), (60 * i, 0, 0)).save(folder / f"f{i}.png")
  return folder


def run(*arguments):
  return cli.status(command.main, command.FLAGS, command.__doc__, arguments)


def test_the_command_writes_what_training_reads(frames, monkeypatch, capsys):
  def find(given):
    nobody = given.max() > 0.4  # f2
    return answer(np.linspace(90, 160, 78).reshape(39, 2), 0.1 if nobody else 0.9)

  monkeypatch.setattr(blazepose, "load", lambda model, size: BlazePose(find))
  assert run(f"--images={frames}", "--model=any") == 0
  said = capsys.readouterr().out
  assert "nobody was found in 1 pictures: f2.png" in said and "a person in 2 of 3 pictures" in said
  assert len(list((frames.parent / "keypoints").iterdir())) == 3
  dataset = datasets.load(
    dict(name="pose_frames", root=str(frames.parents[2]), validation_fraction=0.0, size=16,
         support=0, seed=0, targets=1)
  )  # fmt: skip
  with pytest.warns(UserWarning, match="with nobody, which are left out"):
    source = dataset.source("train")
  assert len(source) == 2 and all((x[:, 2] == 2).all() for x in source.keypoints.values())
  (frames / "f0.png").write_bytes(b"no picture")
  assert run(f"--images={frames}", "--model=any", f"--output={frames.parent / 'again'}") == 1
  assert "f0.png" in capsys.readouterr().err
  (written,) = json.loads((frames.parent / "again" / "f1_keypoints.json").read_text())["people"]
  assert len(written["pose_keypoints_2d"]) == 54


def test_the_network_is_found_in_a_package(tmp_path):
  wanted, other = b"the full one", b"the lite one"
  names = {"pose_landmark_full.tflite": wanted, "pose_landmark_lite.tflite": other}
  with tarfile.open(tmp_path / "pose.tgz", "w:gz") as archive:
    for name, content in names.items():
      member = tarfile.TarInfo(f"package/{name}")
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))
  (tmp_path / "folder" / "below").mkdir(parents=True)
  with zipfile.ZipFile(tmp_path / "pose.whl", "w") as archive:
    for name, content in names.items():
      archive.writestr(f"mediapipe/modules/{name}", content)
      (tmp_path / "folder" / "below" / name).write_bytes(content)
  for place in ("pose.tgz", "pose.whl", "folder", "folder/below/pose_landmark_full.tflite"):
    assert blazepose.read_model(tmp_path / place, "full") == wanted, place
  for place in ("pose.tgz", "pose.whl", "folder"):
    with pytest.raises(InputError, match=f"{place}: holds no pose_landmark_heavy.tflite; allowed"):
      blazepose.read_model(tmp_path / place, "heavy")


def test_what_cannot_be_used_is_named(frames, tmp_path, monkeypatch, capsys):
  model = tmp_path / "pose_landmark_full.tflite"
  model.write_bytes(b"no network")
  for arguments, message in (
    ((f"--images={tmp_path / 'no'}", f"--model={model}"), "no: does not exist"),
    ((f"--images={tmp_path}", f"--model={model}"), "holds no pictures; read are .png"),
    (
      (f"--images={frames}", "--model=no.tgz"),
      "no.tgz: does not exist; allowed: that file",
    ),
    ((f"--images={frames}", f"--model={model}", "--size=tiny"), "allowed: lite, full, heavy"),
  ):
    assert run(*arguments) == 2
    assert message in capsys.readouterr().err
  original = builtins.__import__

  def without(name, *arguments, **options):
    if name.startswith("ai_edge_litert"):
      raise ImportError("No module named 'ai_edge_litert'")
    return original(name, *arguments, **options)

  monkeypatch.setattr(builtins, "__import__", without)
  assert run(f"--images={frames}", f"--model={model}") == 2
  said = capsys.readouterr().err
  assert "the runtime of BlazePose is not installed" in said and "cfi_jax[keypoints]" in said


class Interpreter:
  """LiteRT's interpreter of a network with these shapes."""

  def __init__(self, given, outputs):
    self.given, self.outputs = given, outputs

  def get_input_details(self):
    return [{"shape": np.array(self.given), "index": 0}]

  def get_output_details(self):
    return [{"shape": np.array(x.shape), "index": k} for k, x in enumerate(self.outputs)]

  def set_tensor(self, index, value):
    assert index == 0 and value.shape == tuple(self.given)

  def invoke(self):
    pass

  def get_tensor(self, index):
    return self.outputs[index]


def test_other_networks_are_refused():
  points = np.arange(195, dtype=np.float32)[None]
  good = Interpreter((1, 256, 256, 3), [np.array([[0.75]]), points])
  look = blazepose._runner(good, "file")(np.zeros((1, 256, 256, 3), np.float32))
  assert look.score == 0.75 and look.points[1, 0] == 5
  for given, outputs in (((1, 224, 224, 3), [points]), ((1, 256, 256, 3), [points])):
    with pytest.raises(InputError, match="file: takes .*allowed: a landmark network of BlazePose"):
      blazepose._runner(Interpreter(given, outputs), "file")
