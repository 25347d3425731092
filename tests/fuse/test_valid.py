"""Files that lack values, and masks beside them: paired, read, fused, refused by name."""

import dataclasses

import numpy as np
import pytest
import tifffile
from PIL import Image

import cfi_jax
from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.data.naming import Naming
from cfi_jax.fuse import __main__ as command_line
from cfi_jax.fuse import command
from cfi_jax.fuse.aligned import Aligner
from cfi_jax.fuse.finding import find_jobs
from cfi_jax.fuse.jobs import fuse_jobs
from cfi_jax.fuse.reading import Options, make_normalizer, read_pair, read_ready
from cfi_jax.images import ranges
from cfi_jax.images.read import read_image
from cfi_jax.registration.rig import Confidence, Rig

OPTIONS = Options(gray=False, memory_mb=None, max_pixels=10_000, resize="")
SIZE = (24, 32)
RANDOM = np.random.default_rng(0)
VISIBLE = RANDOM.integers(0, 256, (*SIZE, 3), np.uint8)
INFRARED = RANDOM.integers(1, 256, SIZE, np.uint8)
KNOWN = np.ones(SIZE, bool)
KNOWN[5:12, 8:20] = False
NODATA = [(42113, "s", 0, "0", False)]


@pytest.fixture(scope="module")
def average():
  return cfi_jax.load("average")


class Whole:
  """A fuser that takes no masks; never asked to fuse here."""

  devices = (None,)
  takes_valid = False

  def reserve(self, sizes, *, memory_mb=None):
    pass

  def bucket(self, size):
    return size

  def fuse_pairs(self, visibles, infrareds, **options):
    assert not visibles
    return []


def save(path, array, **options):
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.suffix == ".tif":
    tifffile.imwrite(path, array, **options)
  else:
    Image.fromarray(array).save(path)
  return path


def with_alpha(array):
  return np.stack([array, array, array, KNOWN * np.uint8(255)], -1)


def wide(array):
  return array.astype(np.uint16) * 257


