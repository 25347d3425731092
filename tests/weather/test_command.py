"""The command of making weather: files, records and refusals."""

import json

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.core.types import StorageError
from cfi_jax.fusion.weather import LEVELS, THERMAL
from cfi_jax.weather import __main__ as command
from cfi_jax.weather import command as making


def run(*arguments):
  return cli.status(command.main, command.FLAGS, command.__doc__, arguments)


def read(path):
  return np.asarray(Image.open(path))


@pytest.fixture
def folders(tmp_path):
  rng = np.random.default_rng(0)
  for name, channels in (("vi", 3), ("ir", 1)):
    (tmp_path / name).mkdir()
    for stem in ("a", "b"):
      image = rng.integers(60, 120, (32, 40, channels), np.uint8)
      Image.fromarray(image.squeeze()).save(tmp_path / name / f"{stem}.png")
  deep = rng.integers(20000, 50000, (32, 40)).astype(np.uint16)
  Image.fromarray(deep).save(tmp_path / "ir" / "b.png")
  return tmp_path


def asked(folders, output, *more):
  images = (f"--visible={folders / 'vi'}", f"--infrared={folders / 'ir'}")
  return (*images, f"--output={folders / output}", "--kind=rain+haze", *more)


def test_pairs_and_their_records_are_written_and_the_seed_decides(folders, capsys):
  assert run(*asked(folders, "one")) == 0
  said = capsys.readouterr().out
  assert "made weather on 2 of 2 pairs" in said
  assert "values: visible: 2 of 8 bits" in said and "1 of 16 bits, 0..65535 taken as 0..1" in said
  assert run(*asked(folders, "two")) == run(*asked(folders, "three", "--seed=1")) == 0
  for name in ("visible/a.png", "visible/b.png", "infrared/a.png", "infrared/b.png"):
    first, again, other = (
      np.asarray(Image.open(folders / f / name)) for f in ("one", "two", "three")
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    clean = np.asarray(
      Image.open(folders / name.replace("visible", "vi").replace("infrared", "ir"))
    )
    assert first.shape == clean.shape and first.dtype == clean.dtype and (first != clean).any()
  lines = [json.loads(line) for line in (folders / "one/weather.jsonl").read_text().splitlines()]
  assert [line["name"] for line in lines] == ["a", "b"]
  for line in lines:
    assert (line["kind"], line["level"], line["seed"]) == ("rain+haze", "medium", 0)
    for kind, index in (("haze", 0), ("rain", 1)):
      low, high = LEVELS["medium"][index]
      assert low <= line["drawn"][kind] <= high
    assert line["drawn"]["snow"] == 0
  assert lines[0]["drawn"] != lines[1]["drawn"]


def test_a_pair_s_weather_does_not_depend_on_its_company(folders):
  assert run(*asked(folders, "both")) == 0
  for name in ("vi", "ir"):
    (folders / name / "b.png").unlink()
  assert run(*asked(folders, "alone")) == 0
  first, again = (read(folders / f / "visible/a.png") for f in ("both", "alone"))
  np.testing.assert_array_equal(first, again)


def test_two_files_make_a_pair(folders):
  images = (f"--visible={folders / 'vi/a.png'}", f"--infrared={folders / 'ir/a.png'}")
  assert run(*images, f"--output={folders / 'out'}", "--kind=snow", "--thermal=attenuated") == 0
  assert (folders / "out/visible/a.png").exists() and (folders / "out/infrared/a.png").exists()


def test_what_fails_is_named_and_the_rest_is_written(folders, capsys):
  Image.fromarray(np.zeros((32, 41), np.uint8)).save(folders / "ir" / "b.png")
  assert run(*asked(folders, "out")) == 1
  said = capsys.readouterr()
  assert "b: " in said.err and "40x32" in said.err and "41x32" in said.err
  assert (folders / "out/visible/a.png").exists() and "1 of 2" in said.out


@pytest.mark.parametrize(
  "change, message",
  [
    ("--kind=hail", "no kind of weather 'hail'; valid: haze, rain, snow"),
    ("--seed=4294967296", "--seed=4294967296; allowed: 0 to 2147483647"),
    ("--level=extreme", "light, medium, heavy"),
    ("--thermal=warm", "physical, attenuated"),
    ("--visible=/nowhere", "/nowhere: does not exist"),
    ("--output=vi/out", "--output=vi/out: results in vi/out/visible would lie among the clean"),
    ("--seed=-1", "--seed=-1; allowed: 0 to 2147483647"),
    ("--seed=99999999999999999999", "allowed: 0 to 2147483647"),
    ("--normalize=maybe", "normalize"),
  ],
)
def test_bad_flags_are_refused_before_anything_is_written(
  folders, capsys, monkeypatch, change, message
):
  monkeypatch.chdir(folders)
  assert run(*asked(folders, "out", change)) == 2
  error = capsys.readouterr().err
  assert message in error and error.count("error:") == 1
  assert not (folders / "out").exists()


@pytest.mark.parametrize("file", ["", "a.png"])
def test_clean_images_are_never_replaced(folders, capsys, file):
  for old, new in (("vi", "visible"), ("ir", "infrared")):
    (folders / old).rename(folders / new)
  before = read(folders / "visible/a.png")
  images = [f"--{name}={folders / name / file}" for name in ("visible", "infrared")]
  assert run(*images, f"--output={folders}", "--kind=rain") == 2
  said = capsys.readouterr().err
  assert f"--output={folders}: results in {folders / 'visible' / file}" in said
  np.testing.assert_array_equal(read(folders / "visible/a.png"), before)
  assert not (folders / "weather.jsonl").exists()


def test_no_record_is_named_where_none_was_written(folders, capsys):
  images = (f"--visible={folders / 'vi/a.png'}", f"--infrared={folders / 'ir/broken.png'}")
  (folders / "ir/broken.png").write_bytes(b"")
  assert run(*images, f"--output={folders / 'out'}", "--kind=rain") == 1
  assert capsys.readouterr().out == "made weather on 0 of 1 pairs\n"


def test_flags_offer_what_there_is():
  assert tuple(command.LEVELS) == tuple(LEVELS) and command.THERMAL == THERMAL


@pytest.fixture
def clear(monkeypatch):
  """Weather that changes nothing, and is not drawn."""
  monkeypatch.setattr(
    making.weather_lib, "on_picture", lambda seed, name, pair, options: (pair, None)
  )
  monkeypatch.setattr(making.weather_lib, "describe", lambda drawn: {})


def test_alpha_stays_and_other_types_become_16_bits(folders, clear):
  rgba = np.random.default_rng(1).integers(0, 256, (32, 40, 4), np.uint8)
  Image.fromarray(rgba).save(folders / "vi" / "a.png")
  warm = np.linspace(-4, 12, 32 * 40, dtype=np.float32).reshape(32, 40)
  (folders / "ir" / "a.png").unlink()
  Image.fromarray(warm).save(folders / "ir" / "a.tif")
  assert run(*asked(folders, "out", "--normalize=visible:full,infrared:window=-4:12")) == 0
  np.testing.assert_array_equal(read(folders / "out/visible/a.png"), rgba)
  stored = read(folders / "out/infrared/a.png")
  assert stored.dtype == np.uint16
  np.testing.assert_allclose(stored, (warm + 4) / 16 * 65535, atol=0.51)


@pytest.mark.parametrize("normalize", ["auto", "full"])
def test_without_weather_the_values_are_those_of_the_files(folders, clear, normalize):
  assert run(*asked(folders, "out", f"--normalize={normalize}")) == 0
  for name, clean in (("visible/b", "vi/b"), ("infrared/a", "ir/a"), ("infrared/b", "ir/b")):
    np.testing.assert_array_equal(read(folders / f"out/{name}.png"), read(folders / f"{clean}.png"))


def test_what_is_neither_two_files_nor_two_folders_with_pairs_is_refused(folders, capsys):
  images = (f"--visible={folders / 'vi'}", f"--infrared={folders / 'ir/a.png'}")
  assert run(*images, f"--output={folders / 'out'}", "--kind=rain") == 2
  assert "ir/a.png: one is a folder, the other a file" in capsys.readouterr().err
  for path in (folders / "ir").iterdir():
    path.rename(path.with_stem(f"other_{path.stem}"))
  assert run(*asked(folders, "out")) == 2
  assert "there is no pair to make weather on" in capsys.readouterr().err
  assert not (folders / "out").exists()


def test_a_full_disk_ends_the_work_and_the_record_is_of_what_is_whole(folders, clear, monkeypatch):
  written = making.pictures.write_image

  def write(path, image):
    if path.stem == "b":
      raise StorageError("full")
    written(path, image)

  monkeypatch.setattr(making.pictures, "write_image", write)
  assert run(*asked(folders, "out")) == 2
  (line,) = (folders / "out/weather.jsonl").read_text().splitlines()
  assert json.loads(line)["name"] == "a" and not (folders / "out/visible/b.png").exists()
