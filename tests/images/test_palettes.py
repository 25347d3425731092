"""False colours: palettes are inverted to the values that they show, or refused."""

import io

import matplotlib
import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.images import palettes

RAMP = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
Y, X = np.mgrid[:48, :64]
HOT = np.exp(-((Y - 20) ** 2 + (X - 40) ** 2) / 100)
SCENE = (40 + 200 * HOT + np.random.default_rng(0).normal(0, 3, HOT.shape)).clip(0, 255)
MAPS = {name: name for name in palettes.PALETTES if name not in ("iron", "black_hot")}
MAPS |= {"cmrmap": "CMRmap"}


def colours(name):
  """A map of matplotlib, uint8 [256, 3]."""
  return (matplotlib.colormaps[name](np.arange(256))[:, :3] * 255).round().astype(np.uint8)


def jpeg(picture, quality=92):
  stream = io.BytesIO()
  Image.fromarray(picture).save(stream, "JPEG", quality=quality)
  return np.asarray(Image.open(stream))


@pytest.mark.parametrize("name", MAPS)
def test_maps_of_matplotlib(name):
  table = colours(MAPS[name])
  found = palettes.values(table[RAMP], name)
  assert found.shape == (*RAMP.shape, 1) and found.dtype == np.uint8
  assert np.abs(found[..., 0].astype(int) - RAMP).max() <= 4
  scene = SCENE.astype(np.uint8)
  compressed = palettes.values(jpeg(table[scene]), name)
  assert np.corrcoef(compressed.ravel(), scene.ravel())[0, 1] > 0.99


@pytest.mark.parametrize("other", ["rainbow", "jet"])
def test_a_rainbow_is_any_of_several_and_its_luma_is_no_order(other):
  scene = SCENE.astype(np.uint8)
  coloured = colours(other)[scene]
  assert np.corrcoef(palettes.values(coloured, "rainbow").ravel(), scene.ravel())[0, 1] > 0.999
  luma = coloured @ [0.299, 0.587, 0.114]
  assert np.corrcoef(luma.ravel(), scene.ravel())[0, 1] < 0.97


def test_every_palette_is_its_own_inverse():
  for name, variants in palettes._COLOURS.items():
    for steps in variants if isinstance(variants, tuple) else (variants,):
      table = palettes.table(steps).round().astype(np.uint8)
      found = palettes.values(table[RAMP], name)[..., 0].astype(int)
      assert np.abs(found - RAMP).max() <= 1, name


def test_iron_is_also_that_of_cameras_without_white():
  i = np.arange(256)
  own = (i * 1.6, (i - 90) * 1.5, 130 - np.abs(i - 60) * 1.5)
  table = np.stack(own, -1).clip(0, 255).astype(np.uint8)
  scene = SCENE.astype(np.uint8)
  assert (
    np.corrcoef(palettes.values(jpeg(table[scene]), "iron").ravel(), scene.ravel())[0, 1] > 0.99
  )


def test_a_logo_in_the_colour_of_another_camera_decides_nothing():
  table = palettes.table(palettes._COLOURS["iron"][1]).round().astype(np.uint8)
  picture = table[np.tile(RAMP, (4, 1))]
  picture[0] = 255  # white, which the other has: a thirtieth
  found = palettes.values(picture, "iron")[..., 0].astype(int)
  assert np.abs(found[1:] - RAMP[0]).max() <= 1


def test_black_hot_is_turned_around():
  np.testing.assert_array_equal(palettes.values(RAMP[..., None], "black_hot")[..., 0], 255 - RAMP)


def test_deep_colours_are_taken_by_their_range():
  table = colours("inferno")
  expected = palettes.values(table[RAMP], "inferno")
  for deep in (table[RAMP].astype(np.uint16) * 257, table[RAMP] / 255):
    np.testing.assert_array_equal(palettes.values(deep, "inferno"), expected)


def test_colours_off_the_palette_are_refused_beyond_a_logo():
  picture = colours("inferno")[np.tile(RAMP, (1, 100)).reshape(-1)[:20_000].reshape(200, 100)]
  picture[:10] = (0, 255, 0)  # a twentieth
  palettes.values(picture, "inferno")
  picture[10, :10] = (0, 255, 0)
  with pytest.raises(InputError, match="x.png: 5% of its pixels are no colours .*'inferno'"):
    palettes.values(picture, "inferno", "x.png")


@pytest.mark.parametrize(("apart", "near"), [(22, True), (24, False)])
def test_a_colour_of_the_palette_is_at_most_32_levels_away(apart, near):
  """22 and 24 in two channels are 31.1 and 33.9 from grey."""
  picture = np.full((8, 8, 3), (128 + apart, 128 - apart, 128), np.uint8)
  if near:
    assert (palettes.values(picture, "black_hot") == 127).all()
  else:
    with pytest.raises(InputError, match="100% of its pixels are no colours"):
      palettes.values(picture, "black_hot")


def test_grey_and_unknown_palettes_are_refused():
  with pytest.raises(InputError, match="no colours of the palette 'iron'; allowed: iron, rainbow"):
    palettes.values(SCENE.astype(np.uint8)[..., None], "iron")
  with pytest.raises(InputError, match="infrared_palette is 'irn'; allowed: iron"):
    palettes.check("irn")
