"""Fused images in the place of the visible ones: of a folder, or made by weights and kept."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from cfi_jax import datasets, systems
from cfi_jax.core.types import InputError
from cfi_jax.images import colour
from cfi_jax.systems.perception import fused, recipes
from cfi_jax.systems.perception.fused import FusedOptions
from cfi_jax.systems.perception.procedure import stream

NAMES = ("a", "b", "night/c")
SIZE = (16, 24)


def picture(rng, channels=3, size=SIZE):
  return Image.fromarray(np.squeeze(rng.integers(0, 256, (*size, channels), np.uint8)))


def write(folder, rng, names=NAMES, channels=3, size=SIZE):
  for name in names:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    picture(rng, channels, size).save(folder / f"{name}.png")


@pytest.fixture
def root(tmp_path):
  """A labelled folder of three pairs in colour."""
  rng = np.random.default_rng(0)
  write(tmp_path / "visible", rng)
  write(tmp_path / "infrared", rng, channels=1)
  for name in NAMES:
    path = tmp_path / "labels" / f"{name}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 2, SIZE, np.uint8)).save(path)
  return tmp_path


def config(root, **options):
  values = recipes.get("fused:labelled_folder")
  values.data.update(root=str(root), validation_fraction=0.0)
  values.input.crop = 16
  values.fused.update(dict(weights="average", folder="", cache=str(root / "cache")) | options)
  return systems.configure(values.to_dict())[1]


def pixels(path):
  return np.asarray(Image.open(path))


def test_images_of_a_folder_stand_in_the_place_of_visible_ones(root):
  write(root / "mine", np.random.default_rng(1))
  Image.open(root / "mine" / "a.png").save(root / "mine" / "a.bmp")
  (root / "mine" / "a.png").unlink()  # extensions may differ
  write(root / "mine", np.random.default_rng(2), names=("more",))  # and there may be others
  source = stream(config(root, folder=str(root / "mine")), "train").source
  assert source.names == NAMES
  headers = source.check_headers()
  for index, name in enumerate(("a.bmp", "b.png", "night/c.png")):
    mine = pixels(root / "mine" / name)
    np.testing.assert_array_equal(source[index]["visible"], mine)
    np.testing.assert_array_equal(source.read(index)["visible"], mine)
    thermal = pixels(root / "infrared" / f"{NAMES[index]}.png")
    np.testing.assert_array_equal(source[index]["infrared"][..., 0], thermal)
    assert headers[index]["visible"].channels == 3 and "labels" in headers[index]
  grey = source.coloured(())[1]["visible"]
  np.testing.assert_array_equal(grey[..., 0], colour.luma(pixels(root / "mine" / "b.png")))


def test_a_folder_may_name_the_part(root):
  write(root / "mine" / "train", np.random.default_rng(1))
  source = stream(config(root, folder=str(root / "mine" / "{part}")), "train").source
  expected = pixels(root / "mine" / "train" / "b.png")
  np.testing.assert_array_equal(source[1]["visible"], expected)


def test_other_fused_images_are_other_samples(root):
  write(root / "mine", np.random.default_rng(1))
  write(root / "other", np.random.default_rng(1), size=(16, 32))
  sources = [
    stream(config(root), "train").source,
    stream(config(root, weights="maximum"), "train").source,
    stream(config(root, folder=str(root / "mine")), "train").source,
    fused.replace(
      datasets.load(config(root).data).source("train"),
      FusedOptions("", str(root / "other"), ""),
      "train",
      "auto",
    ),
  ]
  plain = sources[0].source.fingerprint()
  assert len({plain, *(source.fingerprint() for source in sources)}) == 5
  again = stream(config(root, folder=str(root / "mine")), "train").source
  assert again.fingerprint() == sources[2].fingerprint() == again.formerly()
  files = sources[2].files(contents=True)
  assert {f"fused/{name}" for name in NAMES} < set(files)
  assert all(len(value.split()[1]) == 64 for value in files.values())
  assert not any(name.startswith("fused/") for name in sources[0].files())


def test_missing_and_other_sized_pictures_are_named(root):
  write(root / "mine", np.random.default_rng(1), names=("a", "night/c"))
  with pytest.raises(InputError, match="1 of 3 images have no fused one of the same name: b"):
    stream(config(root, folder=str(root / "mine")), "train")
  write(root / "mine", np.random.default_rng(1), names=("b",), size=(16, 25))
  source = fused.replace(
    datasets.load(config(root).data).source("train"),
    FusedOptions("", str(root / "mine"), ""),
    "train",
    "auto",
  )
  words = r"mine/b.png has 16 rows and 25 columns, and its visible image 16 and 24"
  with pytest.raises(InputError, match=rf"1 of 3 fused images cannot be used\n  .*{words}"):
    stream(config(root, folder=str(root / "mine")), "train")
  with pytest.raises(InputError, match=words):
    source[1]
  picture(np.random.default_rng(1)).save(root / "mine" / "b.bmp")
  with pytest.raises(InputError, match="two images of one name: b.bmp and b.png"):
    stream(config(root, folder=str(root / "mine")), "train")
  with pytest.raises(InputError, match="fused.folder is nowhere, which is no folder"):
    stream(config(root, folder="nowhere"), "train")


def test_weights_fuse_once_in_the_colours_of_the_visible_image(root, monkeypatch):
  source = stream(config(root), "train").source
  for index, name in enumerate(NAMES):
    visible = pixels(root / "visible" / f"{name}.png")
    thermal = pixels(root / "infrared" / f"{name}.png").astype(float)
    image = source[index]["visible"]
    assert image.shape == (*SIZE, 3) and image.dtype == np.uint8
    inside = ((image > 0) & (image < 255)).all(-1)  # colours that the cube holds
    apart = colour.luma(image).astype(float) - (colour.luma(visible) + thermal) / 2
    assert np.abs(apart[inside]).max() <= 2 and inside.any()
  kept = {path: path.stat().st_mtime_ns for path in (root / "cache").rglob("*.png")}
  assert len(kept) == 3

  def refuse(*arguments, **options):
    raise AssertionError("fused again")

  monkeypatch.setattr(fused._load("average").model, "fuse_pairs", refuse, raising=False)
  again = stream(config(root), "train").source
  np.testing.assert_array_equal(again[2]["visible"], source[2]["visible"])
  write(root / "visible", np.random.default_rng(5), names=("b",))  # another image of this name
  with pytest.raises(AssertionError, match="fused again"):
    stream(config(root), "train")
  assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


@pytest.mark.parametrize(
  ("weights", "words"),
  [
    ("nowhere.safetensors", "^fused.weights: nowhere.safetensors: does not exist"),
    (".", "^fused.weights: . is a folder; allowed: a file of weights, and fused.folder"),
    ("average:gain=2", "^fused.weights: .*gain"),
  ],
)
def test_weights_that_fuse_nothing_are_refused(root, weights, words):
  with pytest.raises(InputError, match=words):
    stream(config(root, weights=weights), "train")


def test_settings_that_do_not_go_together_are_refused(root):
  built = config(root)
  with pytest.raises(InputError, match="fused.weights is '', folder '' and model.fusion 'fused'"):
    config(root, weights="")
  with pytest.raises(InputError, match="'average', folder '' and model.fusion 'visible'; allowed"):
    dataclasses.replace(built, model=dataclasses.replace(built.model, fusion="visible"))
  with pytest.raises(InputError, match="normalize_over is 'folder' and fused.weights 'average'"):
    dataclasses.replace(built, input=dataclasses.replace(built.input, normalize_over="folder"))
