"""Two volumes become one: on the reference's grid, black where both are, with a warning."""

import numpy as np
import pytest

from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.fuse import volumes
from cfi_jax.fuse.__main__ import FLAGS
from cfi_jax.fuse.command import fuse
from cfi_jax.images import read as images
from cfi_jax.systems.files import load_fuser
from cfi_jax.volumes import nifti
from cfi_jax.volumes.values import Greys
from cfi_jax.volumes.volume import Volume

nibabel = pytest.importorskip("nibabel", reason="the extra `medical` is not installed")

AFFINE = np.array([[-1.0, 0, 0, 30], [0, -1, 0, 40], [0, 0, 3, -10], [0, 0, 0, 1]])
SHAPE = 20, 16, 9  # left, back, head: axial slices of 16 rows and 20 columns


def scans():
  """CT in Hounsfield units and MR of a ball, air around it; and where both are black."""
  i, j, k = np.indices(SHAPE)
  distance = np.sqrt(((i - 10) / 7) ** 2 + ((j - 8) / 6) ** 2 + ((k - 4) / 5) ** 2)
  ct = np.where(distance < 1, 40 + 60 * np.sin(i), -1000).astype(np.float32)
  mr = np.where(distance < 0.9, 300 + 100 * np.cos(j), 0).astype(np.float32)
  return ct, mr, (ct < -160) & (mr == 0)


def write(path, values, affine=AFFINE):
  nifti.write(path, values, Volume(values, affine, ""), "")
  return path


def run(*arguments):
  given = cli.parse(FLAGS, ["--weights=average", *arguments])
  given.pop("verbosity")
  return fuse(given)


@pytest.fixture
def pair(tmp_path):
  ct, mr, _ = scans()
  turned = np.flip(mr, 0).transpose(1, 0, 2)  # the same grid, told otherwise
  affine = np.array([[0, 1.0, 0, 11], [-1, 0, 0, 40], [0, 0, 3, -10], [0, 0, 0, 1]])
  return [
    f"--visible={write(tmp_path / 'ct.nii.gz', ct)}",
    f"--infrared={write(tmp_path / 'mr.nii', turned, affine)}",
    "--normalize=visible:window=-160:240,infrared:window=0:400",
  ]


def test_a_volume_and_pictures_of_its_slices(pair, tmp_path, capsys):
  assert run(*pair, f"--output={tmp_path / 'out'}") == 0
  said = capsys.readouterr().out
  assert said.count("not for diagnosis") == 2 and "axial slices" in said
  file = nibabel.load(tmp_path / "out" / "fused.nii.gz")
  assert b"not for diagnosis" in bytes(file.header["descrip"])
  np.testing.assert_allclose(file.affine, AFFINE)
  ct, mr, black = scans()
  fused = np.asarray(file.dataobj)
  assert fused.dtype == np.float32 and black.any() and (fused[black] == 0).all()
  wanted = (np.clip((ct + 160) / 400, 0, 1) + np.clip(mr / 400, 0, 1)) / 2
  np.testing.assert_allclose(fused, wanted, atol=1e-6)
  pictures = sorted((tmp_path / "out" / "slices").iterdir())
  assert [p.name for p in pictures] == [f"axial_{k:04d}.png" for k in range(1, 10)]
  fifth = images.read_image(pictures[4])[..., 0]  # rows to the back, columns to the left, as LPS
  np.testing.assert_array_equal(fifth, np.rint(255 * fused[:, :, 4].T))


def test_planes_change_the_slices_and_not_the_grid(pair, tmp_path):
  for plane in ("", "coronal"):
    run(*pair, f"--output={tmp_path / 'fused.nii'}", f"--slices={plane}")
    found = nifti.read(tmp_path / "fused.nii")
    assert found.values.shape == SHAPE
    np.testing.assert_allclose(found.affine, AFFINE)
  assert not (tmp_path / "slices").exists()


def test_colours_stay_and_types_of_8_bits(tmp_path, pair):
  _, mr, _ = scans()
  colours = np.random.default_rng(0).integers(0, 256, (*SHAPE, 3), np.uint8)
  colours[..., 2] = 0
  write(tmp_path / "pet.nii", colours)
  pair[0] = f"--visible={tmp_path / 'pet.nii'}"
  run(*pair[:2], f"--output={tmp_path / 'fused.nii'}")
  fused = nifti.read(tmp_path / "fused.nii").values
  assert fused.dtype == np.uint8 and fused.shape == (*SHAPE, 3)
  dark = (colours.max(-1) == 0) | (mr <= 0)
  assert not np.array_equal(fused[~dark], colours[~dark])
  run(*pair[:2], f"--output={tmp_path / 'grey.nii'}", "--gray")
  assert nifti.read(tmp_path / "grey.nii").values.shape == SHAPE


