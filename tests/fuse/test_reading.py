"""Pairs of files whose values, sizes or colours do not mean what they seem to."""

import dataclasses
import types

import jax
import matplotlib
import numpy as np
import pytest
import tifffile
from PIL import Image

from cfi_jax.core import cli, progress
from cfi_jax.core.types import InputError
from cfi_jax.fuse import __main__ as command_line
from cfi_jax.fuse import command, reading
from cfi_jax.fuse.finding import find_jobs
from cfi_jax.fuse.jobs import fuse_jobs
from cfi_jax.fuse.reading import Job, Options, fit, make_normalizer, read_pair
from cfi_jax.images import validity
from cfi_jax.images import write as pictures
from cfi_jax.images.read import read_image

OPTIONS = Options(gray=False, memory_mb=100, max_pixels=10_000, resize="")
Y, X = np.mgrid[:24, :32]
HOT = np.exp(-((Y - 10) ** 2 + (X - 20) ** 2) / 60)
COUNTS = (29_315 + 1500 * HOT).astype(np.uint16)
VISIBLE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)


class Infrared:
  """Gives the infrared image, in the type of the visible one: shows what a network would get."""

  devices = (jax.devices()[0],)
  takes_valid = True

  def __init__(self):
    self.got = []

  def reserve(self, sizes, *, memory_mb=None):
    pass

  def bucket(self, size):
    return size

  def fuse_pairs(self, visibles, infrareds, *, gray=False, memory_mb=None, valid=None):
    pairs = list(zip(visibles, infrareds, strict=True))
    self.got += pairs
    results = []
    for visible, infrared in pairs:
      top, largest = (
        1.0 if image.dtype.kind == "f" else np.iinfo(image.dtype).max
        for image in (infrared, visible)
      )
      results.append((infrared / top * largest).astype(visible.dtype))
    return results


@pytest.fixture
def folders(tmp_path):
  for name in ("visible", "infrared"):
    (tmp_path / name).mkdir()
  return tmp_path / "visible", tmp_path / "infrared", tmp_path / "fused"


def write(folder, name, array):
  if name.endswith("tif"):
    tifffile.imwrite(folder / name, array)
  elif array.ndim == 3 and array.dtype == np.uint16:
    pictures.write_image(folder / name, array)
  else:
    Image.fromarray(array).save(folder / name)


def run(folders, extension=".png", **options):
  """Images that the fuser got, by name, after every pair was fused; and the lines on them."""
  fuser, done = Infrared(), []
  jobs = find_jobs(*folders, extension).jobs
  chosen = dataclasses.replace(OPTIONS, **options)
  normalizer = make_normalizer(jobs, chosen)
  reasons = [r for _, r in fuse_jobs(fuser, jobs, chosen, normalizer, done)]
  assert set(reasons) == {""}, reasons
  return [infrared[..., 0] for _, infrared in fuser.got], done


