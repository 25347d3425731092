"""Pose transfer with weights: sizes, the room that stays, and what is refused by name."""

import json

import jax
import numpy as np
import pytest
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.transfers import Figures
from cfi_jax.keypoints.command import to_json
from cfi_jax.systems import dfcnet, files
from cfi_jax.systems.dfcnet import baselines, inference, model
from cfi_jax.systems.dfcnet.samples import make_transfer
from cfi_jax.systems.dfcnet.warp import warp
from cfi_jax.transfer import __main__ as command


@pytest.fixture(scope="module")
def transferring(toy, variables):
  _, architecture = dfcnet.product(toy.config, toy.state)
  return inference.load(variables, architecture)


@pytest.fixture(scope="module")
def pictures(toy):
  album = Figures(**{k: v for k, v in toy.config.data.items() if k != "name"}).album("test")
  return album.images


def test_a_result_has_the_targets_size_and_its_room(transferring, pictures):
  source, target = (np.asarray(Image.fromarray(p).resize((40, 30))) for p in pictures[[0, 3]])
  made = transferring.transfer(source, target)
  assert made.shape == (30, 40, 3) and made.dtype == np.uint8
  frames = list(transferring.sequence([(p, None) for p in pictures], target))
  assert len(frames) == len(pictures)
  # The region of both poses differs from frame to frame; what no pose reaches never changes.
  still = np.all([frame == target for frame in frames], axis=(0, -1))
  assert still.mean() > 0.1
  np.testing.assert_array_equal(frames[0], transferring.transfer(pictures[0], target))


def test_a_picture_of_the_networks_size_is_not_resampled(transferring, pictures, toy):
  made = transferring.transfer(pictures[0], pictures[3])
  both = (p[None].astype(np.float32) / 255 for p in pictures[[0, 3]])
  _, regions, _ = transferring._program(transferring.params, *both, (None, None))
  region = np.asarray(regions)[0, ..., 0]
  assert made.shape == (16, 16, 3)
  np.testing.assert_array_equal(made[region == 0], pictures[3][region == 0])


def test_keypoints_that_are_given_take_the_place_of_those_read(transferring, toy, pictures):
  album = Figures(**{k: v for k, v in toy.config.data.items() if k != "name"}).album("test")
  poses = [album.keypoints[i] for i in (0, 3)]
  made = transferring.transfer(pictures[0], pictures[3], *poses)
  # The untrained network gives the skeleton warp of the exact poses.
  signed = pictures[3][None].astype(np.float32) / 127.5 - 1
  warped = jax.jit(jax.vmap(warp))(signed, poses[1][None], poses[0][None])
  expected = np.clip((np.asarray(warped.base)[0] + 1) * 127.5, 0, 255)
  assert np.abs(made - expected).max() <= 1
  assert (made != transferring.transfer(pictures[0], pictures[3])).any()
  # In a wide picture the same person stands farther to the right.
  wide = np.pad(pictures[0], ((0, 0), (8, 0), (0, 0)), mode="edge")
  moved = poses[0] + np.float32([8, 0, 0])
  assert transferring.transfer(wide, pictures[3], moved, poses[1]).shape == (16, 16, 3)
  for keypoints, message in (
    (poses[0][:17], r"keypoints of the source are \[17, 3\]; allowed: finite, \[18, 3\]"),
    (0 * poses[0], "0 of 18 joints were found in the source: nobody is seen"),
  ):
    with pytest.raises(InputError, match=message):
      transferring.transfer(pictures[0], pictures[3], keypoints, poses[1])


def test_nobody_in_a_picture_is_said(toy, pictures):
  blind = {"params": model.init(toy.config.model, jax.random.key(1))}
  _, architecture = dfcnet.product(toy.config, toy.state)
  seen = jax.tree.map(lambda x: 0 * x, blind)
  with pytest.raises(InputError, match="0 of 18 joints were found in the source: nobody is seen"):
    inference.load(seen, architecture).transfer(pictures[0], pictures[1])


