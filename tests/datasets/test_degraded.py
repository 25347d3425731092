"""Folders of five images of each scene, in several weathers."""

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.datasets.degraded import IMAGES, Degraded

FOLDERS = dict(zip(IMAGES, ("vi", "ir", "gt_vi", "gt_ir", "pseudo_gt"), strict=True))


def write(root, weather, stems, size=(10, 12)):
  random = np.random.default_rng(0)
  for name, folder in FOLDERS.items():
    (root / weather / folder).mkdir(parents=True, exist_ok=True)
    channels = (1,) if name.endswith("infrared") else (3,)
    for stem in stems:
      image = random.integers(0, 256, (*size, *channels), np.uint8)
      Image.fromarray(image.squeeze()).save(root / weather / folder / f"{stem}.png")


@pytest.fixture
def root(tmp_path):
  for weather in ("Snow", "Haze"):
    write(tmp_path, weather, ("01", "02", "03"))
  return tmp_path


def dataset(root, fraction=0.3, weathers=("Snow", "Haze"), **others):
  return Degraded(str(root), fraction, weathers, **FOLDERS | others)


def test_records_hold_five_images_of_each_weather(root):
  source = dataset(root, 0.0).source("train").coloured(IMAGES[::2])
  assert source.names == tuple(f"{w}-{n}" for w in ("Snow", "Haze") for n in ("01", "02", "03"))
  channels = {name: image.shape for name, image in source[4].items()}
  assert channels == dict(zip(IMAGES, [(10, 12, 3), (10, 12, 1)] * 2 + [(10, 12, 3)], strict=True))
  with Image.open(root / "Haze" / "pseudo_gt" / "02.png") as image:
    np.testing.assert_array_equal(source[4]["pseudo"], image)
  assert source.check_headers()[0]["pseudo"].channels == 3


def test_the_root_itself_may_hold_the_folders(root):
  source = dataset(root / "Snow", 0.0, weathers=(".",)).source("train")
  assert source.names == ("01", "02", "03")


def test_a_scene_is_held_out_in_all_weathers(root):
  data = dataset(root)
  kept, out = (data.source(split).names for split in ("train", "validation"))
  assert len(out) == 2 and len(kept) == 4
  assert {name.split("-")[1] for name in out}.isdisjoint(name.split("-")[1] for name in kept)


def test_folders_that_do_not_fit_are_refused(root):
  (root / "Snow" / "gt_ir" / "02.png").unlink()
  with pytest.raises(InputError, match="1 of 3 images in .*Snow/vi have no partner.*gt_ir: 02"):
    dataset(root).source("train")
  write(root, "Snow", ("02",))
  # As many images, whose names do not pair: by position they would.
  renamed = root / "Haze" / "ir" / "02.png"
  renamed.rename(renamed.with_stem("04"))
  with pytest.raises(InputError, match="1 of 3 images in .*Haze/vi have no partner.*ir: 02"):
    dataset(root).source("train")
  renamed.with_stem("04").rename(renamed)
  (root / "Snow" / "pseudo_gt").rename(root / "Snow" / "gt")
  with pytest.raises(InputError, match="no folder 'Snow/pseudo_gt' in data root .*"):
    dataset(root).source("train")
  with pytest.raises(InputError, match=r"data.weathers is \(\); allowed: one or more"):
    dataset(root, weathers=())
  with pytest.raises(InputError, match="each once"):
    dataset(root, weathers=("Snow", "Snow"))


def test_images_of_other_sizes_are_named(root):
  Image.new("RGB", (12, 11)).save(root / "Haze" / "pseudo_gt" / "01.png")
  with pytest.raises(InputError, match="a set must have one size.*pseudo_gt/01.png has 11 rows"):
    dataset(root).source("train").check_headers()
    dataset(root).source("validation").check_headers()