def test_where_one_has_no_value_the_result_is_the_other():
  first, second = np.full((2, *SHAPE), 0.25, np.float32) * [[[[1]]], [[[3]]]]
  known = np.ones(SHAPE, bool)
  known[:, :5], first[0] = False, 0
  reference = Volume(first, AFFINE, "")
  greys = Greys(first, None, ""), Greys(np.where(known, second, 0), known, "")
  fuser = load_fuser("average")
  fused = volumes.fuse_greys(fuser, *greys, reference, "axial", False, None)
  np.testing.assert_allclose(fused[~known], first[~known], atol=1e-6)
  np.testing.assert_allclose(fused[known], ((first + second) / 2)[known], atol=1e-6)


class Grey:
  """A fuser of two devices that gives 0.5 everywhere and keeps what it got."""

  devices, takes_valid = (0, 1), True

  def __init__(self):
    self.got = []

  def fuse_pairs(self, visibles, infrareds, *, gray, valid, **options):
    self.got.append((visibles, infrareds, valid))
    assert options == {"memory_mb": 9, "normalize": "full"}
    return [np.full_like(v[..., :1] if gray else v, 0.5) for v in visibles]


@pytest.mark.parametrize("gray", [False, True])
def test_slices_are_fused_one_per_device_and_what_neither_shows_is_black(gray, monkeypatch):
  told = []

  class Progress:
    def __init__(self, *words):
      told.append(words)
      self.update = told.append

    def __enter__(self):
      return self

    def __exit__(self, *_):
      pass

  monkeypatch.setattr(volumes, "Progress", Progress)
  visible, infrared = np.zeros((2, 3, 3, 3), np.float32), np.zeros((2, 3, 3), np.float32)
  visible[0, 1], infrared[1, 2] = (0.25, 0, 0), 1  # red alone, and an infrared image alone
  visible[1, 1], known = 1, np.ones((2, 3, 3), bool)
  known[1, 1], known[:, :, 1] = False, True  # no infrared value
  fuser, reference = Grey(), Volume(infrared, np.eye(4), "")
  greys = Greys(visible, None, ""), Greys(infrared, known, "")
  fused = volumes.fuse_greys(fuser, *greys, reference, "axial", gray, 9)
  assert told == [("fusing", "slice", 3), 2, 1]
  assert [len(visibles) for visibles, _, _ in fuser.got] == [2, 1]
  assert {v.shape[-1] for visibles, _, _ in fuser.got for v in visibles} == {3}
  assert [list(of) for _, _, valid in fuser.got for of in valid].count([]) == 1
  wanted = np.full((2, 3, 3), 0.5, np.float32)
  wanted[0, [0, 2]] = wanted[1, 0] = 0
  wanted[~known] = 1
  wanted = wanted if gray else np.stack([wanted] * 3, -1)
  assert fused.dtype == np.float32
  np.testing.assert_allclose(fused, wanted, rtol=1e-6)


def test_where_the_visible_volume_has_no_value_the_result_is_the_luma_of_the_other():
  values, known = np.zeros((2, 3, 3), np.float32), np.zeros((2, 3, 3), bool)
  colours = np.zeros((2, 3, 3, 3), np.float32)
  colours[..., 1] = 1
  greys = Greys(values, known, ""), Greys(colours, None, "")
  reference = Volume(values, np.eye(4), "")
  fused = volumes.fuse_greys(Grey(), *greys, reference, "axial", False, 9)
  np.testing.assert_allclose(fused, np.full((2, 3, 3), 0.587), rtol=1e-6)


def test_masks_of_all_and_of_nothing_are_left_out():
  mask = np.zeros((3, 2, 2, 1), bool)
  mask[0], mask[1, 0] = True, True
  assert volumes._masks([None, None], slice(0, 3)) is None
  first, second, third = volumes._masks([None, mask], slice(0, 3))
  assert (first, third) == ({}, {}) and list(second) == ["infrared"]
  np.testing.assert_array_equal(second["infrared"], mask[1])


REFUSED = {
  "picture beside a volume": (
    ["--infrared=x.png"],
    r"--visible=\S*ct.nii.gz is a volume and the other is none",
  ),
  "volume beside a picture": (
    ["--visible=x.png"],
    r"--infrared=\S*mr.nii is a volume and the other is none",
  ),
  "format": (["--format=gif"], "cannot write '.gif'"),
  "flag of pictures": (["--resize=infrared"], "--resize=infrared is of pictures"),
  "limit of pixels": (["--max_pixels=9"], "--max_pixels=9 is of pictures"),
  "several processes": (["--coordinator=auto"], "--coordinator=auto is of pictures"),
  "picture as output": (["--output=x.png"], "volumes become a folder, or a file .nii"),
  "one of the volumes": (["--output={}/ct.nii.gz"], "is the visible volume itself"),
  "window beyond": (["--normalize=infrared:window=5:1"], "LOW below HIGH"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_volumes_do_not_take_is_refused(pair, tmp_path, case):
  more, said = REFUSED[case]
  with pytest.raises(InputError, match=said):
    run(*pair, f"--output={tmp_path / 'out'}", *(flag.format(tmp_path) for flag in more))
  assert not (tmp_path / "out").exists()


def test_flags_of_volumes_are_refused_for_pictures(tmp_path):
  with pytest.raises(InputError, match="--resample is of volumes"):
    run("--visible=a.png", "--infrared=b.png", f"--output={tmp_path}", "--resample")
