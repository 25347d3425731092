"""Sources of image files: what identifies them, colours, and records of several sizes."""

import dataclasses
import hashlib

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, FolderStore, Record
from cfi_jax.data.pipeline import Input, Samples, plan
from cfi_jax.data.source import Derived, FileSource, rgb

OPTIONS = Input(crop=4, flip=True, transpose=True, workers=0, threads=1, prefetch=1, device_gb=0)
COLOURS = np.random.default_rng(0).integers(0, 256, (6, 8, 4), np.uint8)


@pytest.fixture
def make(tmp_path):
  """A function that writes two pairs, the last visible image that wide, and gives their source."""

  def write(path, pixels):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(tmp_path / path)
    return File(path, (tmp_path / path).stat().st_size)

  def source(columns=8, **options):
    records = tuple(
      Record(
        name,
        {
          "visible": write(f"vi/{name}.png", COLOURS[:, :width, :3]),
          "infrared": write(f"ir/{name}.png", COLOURS[..., 3]),
        },
      )
      for name, width in (("a", 8), ("b", columns))
    )
    return FileSource("some pairs", FolderStore(str(tmp_path)), records, **options)

  return source


def test_files_are_told_by_size_and_on_request_by_content(make, tmp_path):
  source = make()
  sizes = source.files()
  assert list(sizes) == ["vi/a.png", "ir/a.png", "vi/b.png", "ir/b.png"]
  told = source.files(contents=True)
  for name, size in sizes.items():
    content = (tmp_path / name).read_bytes()
    assert size == str(len(content))
    assert told[name] == f"{size} {hashlib.sha256(content).hexdigest()}"
  derived = Derived(source)
  assert derived.files() == sizes and derived.files(contents=True) == told


def test_names_of_chosen_folders_identify_nothing_any_more(make):
  plain, chosen = make(), make(folders={"visible": "vi", "infrared": "ir"})
  assert list(chosen.files()) == [
    "visible/a.png", "infrared/a.png", "visible/b.png", "infrared/b.png",
  ]  # fmt: skip
  lines = sorted(f"{name}\t{size}\n" for name, size in chosen.files().items())
  assert chosen.fingerprint() == hashlib.sha256("".join(lines).encode()).hexdigest()
  assert chosen.formerly() == plain.formerly() == plain.fingerprint() != chosen.fingerprint()
  derived = Derived(chosen)
  assert derived.fingerprint() == chosen.fingerprint() and derived.formerly() == chosen.formerly()
  assert (derived.title, derived.names, len(derived)) == ("some pairs", ("a", "b"), 2)


def test_those_images_are_coloured_that_the_records_have(make):
  source = make().coloured(("visible", "depth"))
  assert source.colour == ("visible",)
  assert [image.shape[-1] for image in source[0].values()] == [3, 1]
  np.testing.assert_array_equal(source[0]["visible"], COLOURS[..., :3])
  assert [header["visible"].channels for header in source.check_headers()] == [3, 3]
  empty = FileSource("none", FolderStore(""), ())
  assert empty.coloured(("visible",)).colour == ()
  with pytest.raises(InputError, match="colour names 'depth'; the images are visible, infrared"):
    make(colour=("visible", "depth"))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_rgb_repeats_grey_and_drops_alpha(channels):
  found = rgb(COLOURS[..., :channels])
  expected = COLOURS[..., [0, 0, 0]] if channels == 1 else COLOURS[..., :3]
  np.testing.assert_array_equal(found, expected)


def test_a_record_of_two_sizes_is_refused_read_or_not(make):
  source = make(columns=7)
  message = r"a pair must have one size, but .*vi/b.png has 6 rows and 7 columns, .*ir/b.png has 6 "
  with pytest.raises(InputError, match=message):
    source.read(1)
  with pytest.raises(InputError, match=r"some pairs: 1 of 2 pairs cannot be used\s.*" + message):
    source.check_headers()
  assert source[0]["infrared"].shape == (6, 8, 1)


@pytest.mark.parametrize(("seed", "words"), [(-1, "seed=-1: must not be negative"), (0, "")])
def test_a_stream_has_images_and_a_seed(make, seed, words):
  if words:
    with pytest.raises(InputError, match=words):
      Samples(make(), OPTIONS, seed)
  else:
    assert Samples(make(), OPTIONS, seed)(0)["visible"].shape == (4, 4, 1)
  with pytest.raises(InputError, match="there is no image to train on"):
    Samples(FileSource("none", FolderStore(""), ()), OPTIONS, 0)


class Sharded(FolderStore):
  """Files of shards: the visible images of the first record are in shard 4."""

  def shard(self, path):
    return 4 if path == "vi/a.png" else 0


def test_shards_are_those_of_the_first_image_of_each_record(make, tmp_path):
  source = make()
  assert source.shards() == Derived(source).shards() == ()
  sharded = dataclasses.replace(source, store=Sharded(str(tmp_path)))
  assert sharded.shards() == Derived(sharded).shards() == (4, 0)
  options = dataclasses.replace(OPTIONS, shuffle="shards")
  with pytest.raises(InputError, match="input.shuffle='shards': some pairs has no shards; allowed"):
    Samples(source, options, 0)
  sizes = np.array([(6, 8), (6, 8)])
  found = [Samples(sharded, options, 3).cut(position, sizes)[0] for position in range(8)]
  assert found == [plan(3, position, 2, (4, 0)).index for position in range(8)]
  plain = [Samples(sharded, OPTIONS, 3).cut(position, sizes)[0] for position in range(8)]
  assert plain == [plan(3, position, 2).index for position in range(8)]
  with pytest.raises(InputError, match="input.shuffle='x'; allowed: records, shards"):
    dataclasses.replace(OPTIONS, shuffle="x")