@pytest.mark.parametrize(
  ("picture", "message"),
  [
    (np.zeros((20, 20, 3), np.float32), r"the source is float32 \[20, 20, 3\]; allowed: uint8"),
    (np.zeros((20, 20), np.uint8), r"the source is uint8 \[20, 20\]"),
    (np.zeros((20, 8, 3), np.uint8), "the source has 8x20 pixels; allowed: 16 or more"),
  ],
)
def test_pictures_of_another_kind_are_refused(picture, message, transferring, pictures):
  with pytest.raises(InputError, match=message):
    transferring.transfer(picture, pictures[0])


def test_the_dtype_is_checked(toy, variables):
  _, architecture = dfcnet.product(toy.config, toy.state)
  with pytest.raises(InputError, match="dtype is 'float64'; valid for pose transfer: float32"):
    inference.load(variables, architecture, dtype="float64")
  with pytest.raises(InputError, match="architecture: unknown 'depth'"):
    dfcnet.shapes(architecture | {"depth": 3})


def test_fusing_and_transferring_refuse_each_others_weights(weights):
  with pytest.raises(InputError, match="weights of the system 'dfcnet', which fuses no images"):
    files.load_fuser(weights)
  with pytest.raises(InputError, match="'isfuse', which transfers no poses"):
    files.load_transferrer("medical")
  with pytest.raises(InputError, match="wavelet is a rule without weights"):
    files.load_transferrer("wavelet")


def test_weights_begin_a_run(toy, variables):
  state = dfcnet.begin(toy.config, toy.state, variables)
  jax.tree.map(np.testing.assert_array_equal, state.variables, variables["params"])
  jax.tree.map(
    np.testing.assert_array_equal, state.discriminator.params, toy.state.discriminator.params
  )


@pytest.fixture
def folder(pictures, tmp_path):
  (tmp_path / "dance").mkdir()
  for i in range(2):
    Image.fromarray(pictures[i]).save(tmp_path / "dance" / f"frame{i}.png")
  Image.fromarray(pictures[3]).resize((24, 20)).save(tmp_path / "person.png")
  return tmp_path


def run(*arguments):
  return cli.status(command.main, command.FLAGS, command.__doc__, arguments)


def test_the_command_makes_one_picture_and_a_folder(folder, weights, capsys):
  common = (f"--target={folder / 'person.png'}", f"--weights={weights}")
  assert (
    run(f"--source={folder / 'dance' / 'frame0.png'}", f"--output={folder / 'one'}", *common) == 0
  )
  one = np.asarray(Image.open(folder / "one.png"))
  assert one.shape == (20, 24, 3)
  assert run(f"--source={folder / 'dance'}", f"--output={folder / 'out'}", *common) == 0
  assert sorted(p.name for p in (folder / "out").iterdir()) == ["frame0.png", "frame1.png"]
  np.testing.assert_array_equal(one, np.asarray(Image.open(folder / "out" / "frame0.png")))
  assert "transferred 2 of 2 poses in" in capsys.readouterr().out
  (folder / "dance" / "frame2.png").write_bytes(b"no picture")
  assert run(f"--source={folder / 'dance'}", f"--output={folder / 'out'}", *common) == 1
  said = capsys.readouterr()
  assert "frame2.png" in said.err and "transferred 2 of 3 poses" in said.out
  assert "1 failed" in said.out


def test_a_dance_becomes_one_animated_picture_whose_room_is_still(folder, weights, capsys):
  person = np.asarray(Image.open(folder / "person.png"))
  common = (f"--source={folder / 'dance'}", f"--target={folder / 'person.png'}")
  common += (f"--weights={weights}",)
  for name in ("dance.webp", "dance.gif"):
    assert run(*common, f"--output={folder / name}", "--frame_ms=120") == 0
    film = Image.open(folder / name)
    film.load()  # a WEBP tells the time of a frame that was read
    assert (film.n_frames, film.size, film.info["duration"]) == (2, (24, 20), 120)
  assert run(*common, f"--output={folder / 'frames'}") == 0
  frames = [np.asarray(Image.open(p)) for p in sorted((folder / "frames").iterdir())]
  still = np.all([frame == person for frame in frames], axis=(0, -1))
  assert still.any()
  np.testing.assert_array_equal(frames[0][still], frames[1][still])
  capsys.readouterr()
  assert run(*common, f"--output={folder / 'dance.gif'}", "--frame_ms=1") == 2
  assert "--frame_ms=1; allowed: 10 to 10000" in capsys.readouterr().err