KINDS = {
  "png": COUNTS,
  "16.tif": COUNTS,
  "signed.tif": (COUNTS.astype(int) - 30_000).astype(np.int16),
  "32.tif": COUNTS.astype(np.uint32),
  "kelvin.tif": (COUNTS / 100).astype(np.float32),
  "celsius.tif": COUNTS / 100 - 273.15,
  "half.tif": (1500 * HOT).astype(np.float16),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_hot_object_keeps_its_contrast_in_every_unit(folders, kind):
  visible, infrared, fused = folders
  write(visible, "x.png", VISIBLE)
  write(infrared, "x." + kind.split(".")[-1], KINDS[kind])
  (got,), done = run(folders, gray=True)
  low, high = np.percentile(HOT, (1, 99))
  expected = np.clip((HOT - low) / (high - low), 0, 1)
  assert np.abs(got - expected).max() < 1e-3
  assert [entry[2].how for entry in done] == ["full", "percentile"]
  # The same scene in 8 bits, by the same window, has the same contrast.
  hot, cold = HOT > 0.8, HOT < 0.01
  picture = read_image(fused / "x.png")[..., 0].astype(float)
  eight = np.rint(255 * expected)
  assert picture[hot].mean() - picture[cold].mean() == pytest.approx(
    eight[hot].mean() - eight[cold].mean(), rel=0.01
  )


def test_a_sequence_has_one_range_and_does_not_flicker(folders):
  """A hot engine that enters changes nothing of what stays as it is."""
  visible, infrared, _ = folders
  for frame in range(4):
    counts = COUNTS.copy()
    if frame >= 2:
      counts[:6, :8] += 3000
    write(visible, f"{frame}.png", VISIBLE)
    write(infrared, f"{frame}.png", counts)
  alone, _ = run(folders)
  together, done = run(folders, normalize_over="folder")
  still = np.s_[6:, :]
  assert np.abs(alone[0][still] - alone[3][still]).max() > 0.2
  assert np.abs(together[0][still] - together[3][still]).max() == 0
  assert len({(r.low, r.high) for name, _, r in done if name == "infrared"}) == 1
  # Of a share of the jobs, or after others were skipped, the range is that of all.
  jobs = find_jobs(*folders, ".png").jobs
  options = dataclasses.replace(OPTIONS, normalize_over="folder")
  fuser = Infrared()
  list(fuse_jobs(fuser, jobs[::2], options, make_normalizer(jobs, options)))
  np.testing.assert_array_equal(fuser.got[0][1][..., 0], together[0])


def test_files_that_cannot_be_read_are_left_out_of_the_range(folders):
  visible, infrared, _ = folders
  for name in "ab":
    write(visible, f"{name}.png", VISIBLE)
    write(infrared, f"{name}.png", COUNTS)
  (infrared / "b.png").write_bytes((infrared / "b.png").read_bytes()[:60])
  jobs = find_jobs(*folders, ".png").jobs
  options = dataclasses.replace(OPTIONS, normalize_over="folder")
  reasons = {job.name: reason for job, reason in fuse_jobs(Infrared(), jobs, options)}
  assert reasons["a"] == "" and "b.png" in reasons["b"]


@pytest.mark.parametrize(
  ("array", "name", "dtype", "ends"),
  [
    ((1000 + 3000 * HOT).astype(np.uint16), "x.png", np.uint16, (1000, 4000)),
    ((20 + 15 * HOT).astype(np.float32), "x.png", np.uint16, (0, 65535)),
    ((20 + 15 * HOT).astype(np.float32), "x.tif", np.float32, (20, 35)),
    ((-700 + 1500 * HOT).astype(np.int16), "x.tif", np.int32, (-700, 800)),
    (HOT.astype(np.float32), "x.png", np.uint16, (0, 65535)),
  ],
)
def test_results_keep_the_depth_and_the_scale_of_the_visible_file(
  folders, array, name, dtype, ends
):
  visible, infrared, fused = folders
  write(visible, "x.tif", array)
  write(infrared, "x.png", (255 * HOT).astype(np.uint8))
  run(folders, extension=name[1:])
  found = read_image(fused / name)
  assert found.dtype == dtype and found.shape == (24, 32, 1)
  slack = 0.02 * (ends[1] - ends[0])  # of the percentiles
  assert found.min() == pytest.approx(ends[0], abs=slack)
  assert found.max() == pytest.approx(ends[1], abs=3 * slack)


def test_8_bits_are_given_as_they_are(folders):
  visible, infrared, _ = folders
  grey = (255 * HOT).astype(np.uint8)
  write(visible, "x.png", VISIBLE)
  write(infrared, "x.png", grey)
  for options in ({}, {"normalize_over": "folder"}, {"normalize": "full"}, {"normalize": "bits=8"}):
    (got,), _ = run(folders, **options)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, grey)


