"""Pairs of files and folders: every kind of picture, bad pairs, order, threads."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.fuse.jobs import Options, find_jobs, fuse_jobs
from cfi_jax.fusion.inputs import look_swapped
from cfi_jax.images import colour
from cfi_jax.images import write as pictures
from cfi_jax.images.read import read_image

OPTIONS = Options(gray=False, memory_mb=100, max_pixels=10_000, resize="")


def save(folder, name, picture, **options):
  folder.mkdir(exist_ok=True)
  picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
  picture.save(folder / name, **options)


def random_picture(random, *shape):
  return random.integers(0, 256, shape, np.uint8)


@pytest.fixture
def folders(tmp_path):
  return tmp_path / "visible", tmp_path / "infrared", tmp_path / "fused"


def run(model, folders, options=OPTIONS, extension=".png"):
  """Reasons by name, the problems of names appended under ""."""
  jobs, problems = find_jobs(*folders, extension)
  reasons = {job.name: reason for job, reason in fuse_jobs(model, jobs, options)}
  return reasons, problems


def test_every_kind_of_picture(small, folders, random):
  """Colour, grey, palette, CMYK, alpha, 16 bits, EXIF rotation: named, sized, coloured rightly."""
  visible, infrared, fused = folders
  rgb, grey = random_picture(random, 24, 32, 3), random_picture(random, 24, 32)
  exif = Image.Exif()
  exif[0x0112] = 6  # stored lying, to be turned by 90 degrees
  wide = random.integers(0, 65536, (24, 32, 3), np.uint16)
  kinds = {
    "rgb.png": Image.fromarray(rgb),
    "grey.png": Image.fromarray(grey),
    "grey_as_rgb.png": Image.fromarray(np.stack([grey] * 3, -1)),
    "palette.png": Image.fromarray(rgb).quantize(64),
    "cmyk.tif": Image.fromarray(rgb).convert("CMYK"),
    "alpha.png": Image.fromarray(random_picture(random, 24, 32, 4)),
  }
  for name, picture in kinds.items():
    save(visible, name, picture)
  save(visible, "turned.png", np.rot90(rgb).copy(), exif=exif)
  pictures.write_image(visible / "wide.png", wide)
  for stem in ("rgb", "grey", "grey_as_rgb", "palette", "cmyk", "alpha", "turned", "wide"):
    save(infrared, f"{stem}.png", grey)

  reasons, problems = run(small, folders)
  assert problems == [] and set(reasons.values()) == {""}
  channels = dict.fromkeys(reasons, 3) | {"grey": 1, "grey_as_rgb": 1, "alpha": 4}
  for name in reasons:
    image, source = read_image(fused / f"{name}.png"), next(visible.glob(f"{name}.*"))
    expected = small.fuse(read_image(source), grey)[..., : channels[name]]
    assert image.dtype == (np.uint16 if name == "wide" else np.uint8)
    if name in ("grey", "grey_as_rgb"):
      assert image.shape == (24, 32, 1)
    np.testing.assert_array_equal(image, expected)
  alpha = read_image(visible / "alpha.png")[..., 3]
  np.testing.assert_array_equal(read_image(fused / "alpha.png")[..., 3], alpha)
  assert not colour.is_grey(read_image(fused / "palette.png"))
  assert read_image(fused / "turned.png").shape == (24, 32, 3)

  gray = dataclasses.replace(OPTIONS, gray=True)
  run(small, (visible, infrared, fused / "gray"), gray, ".bmp")
  assert read_image(fused / "gray" / "rgb.bmp").shape == (24, 32, 1)


def test_bad_pairs_are_named_and_the_others_written(small, folders, random):
  visible, infrared, fused = folders
  for name in "abcdefg":
    for folder in (visible, infrared):
      save(folder, f"{name}.png", random_picture(random, 24, 32))
  (visible / "a.png").write_bytes(b"no image")
  (infrared / "b.png").write_bytes((infrared / "b.png").read_bytes()[:500])
  save(infrared, "c.png", random_picture(random, 30, 40))
  save(visible, "d.png", random_picture(random, 4, 4))
  save(infrared, "d.png", random_picture(random, 4, 4))
  save(visible, "e.png", random_picture(random, 101, 101))
  save(visible, "alone.png", random_picture(random, 24, 32))
  fused.mkdir()
  (fused / "f.png").mkdir()  # cannot be replaced by a file

  reasons, problems = run(small, folders)
  words = {
    "a": "a.png",
    "b": "b.png",
    "d": "height and width from 8",
    "e": "limit of 10000",
    "f": "cannot be written",
  }
  for name, expected in words.items():
    assert expected in reasons.pop(name)
  assert "32x24" in reasons["c"] and "40x30" in reasons.pop("c")
  assert reasons == {"g": ""} and (fused / "g.png").is_file()
  assert not [path for path in fused.iterdir() if path.suffix == ".tmp"]
  assert len(problems) == 1 and "alone" in problems[0]

  resized = dataclasses.replace(OPTIONS, resize="infrared")
  assert run(small, folders, resized)[0]["c"] == ""
  assert read_image(fused / "c.png").shape == (24, 32, 1)


def test_a_result_that_the_format_cannot_hold_is_named(small, folders, random):
  visible, infrared, fused = folders
  for name, width in {"a": 24, "wide": 70_000}.items():
    for folder in (visible, infrared):
      save(folder, f"{name}.png", random_picture(random, 8, width))
  options = dataclasses.replace(OPTIONS, max_pixels=10**6, memory_mb=20)
  reasons, _ = run(small, folders, options, ".jpg")
  assert "wide.jpg: 70000x8 pixels cannot be written as JPEG" in reasons["wide"]
  assert reasons["a"] == "" and [path.name for path in fused.iterdir()] == ["a.jpg"]


def test_pairs_of_many_sizes_in_any_order(small, folders, random):
  """Results do not depend on what else is in the folder; large ones are tiled."""
  visible, infrared, fused = folders
  sizes = {f"{i}": random.integers(20, 40, 2) for i in range(12)} | {"large": (150, 200)}
  for name, size in sizes.items():
    for folder in (visible, infrared):
      save(folder, f"{name}.png", random_picture(random, *size))
  options = dataclasses.replace(OPTIONS, max_pixels=30_000, memory_mb=5)
  reasons, _ = run(small, folders, options)
  assert set(reasons.values()) == {""} and len(reasons) == 13
  for name in sizes:
    both = [read_image(folder / f"{name}.png") for folder in (visible, infrared)]
    difference = small.fuse(*both, memory_mb=1e4).astype(int) - read_image(fused / f"{name}.png")
    assert np.abs(difference).max() <= 1 and (difference == 0).mean() > 0.99


def test_swapped_pictures_are_noticed(small, folders, random):
  grey, rgb = random_picture(random, 24, 32), random_picture(random, 24, 32, 3)
  assert look_swapped(np.stack([grey] * 3, -1), rgb)
  assert not look_swapped(rgb, grey[..., None]) and not look_swapped(
    grey[..., None], grey[..., None]
  )
  save(folders[0], "x.png", grey)
  save(folders[1], "x.png", rgb)
  with pytest.warns(UserWarning, match="x: .*are they swapped"):
    assert run(small, folders)[0] == {"x": ""}


def test_two_files(small, tmp_path, random):
  save(tmp_path, "day.png", random_picture(random, 24, 32, 3))
  save(tmp_path, "heat.bmp", random_picture(random, 24, 32))
  paths = tmp_path / "day.png", tmp_path / "heat.bmp"
  assert run(small, (*paths, tmp_path / "out" / "x.jpg")) == ({"day.png": ""}, [])
  assert read_image(tmp_path / "out" / "x.jpg").shape == (24, 32, 3)
  assert run(small, (*paths, tmp_path / "out"))[0] == {"day.png": ""}
  assert (tmp_path / "out" / "day.png").is_file()


def test_paths_that_cannot_be_paired_are_refused(tmp_path, random):
  save(tmp_path / "a", "x.png", random_picture(random, 24, 32))
  (tmp_path / "b").mkdir()
  file, a, b = tmp_path / "a" / "x.png", tmp_path / "a", tmp_path / "b"
  for paths, words in (
    ((file, tmp_path / "no.png", b / "x.png"), "no.png: does not exist"),
    ((a, file, b), "one is a folder, the other a file"),
    ((b, b, a), "the same folder"),
    ((a, b, a), "folder of the images themselves"),
    ((file, file, b / "x.gif"), "cannot write '.gif'"),
    ((file, file, file), "one of the images themselves"),
    ((file, file, b / "x.png"), "given as the visible and as the infrared image"),
  ):
    with pytest.raises(InputError, match=words):
      find_jobs(*paths, ".png")


@pytest.mark.parametrize(
  "error", [MemoryError("no room"), jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: no room")]
)
def test_pairs_that_memory_cannot_hold_fail_alone(small, folders, random, monkeypatch, error):
  for name, size in (("large", (64, 64)), ("little", (24, 32))):
    for folder in folders[:2]:
      save(folder, f"{name}.png", random_picture(random, *size))
  fuse_pairs = small.fuse_pairs

  def fail_for_large(visibles, infrareds, **options):
    if visibles[0].shape[0] == 64:
      raise error
    return fuse_pairs(visibles, infrareds, **options)

  monkeypatch.setattr(small, "fuse_pairs", fail_for_large)
  reasons, _ = run(small, folders)
  assert "memory does not suffice" in reasons["large"] and "no room" in reasons["large"]
  assert reasons["little"] == "" and (folders[2] / "little.png").exists()