# The infrared file, its options, and whether it has a mask beside it.
WAYS = {
  "alpha.png": (with_alpha(INFRARED), {}, False),
  "nodata of 8 bits.tif": (np.where(KNOWN, INFRARED, 0).astype(np.uint8), NODATA, False),
  "nodata of 16 bits.tif": (np.where(KNOWN, wide(INFRARED), 0).astype(np.uint16), NODATA, False),
  "nan.tif": (np.where(KNOWN, INFRARED, np.nan).astype(np.float32), {}, False),
  "-9999.tif": (np.where(KNOWN, INFRARED.astype(int), -9999).astype(np.int16), {}, False),
  "mask.png": (INFRARED, {}, True),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_say_that_values_are_missing_is_one(tmp_path, average, way):
  array, tags, beside = WAYS[way]
  save(tmp_path / "vi" / "x.png", VISIBLE)
  save(tmp_path / "ir" / f"x.{way.split('.')[-1]}", array, **({"extratags": tags} if tags else {}))
  valid = {}
  if beside:
    valid = {"infrared": save(tmp_path / "valid" / "x.png", KNOWN).parent}
  jobs = find_jobs(tmp_path / "vi", tmp_path / "ir", tmp_path / "out", ".png", valid=valid).jobs
  done, rule = [], f"visible:full,infrared:window=0:{65535 if '16' in way else 255}"
  options = dataclasses.replace(OPTIONS, normalize=rule)
  ((_, reason),) = fuse_jobs(average, jobs, options, make_normalizer(jobs, options), done)
  assert reason == ""
  assert [found.missing for _, _, found in done] == [0, np.count_nonzero(~KNOWN)]
  expected = average.fuse(VISIBLE, INFRARED, valid={"infrared": KNOWN})
  np.testing.assert_array_equal(read_image(tmp_path / "out" / "x.png"), expected)
  # Beyond the hole nothing has changed, and in it the visible image is left as it is.
  whole = average.fuse(VISIBLE, INFRARED)
  np.testing.assert_array_equal(expected[KNOWN], whole[KNOWN])
  assert np.abs(expected[~KNOWN].astype(int) - VISIBLE[~KNOWN]).max() <= 1  # by chroma's rounding
  # A fuser without masks says which file, how many and what can.
  ((_, reason),) = fuse_jobs(Whole(), jobs, options)
  assert str(tmp_path / "ir" / "x.") in reason
  assert ": 84 of 768 pixels have no value (NaN, nodata, alpha 0 or a mask)" in reason
  assert "--weights=wavelet" in reason and "rules: wavelet, laplacian, average, max" in reason


def test_colours_of_a_visible_file_do_not_show_from_below_its_mask(tmp_path, average):
  """The result is opaque and grey where the infrared image alone has values."""
  lacks = np.zeros(SIZE, bool)
  lacks[10:16, 14:26] = True
  ir = save(tmp_path / "ir.tif", np.where(lacks, np.nan, INFRARED).astype(np.float32))
  outputs = []
  for name, hidden in (("a", 0), ("b", 255)):
    array = np.concatenate([VISIBLE, KNOWN[..., None] * np.uint8(255)], -1)
    array[~KNOWN, 0] = hidden
    vi = save(tmp_path / f"{name}.png", array)
    jobs = find_jobs(vi, ir, tmp_path / f"{name}_out.png", ".png").jobs
    options = dataclasses.replace(OPTIONS, normalize="infrared:window=0:255")
    assert [reason for _, reason in fuse_jobs(average, jobs, options)] == [""]
    outputs.append((tmp_path / f"{name}_out.png").read_bytes())
  assert outputs[0] == outputs[1]
  found = read_image(tmp_path / "a_out.png")
  np.testing.assert_array_equal(found[..., 3], np.where(KNOWN | ~lacks, 255, 0))
  alone = ~KNOWN & ~lacks
  np.testing.assert_array_equal(found[alone][:, :3], np.stack([INFRARED[alone]] * 3, -1))


def test_masks_are_paired_as_the_images_are(tmp_path):
  for name in ("1", "2", "sub/3"):
    save(tmp_path / "both" / f"{name}_rgb.png", VISIBLE)
    save(tmp_path / "both" / f"{name}_heat.png", INFRARED)
  for name in ("01", "sub/3"):
    save(tmp_path / "masks" / f"{name}_heat.png", KNOWN)
  save(tmp_path / "masks" / "2_other.png", KNOWN)
  one = save(tmp_path / "one.png", KNOWN)
  both, masks = tmp_path / "both", tmp_path / "masks"
  naming = Naming({"visible": ("", "_rgb"), "infrared": ("", "_heat")}, "number", "--")
  valid = {"visible": one, "infrared": masks}
  found = find_jobs(both, both, tmp_path / "out", ".png", naming, valid)
  assert {job.name: dict(job.valid) for job in found.jobs} == {
    "1": {"visible": one, "infrared": masks / "01_heat.png"},
    "sub/3": {"visible": one, "infrared": masks / "sub" / "3_heat.png"},
  }
  (problem,) = found.problems
  words = "1 of 3 pairs have no mask of the infrared image's name in --infrared_valid="
  assert problem.startswith(words) and problem.endswith(": 2")
  assert found.failures == [("2", f"no mask of the infrared image's name in {masks}")]
  (masks / "01_heat.png").unlink()
  (masks / "sub" / "3_heat.png").unlink()
  with pytest.raises(InputError, match="there is no pair with its masks\n.*3 of 3 pairs have no"):
    find_jobs(both, both, tmp_path / "out", ".png", naming, {"infrared": one.parent / "masks"})


def test_masks_that_cannot_be_meant_are_refused(tmp_path):
  vi, ir = save(tmp_path / "vi" / "x.png", VISIBLE), save(tmp_path / "ir" / "x.png", INFRARED)
  mask = save(tmp_path / "masks" / "x.png", KNOWN[:20])
  with pytest.raises(InputError, match="--visible_valid=.*masks is a folder; two files need a"):
    find_jobs(vi, ir, tmp_path / "out.png", ".png", valid={"visible": mask.parent})
  with pytest.raises(InputError, match="--visible_valid=.*x.png is the output, too"):
    find_jobs(vi, ir, mask, ".png", valid={"visible": mask})
  with pytest.raises(InputError, match="absent: does not exist"):
    find_jobs(
      vi.parent, ir.parent, tmp_path / "out", ".png", valid={"visible": tmp_path / "absent"}
    )
  with pytest.raises(InputError, match="is the folder of masks --infrared_valid, or inside it"):
    find_jobs(vi.parent, ir.parent, mask.parent / "out", ".png", valid={"infrared": mask.parent})
  (job,) = find_jobs(vi, ir, tmp_path / "out.png", ".png", valid={"infrared": mask}).jobs
  with pytest.raises(InputError, match="masks/x.png: the mask is 32x20 and the image 32x24"):
    read_pair(job, OPTIONS)
  save(mask, KNOWN & False)
  with pytest.raises(InputError, match="the infrared image: no pixel has a value"):
    read_ready(job, OPTIONS, ranges.Normalizer())


def test_a_range_over_a_folder_leaves_out_what_masks_do(tmp_path):
  counts = (29_000 + 8 * INFRARED.astype(int)).astype(np.uint16)
  for name in "ab":
    save(tmp_path / "vi" / f"{name}.png", VISIBLE)
    save(tmp_path / "ir" / f"{name}.png", np.where(KNOWN, counts, 60_000).astype(np.uint16))
  mask = save(tmp_path / "mask.png", KNOWN)
  options = dataclasses.replace(OPTIONS, normalize_over="folder")
  folders = tmp_path / "vi", tmp_path / "ir", tmp_path / "out"
  without, jobs = (find_jobs(*folders, ".png", valid=v).jobs for v in (None, {"infrared": mask}))
  found = make_normalizer(jobs, options).ranges["infrared", "uint16"]
  low, high = np.percentile(counts[KNOWN], (1, 99))
  assert (found.low, found.high) == (pytest.approx(low, abs=9), pytest.approx(high, abs=9))
  assert make_normalizer(without, options).ranges["infrared", "uint16"].high > 50_000


@pytest.mark.parametrize("size", [(12, 16), (48, 64)])
def test_resizing_mixes_nothing_in_from_a_hole(tmp_path, size):
  vi = save(tmp_path / "vi.png", VISIBLE)
  known = np.ones(size, bool)
  known[size[0] // 4 : size[0] // 2, size[1] // 2 :] = False
  found = []
  for value in (np.nan, 1e30):
    array = np.where(known, np.float32(0.75), np.float32(value))
    ir, mask = save(tmp_path / "ir.tif", array), save(tmp_path / "mask.png", known)
    (job,) = find_jobs(vi, ir, tmp_path / "out.png", ".png", valid={"infrared": mask}).jobs
    found.append(read_pair(job, dataclasses.replace(OPTIONS, resize="infrared"))[1])
  expected = np.asarray(Image.fromarray(known).resize((32, 24), Image.Resampling.NEAREST))
  for image in found:
    assert image.shape == (24, 32, 1) and image.dtype == np.float32
    np.testing.assert_array_equal(np.ma.getmaskarray(image)[..., 0], ~expected)
    np.testing.assert_allclose(np.ma.getdata(image)[..., 0], 0.75 * expected, rtol=1e-6)
  np.testing.assert_array_equal(*map(np.ma.getdata, found))


def test_holes_of_an_aligned_image_reach_nothing_beyond_them(tmp_path):
  vi, ir = save(tmp_path / "vi.png", VISIBLE), save(tmp_path / "ir.png", INFRARED)
  mask, wavelet = save(tmp_path / "mask.png", KNOWN), cfi_jax.load("wavelet:planes=2")
  jobs = find_jobs(vi, ir, tmp_path / "out.png", ".png", valid={"infrared": mask}).jobs
  rig, found = Rig(np.eye(3), SIZE, SIZE, (), Confidence(1.0, 1.0)), []
  for align in (None, Aligner(rig)):
    ((_, reason),) = fuse_jobs(wavelet, jobs, dataclasses.replace(OPTIONS, align=align))
    assert reason == ""
    found.append(read_image(tmp_path / "out.png"))
  np.testing.assert_array_equal(found[1][KNOWN], found[0][KNOWN])
  np.testing.assert_array_equal(found[1][~KNOWN], VISIBLE[~KNOWN])


def test_the_command_with_masks(tmp_path, average, monkeypatch, capsys):
  save(tmp_path / "vi" / "x.png", VISIBLE)
  save(tmp_path / "ir" / "x.png", INFRARED)
  mask = save(tmp_path / "mask.png", KNOWN)
  monkeypatch.setattr(command, "load_fuser", lambda *_, **__: average)
  arguments = [f"--visible={tmp_path}/vi", f"--infrared={tmp_path}/ir", f"--output={tmp_path}/out"]
  arguments += [f"--infrared_valid={mask}", f"--visible_valid={mask}", "--weights=average"]
  assert cli.status(command_line.main, command_line.FLAGS, "", arguments) == 0
  said = capsys.readouterr().out
  assert "visible: 1 of 8 bits, 0..255 taken as 0..1, 84 pixels without a value; infrared" in said
  expected = average.fuse(VISIBLE, INFRARED, valid={"visible": KNOWN, "infrared": KNOWN})
  found = read_image(tmp_path / "out" / "x.png")
  np.testing.assert_array_equal(found, expected)
  assert (found[~KNOWN] == 0).all()  # as the average has it where neither has a value