def test_the_command_takes_keypoint_files(folder, weights, toy, capsys):
  album = Figures(**{k: v for k, v in toy.config.data.items() if k != "name"}).album("test")
  (folder / "keypoints").mkdir()
  for name, keypoints in (("frame0", album.keypoints[0]), ("frame1", album.keypoints[1])):
    (folder / "keypoints" / f"{name}_keypoints.json").write_text(to_json(keypoints))
  own = album.keypoints[3] * (24 / 16, 20 / 16, 1)
  (folder / "person_keypoints.json").write_text(to_json(own))
  common = [f"--source={folder / 'dance'}", f"--target={folder / 'person.png'}"]
  common += [f"--weights={weights}", f"--output={folder / 'out'}"]
  given = [f"--source_keypoints={folder / 'keypoints'}"]
  given += [f"--target_keypoints={folder / 'person_keypoints.json'}"]
  assert run(*common, *given) == 0
  assert len(list((folder / "out").iterdir())) == 2
  (folder / "keypoints" / "frame1_keypoints.json").write_text(to_json(None))
  assert run(*common, *given) == 1
  assert "frame1_keypoints.json: has nobody" in capsys.readouterr().err
  (folder / "keypoints" / "frame1_keypoints.json").unlink()
  for flags, message in (
    (given, "holds no keypoints of frame1; allowed: one of frame1_keypoints.json"),
    ([f"--source_keypoints={folder / 'person_keypoints.json'}"], "no folder; allowed for a folder"),
    ([f"--target_keypoints={folder / 'no.json'}"], "allowed are files that end in _keypoints.json"),
    ([f"--target_keypoints={folder / 'no_pose.yml'}"], "no_pose.yml: cannot be read"),
  ):
    assert run(*common, *flags) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"source": "nowhere"}, "nowhere: does not exist"),
    ({"target": "dance"}, "is a folder; allowed: one picture"),
    ({"output": "dance"}, "is the folder of the sources; choose another folder"),
    ({"output": "person.png"}, "person.png is a file; a folder of sources needs a folder"),
    ({"source": "person.png", "output": "person.png"}, "is one of the pictures themselves"),
    ({"source": "empty"}, "empty: holds no pictures"),
    ({"source": "twins"}, "several pictures are called 'a' but for their extension"),
    ({"source": "person.png", "output": "a.xyz"}, "cannot write '.xyz' files"),
    ({"weights": "medical"}, "weights of the system 'isfuse', which transfers no poses"),
  ],
)
def test_what_the_command_cannot_use_is_named(changes, message, folder, weights, capsys):
  (folder / "empty").mkdir()
  (folder / "twins").mkdir()
  for name in ("a.png", "a.jpg"):
    Image.new("RGB", (16, 16)).save(folder / "twins" / name)
  given = {"source": "dance", "target": "person.png", "output": "out"} | changes
  paths = {name: folder / value for name, value in given.items() if name != "weights"}
  paths["weights"] = given.get("weights", weights)
  assert run(*(f"--{name}={value}" for name, value in paths.items())) == 2
  assert message in capsys.readouterr().err


def test_baselines_are_what_they_say(toy, pictures):
  options = Figures(**{k: v for k, v in toy.config.data.items() if k != "name"})
  training, source = options.album("train"), options.source("train")
  record = {name: image / np.float32(255) for name, image in source[0].items()}
  samples = jax.tree.map(lambda x: x[None], make_transfer(record, None))
  drawn = {
    name: np.asarray(rule(samples, lambda: training)) for name, rule in baselines.BASELINES.items()
  }
  assert all(picture.shape == (1, 16, 16, 3) for picture in drawn.values())
  np.testing.assert_array_equal(drawn["copy target"], samples.target)
  np.testing.assert_array_equal(drawn["copy source"], samples.source)
  # The source is a training picture itself, and so the nearest by pose.
  np.testing.assert_allclose(drawn["nearest by pose"], samples.source, atol=1e-6)
  np.testing.assert_allclose(drawn["mean image"][0], training.images.mean(0) / 255, atol=1e-5)
  both = [json.dumps(picture.tolist()) for picture in (training.images / np.float32(255))]
  assert json.dumps(drawn["nearest by pose and colour"][0].tolist()) in both
