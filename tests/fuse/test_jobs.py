"""Pairs of files and folders: every kind of picture, bad pairs, order, threads."""

import dataclasses

import jax
import numpy as np
import pytest
from PIL import Image

from cfi_jax.core import cli, progress
from cfi_jax.core.types import InputError
from cfi_jax.data.naming import Naming
from cfi_jax.fuse import command
from cfi_jax.fuse.__main__ import FLAGS
from cfi_jax.fuse.finding import find_jobs
from cfi_jax.fuse.jobs import Options, fuse_jobs
from cfi_jax.fuse.reading import read_pair
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
  found = find_jobs(*folders, extension)
  reasons = {job.name: reason for job, reason in fuse_jobs(model, found.jobs, options)}
  return reasons, found.problems


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
    "alpha.png": Image.fromarray(random_picture(random, 24, 32, 4) | np.uint8([0, 0, 0, 1])),
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
  save(tmp_path / "c", "x.png", random_picture(random, 24, 32))
  file, a, b, c = tmp_path / "a" / "x.png", tmp_path / "a", tmp_path / "b", tmp_path / "c"
  for paths, words in (
    ((file, tmp_path / "no.png", b / "x.png"), "no.png: does not exist"),
    ((a, file, b), "one is a folder, the other a file"),
    ((b, b, a), "the same folder"),
    ((a, b, file), "there is no pair to fuse\n  1 of 1 images in .*a have no partner"),
    ((a, c, a), "folder of the images themselves"),
    ((file, file, b / "x.gif"), "cannot write '.gif'"),
    ((file, file, file), "one of the images themselves"),
    ((file, file, b / "x.png"), "given as the visible and as the infrared image"),
    ((a, c, a / "fused"), "or inside one: results would be taken for visible images"),
    ((a, c, c / "fused"), "or inside one: results would be taken for infrared images"),
    ((a, c, file), "is a file; two folders need a folder"),
  ):
    with pytest.raises(InputError, match=words):
      find_jobs(*paths, ".png")


@pytest.mark.parametrize("role", ["visible", "infrared"])
def test_no_source_is_ever_the_output(tmp_path, monkeypatch, random, role):
  """By its own path, a relative one, a link, or the name that a folder as output leads to."""
  for folder in ("visible", "infrared"):
    save(tmp_path / folder, "x.png", random_picture(random, 8, 8))
  source = tmp_path / role / "x.png"
  (tmp_path / "link.png").symlink_to(source)
  (tmp_path / "folder").symlink_to(tmp_path / role)
  monkeypatch.chdir(tmp_path)
  files = [tmp_path / each / "x.png" for each in ("visible", "infrared")]
  relative = source.relative_to(tmp_path)
  for output in (source, relative, tmp_path / "link.png", tmp_path / role):
    with pytest.raises(InputError, match="one of the images themselves"):
      find_jobs(*files, output, ".png")
  folders = [tmp_path / each for each in ("visible", "infrared")]
  for output in (tmp_path / role, relative.parent, tmp_path / "folder"):
    with pytest.raises(InputError, match="folder of the images themselves"):
      find_jobs(*folders, output, ".png")
  (job,) = find_jobs(*files, tmp_path / role, ".bmp").jobs  # another name is none of them
  assert job.output == tmp_path / role / "x.bmp"


@pytest.mark.parametrize(
  ("levels", "expected"),
  [
    ([0, 3] * 4, [0, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 2, 1, 1, 2, 3]),  # 0, 0.75, 2.25, 2.25, ...
    ([0] * 7 + [255], [0] * 13 + [64, 191, 255]),  # 63.75 and 191.25 are rounded, not cut
  ],
)
def test_an_infrared_image_is_fitted_by_rounded_interpolation(tmp_path, levels, expected):
  save(tmp_path, "v.png", np.zeros((8, 16), np.uint8))
  save(tmp_path, "i.png", np.array([levels] * 8, np.uint8))
  paths = [tmp_path / name for name in ("v.png", "i.png", "out.png")]
  (job,) = find_jobs(*paths, ".png").jobs
  visible, infrared = read_pair(job, dataclasses.replace(OPTIONS, resize="infrared,stretch"))
  assert visible.shape == infrared.shape == (8, 16, 1) and infrared.dtype == np.uint8
  assert infrared[..., 0].tolist() == [expected] * 8


def test_the_largest_allowed_number_of_pixels_is_read(tmp_path, random):
  for name in ("v.png", "i.png"):
    save(tmp_path, name, random_picture(random, 10, 12))
  paths = [tmp_path / name for name in ("v.png", "i.png", "out.png")]
  (job,) = find_jobs(*paths, ".png").jobs
  assert read_pair(job, dataclasses.replace(OPTIONS, max_pixels=120))[0].shape == (10, 12, 1)
  with pytest.raises(InputError, match="limit of 119"):
    read_pair(job, dataclasses.replace(OPTIONS, max_pixels=119))