def test_false_colours_become_values(folders):
  visible, infrared, _ = folders
  values = (40 + 200 * HOT).astype(np.uint8)
  table = (matplotlib.colormaps["turbo"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
  write(visible, "x.png", VISIBLE)
  write(infrared, "x.png", table[values])
  (got,), _ = run(folders, infrared_palette="turbo", normalize_over="folder")
  assert np.abs(got.astype(int) - values).max() <= 1
  jobs = find_jobs(*folders, ".png").jobs
  options = dataclasses.replace(OPTIONS, infrared_palette="hot")
  ((_, reason),) = fuse_jobs(Infrared(), jobs, options)
  assert reason.startswith("the infrared image: ") and "no colours of the palette" in reason


@pytest.mark.parametrize(
  ("size", "resize", "words"),
  [
    ((12, 16), "", "--resize=infrared fits"),
    ((12, 16), "infrared", None),
    ((24, 31), "infrared", None),
    ((16, 21), "infrared", None),  # 2:3 up to rounding
    ((24, 18), "", "18x24.*aspect ratios differ.*--resize=infrared,stretch"),
    ((24, 18), "infrared", "18x24.*aspect ratios differ.*--resize=infrared,stretch"),
    ((24, 30), "infrared", "aspect ratios differ"),
    ((11, 16), "infrared", None),  # 24 * 16 - 32 * 11 is 32, the longest side
    ((10, 15), "infrared", "aspect ratios differ"),  # and here 40
    ((24, 18), "infrared,stretch", None),
  ],
)
def test_another_aspect_ratio_is_not_squeezed_without_a_word(folders, size, resize, words):
  visible, infrared, output = folders
  write(visible, "x.png", VISIBLE)
  write(infrared, "x.png", np.full(size, 9, np.uint8))
  (job,) = find_jobs(visible, infrared, output, ".png").jobs
  options = dataclasses.replace(OPTIONS, resize=resize)
  if words:
    with pytest.raises(InputError, match=words):
      read_pair(job, options)
  else:
    found = read_pair(job, options)
    assert found[1].shape == (24, 32, 1) and (found[1] == 9).all()


def test_a_pixel_has_a_value_where_half_of_its_weight_has_one():
  image = np.full((48, 16, 1), 100, np.uint8)
  known = np.arange(48)[:, None, None] < 13  # row 6 of 24 is 1/8, 3/8, 3/8 and 1/8 of 11 to 14
  found = reading._resize(validity.apply(image, np.broadcast_to(known, image.shape)), (24, 8))
  np.testing.assert_array_equal(~np.ma.getmaskarray(found)[:, 3, 0], np.arange(24) <= 6)
  assert found.dtype == np.uint8 and (found.compressed() == 100).all()
  assert (np.ma.getdata(found)[7:] == 0).all()


def test_messages_say_that_the_visible_picture_is_inside():
  own, both = (Job("x", "v.png", "i.jpg", "o.png", embedded=inside) for inside in (False, True))
  assert [own.label(name) for name in ("visible", "infrared")] == ["v.png", "i.jpg"]
  inside = "v.png (the visible picture inside)"
  assert [both.label(name) for name in ("visible", "infrared")] == [inside, "i.jpg"]
  assert own.size == (0, 0) and not own.valid  # until the file is looked into


@pytest.mark.parametrize(
  ("options", "names"),
  [
    ({}, ["visible", "infrared"]),
    ({"infrared_palette": "iron"}, ["visible"]),
    ({"normalize": "visible:full"}, ["infrared"]),
    ({"normalize": "infrared:window=0:9"}, ["visible"]),
  ],
)
def test_ranges_of_a_folder_are_found_where_a_rule_leaves_them_open(options, names):
  options = dataclasses.replace(OPTIONS, **options)
  assert reading.open_names(options, reading.make_rules(options)) == names


def test_an_unknown_palette_is_refused_before_files_are_read():
  with pytest.raises(InputError, match="infrared_palette is 'blue'; allowed: iron"):
    make_normalizer([], dataclasses.replace(OPTIONS, infrared_palette="blue"))


def test_the_range_of_a_folder_of_colours_is_that_of_their_luma(folders, monkeypatch, capsys):
  monkeypatch.setattr(progress, "FIRST", 0)
  visible, infrared, _ = folders
  wide = np.zeros((24, 32, 3), np.uint16)
  wide[..., 1] = COUNTS
  write(visible, "x.png", wide)
  write(infrared, "x.png", COUNTS)
  options = dataclasses.replace(OPTIONS, normalize_over="folder", normalize="percentile")
  found = make_normalizer(find_jobs(*folders, ".png").jobs, options).ranges["visible", "uint16"]
  low, high = np.percentile(0.587 * COUNTS, (1, 99))
  assert (found.low, found.high) == (pytest.approx(low, abs=9), pytest.approx(high, abs=9))
  assert "reading the values of all files: 1 of 2 files" in capsys.readouterr().err


def test_a_fuser_without_masks_names_the_image_that_lacks_values():
  whole, holed = np.ones((8, 8, 1), np.float32), np.full((8, 8, 1), np.nan, np.float32)
  whole[:4], holed[:4] = 0, np.arange(8)[:, None]
  holed = validity.apply(holed)
  rig = types.SimpleNamespace(bring=lambda visible, infrared: (infrared, "mask"))
  for images, name, align in (
    ((holed, whole), "v.png", None),
    ((whole, holed), "i.png", None),
    ((holed, whole), "v.png", rig),
  ):
    options = dataclasses.replace(OPTIONS, align=align)
    given = *images, options, reading.make_rules(options), ("v.png", "i.png"), "x"
    with pytest.raises(InputError, match=f"^{name}: 32 of 64 pixels have no value"):
      reading.make_ready(*given, takes_valid=False)
    assert reading.make_ready(*given).visible is not None
  aligned = dataclasses.replace(OPTIONS, align=rig)
  given = whole, holed, aligned, reading.make_rules(aligned), ("v.png", "i.png"), "x"
  found = reading.make_ready(*given, takes_valid=False)  # the result is the visible image there
  assert found.mask == "mask" and found.infrared.valid.sum() == 32


@pytest.mark.parametrize("sizes", [((7, 40), (40, 40)), ((40, 40), (40, 7))])
def test_images_of_fewer_than_8_pixels_a_side_are_refused(sizes):
  images = [np.zeros((*size, 1), np.uint8) for size in sizes]
  small = "a is 40x7" if sizes[0][0] == 7 else "b is 7x40"
  with pytest.raises(InputError, match=f"{small} .width x height.; allowed: .* from 8"):
    fit(*images, OPTIONS, ("a", "b"))
  found = fit(np.zeros((8, 40, 1)), np.zeros((8, 40, 1)), OPTIONS, ("a", "b"))
  assert [image.shape for image in found] == [(8, 40, 1)] * 2


def test_images_to_be_aligned_keep_their_sizes():
  images = np.zeros((8, 40, 1)), np.zeros((40, 8, 1))
  aligned = dataclasses.replace(OPTIONS, align="rig", resize="infrared")
  assert fit(*images, aligned, ("a", "b")) == images


def test_resizing_keeps_the_values_of_a_float_file(folders):
  visible, infrared, output = folders
  write(visible, "x.png", VISIBLE)
  write(infrared, "x.tif", np.full((12, 16), 293.25, np.float32))
  (job,) = find_jobs(visible, infrared, output, ".png").jobs
  _, found = read_pair(job, dataclasses.replace(OPTIONS, resize="infrared"))
  assert found.dtype == np.float32 and (found == 293.25).all()


def test_the_command_says_in_one_line_what_was_done(folders, monkeypatch, capsys):
  visible, infrared, output = folders
  table = (matplotlib.colormaps["turbo"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
  for name in "abc":
    write(visible, f"{name}.png", VISIBLE)
    coloured = table[(255 * HOT).astype(np.uint8)]
    write(infrared, f"{name}.png", COUNTS if name < "c" else coloured)
  (infrared / "b.png").write_bytes(b"")
  monkeypatch.setattr(command, "load_fuser", lambda *_, **__: Infrared())
  arguments = [f"--visible={visible}", f"--infrared={infrared}", f"--output={output}"]

  def status(*more):
    code = cli.status(command_line.main, command_line.FLAGS, "", [*arguments, *more])
    return code, capsys.readouterr()

  code, said = status()
  assert code == 1 and said.out.count("values: ") == 1
  assert "values: visible: 2 of 8 bits, 0..255 taken as 0..1; infrared: 1 of 16 bits, " in said.out
  assert "stretched to 0..1 (percentiles 1 and 99 of the image), 1 of 8 bits" in said.out
  assert said.err.count("warning: c: the infrared image is coloured") == 1
  code, said = status("--normalize=infrared:window=29000:31000")
  assert code == 1 and "infrared: 1 of 16 bits, 29000..31000 taken as 0..1" in said.out
  for flag, words in (
    ("--normalize=best", "normalize is 'best'; allowed: auto, full, percentile, window=LOW:HIGH"),
    ("--normalize=ir:full", "NAME:RULE of visible, infrared"),
    ("--normalize_over=video", "--normalize_over=video; allowed: image, folder"),
    ("--infrared_palette=blue", "--infrared_palette=blue; allowed: iron, rainbow"),
    ("--resize=stretch", "--resize=stretch; allowed: infrared, infrared,stretch"),
  ):
    code, said = status(flag)
    assert code == 2 and said.err.count("error: ") == 1 and words in said.err