@pytest.mark.parametrize(
  "error", [jax.errors.JaxRuntimeError("INTERNAL: a bug"), ValueError("a bug"), OSError("a bug")]
)
def test_other_errors_are_not_taken_for_too_little_memory(
  small, folders, random, monkeypatch, error
):
  for folder in folders[:2]:
    save(folder, "x.png", random_picture(random, 24, 32))

  def fail(*arguments, **options):
    raise error

  monkeypatch.setattr(small, "fuse_pairs", fail)
  with pytest.raises(type(error), match="a bug"):
    run(small, folders)


def test_subfolders_and_suffixes_are_kept_and_taken_off(small, tmp_path, random):
  both, fused = tmp_path / "both", tmp_path / "fused"
  for name in ("a", "b"):
    (both / name).mkdir(parents=True)
    save(both / name, "1_rgb.jpg", random_picture(random, 24, 32, 3))
    save(both / name, "1_heat.tiff", random.integers(29_000, 31_000, (24, 32), np.uint16))
  save(both / "b", "2_mask.gif", random_picture(random, 24, 32))
  rule = Naming({"visible": ("", "_rgb"), "infrared": ("", "_heat")}, options="--")
  found = find_jobs(both, both, fused, ".png", rule)
  assert found.problems == [] and found.left_out == [f"{both}/b/2_mask.gif"]
  assert [reason for _, reason in fuse_jobs(small, found.jobs, OPTIONS)] == ["", ""]
  assert read_image(fused / "a" / "1.png").shape == (24, 32, 3)
  assert sorted(str(p.relative_to(fused)) for p in fused.rglob("*.png")) == ["a/1.png", "b/1.png"]
  # Results among the images are no sources the next time, as they have no suffix.
  assert find_jobs(both, both, both, ".png", rule).jobs[0].output == both / "a" / "1.png"


def test_the_command_for_thermal_frames_beside_photographs(
  small, tmp_path, random, monkeypatch, capsys
):
  root, fused = tmp_path / "recordings", tmp_path / "fused"
  for name in ("day", "night"):
    (root / name).mkdir(parents=True)
    save(root / name, "0001_rgb.jpg", random_picture(random, 24, 32, 3))
    save(root / name, "0001_thermal.tiff", random.integers(29_315, 30_822, (48, 64), np.uint16))
  (root / "day" / "0002_rgb.mp4").write_bytes(b"x")
  monkeypatch.setattr(command, "load_fuser", lambda *_, **__: small)
  monkeypatch.setattr(progress, "FIRST", 0)
  flags = [f"--visible={root}", f"--infrared={root}", f"--output={fused}", "--resize=infrared"]
  flags += ["--visible_suffix=_rgb", "--infrared_suffix=_thermal"]
  assert command.fuse(cli.parse(FLAGS, flags)) == 0
  said = capsys.readouterr()
  assert f"note: 1 files are left out: {root}/day/0002_rgb.mp4" in said.out
  assert "fused 2 of 2 pairs" in said.out and "fusing: 1 of 2 pairs (50 %)" in said.err
  assert [read_image(fused / name / "0001.png").shape for name in ("day", "night")] == [
    (24, 32, 3)
  ] * 2


def test_results_that_would_be_sources_the_next_time_are_refused(tmp_path, random):
  for name in ("1.png", "1_heat.png"):
    save(tmp_path / "both", name, random_picture(random, 24, 32))
  both, rule = tmp_path / "both", Naming({"infrared": ("", "_heat")})
  with pytest.raises(InputError, match="results would be taken for visible images"):
    find_jobs(both, both, both / "out", ".png", rule)
  assert len(find_jobs(both, both, tmp_path / "out", ".png", rule).jobs) == 1


def test_one_result_that_would_be_a_source_is_enough_to_refuse(tmp_path, random):
  """The result of a_t.png is a.png, which is no visible image; that of a_t_t.png is a_t.png."""
  visible, infrared = tmp_path / "visible", tmp_path / "infrared"
  for name in ("a", "a_t"):
    save(visible, f"{name}_t.png", random_picture(random, 8, 8))
    save(infrared, f"{name}.png", random_picture(random, 8, 8))
  rule = Naming({"visible": ("", "_t")})
  with pytest.raises(InputError, match="results would be taken for visible images"):
    find_jobs(visible, infrared, visible / "out", ".png", rule)


@pytest.mark.parametrize(
  ("output", "file"),
  [("x", "x.png"), ("x.bmp", "x.bmp"), ("sub/", "sub/day.png"), ("there", "there/day.png")],
)
def test_the_output_of_two_files_needs_no_extension(tmp_path, random, output, file):
  (tmp_path / "there").mkdir()
  for name in ("day.png", "heat.png"):
    save(tmp_path, name, random_picture(random, 24, 32))
  found = find_jobs(tmp_path / "day.png", tmp_path / "heat.png", f"{tmp_path}/{output}", ".png")
  assert found.jobs[0].output == tmp_path / file


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
