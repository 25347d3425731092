"""Images as users hold them: what becomes of every kind, and what is refused with its cause."""

import warnings

import matplotlib
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion import arrays, inputs
from cfi_jax.images import ranges
from cfi_jax.images import read as images

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (24, 32), np.uint8)
RGB = RNG.integers(0, 256, (24, 32, 3), np.uint8)
Y, X = np.mgrid[:24, :32]
HOT = np.exp(-((Y - 10) ** 2 + (X - 20) ** 2) / 60)
AUTO = ranges.Normalizer()


SHAPES = {
  (3, 24, 32): r"channels come first; write np.moveaxis\(visible, 0, -1\), or visible\[..., None\]",
  (4, 24, 32): r"or visible\[..., None\] for 4 grey images",
  (2, 3, 24, 32): r"channels come first; write np.moveaxis\(visible, 1, -1\)$",
  (2, 1, 24, 32): r"channels come first; write np.moveaxis\(visible, 1, -1\)$",
  (24, 32, 2): r"shape \(24, 32, 2\); allowed: .* C = 1, 3 or 4, height and width from 8",
  (7, 32): "allowed: .*, height and width from 8",
  (2, 24, 32, 5): "allowed: .* C = 1, 3 or 4",
  (0, 24, 32): "allowed",
  (): "allowed",
}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shapes_are_refused_with_what_to_write(shape):
  with pytest.raises(InputError, match=SHAPES[shape]):
    arrays.as_batch(np.zeros(shape, np.uint8), "visible")


@pytest.mark.parametrize(
  ("shape", "batch"),
  [
    ((8, 8), 1),
    ((24, 32), 1),
    ((24, 32, 3), 1),
    ((1, 24, 32), 1),
    ((5, 24, 32), 5),
    ((3, 24, 32, 1), 3),
  ],
)
def test_shapes_that_are_taken(shape, batch):
  assert len(arrays.as_batch(np.zeros(shape, np.uint8), "visible")) == batch


@pytest.mark.parametrize(
  ("image", "words"),
  [
    (GREY > 9, "visible is bool; allowed: integers and floating point"),
    (GREY.astype(str), "visible is <U3"),
    (np.asarray(None), "visible is object; allowed: integers and floating point"),
  ],
)
def test_numbers_are_refused_with_their_cause(image, words):
  with pytest.raises(InputError, match=words):
    arrays.as_batch(image, "visible")


def prepared(visible, infrared, rule="auto", **options):
  visible, infrared = (i[..., None] if i.ndim == 2 else i for i in (visible, infrared))
  return inputs.prepare(visible, infrared, ranges.parse(rule), **options)


@pytest.mark.parametrize("image", [GREY, RGB, GREY.astype(np.uint16) * 257, GREY / 255])
def test_what_means_0_to_the_largest_is_left_alone(image):
  visible, infrared = prepared(image, image if image.ndim == 2 else GREY)
  assert visible.plain is visible.stored and np.shares_memory(visible.plain, image)
  fused = np.zeros((24, 32, 1), image.dtype)
  assert visible.restore(fused, True) is fused
  assert infrared.plain.shape == (24, 32, 1)


def test_a_coloured_infrared_image_is_its_luma():
  with pytest.warns(inputs.ColouredWarning):
    _, infrared = prepared(RGB, RGB)
  assert infrared.plain.shape == (24, 32, 1)
  np.testing.assert_array_equal(infrared.plain, images.luma(RGB))


SCENES = {
  "counts": (29_315 + 1500 * HOT).astype(np.uint16),
  "12 bits": (1000 + 3000 * HOT).astype(np.uint16),
  "kelvin": (293.15 + 15 * HOT).astype(np.float32),
  "celsius": 20 + 15 * HOT,
  "centikelvin": (29_315 + 1500 * HOT).astype(np.int32),
  "signed": (-700 + 1500 * HOT).astype(np.int16),
}


@pytest.mark.parametrize("unit", SCENES)
def test_one_scene_is_the_same_in_every_unit(unit):
  _, infrared = prepared(GREY, SCENES[unit])
  low, high = np.percentile(HOT, (1, 99))
  expected = np.clip((HOT - low) / (high - low), 0, 1)
  assert infrared.plain.dtype.kind == "f"
  assert np.abs(infrared.plain[..., 0] - expected).max() < 1.5 / 1500


@pytest.mark.parametrize("unit", SCENES)
def test_a_visible_image_comes_back_in_its_own_type_and_scale(unit):
  scene = SCENES[unit]
  visible, _ = prepared(scene, GREY)
  restored = visible.restore(visible.plain, False)
  assert restored.dtype == scene.dtype
  low, high = visible.range.low, visible.range.high
  difference = np.abs(restored[..., 0].astype(float) - np.clip(scene, low, high))
  assert difference.max() <= (0.5 if scene.dtype.kind in "iu" else 1e-4 * (high - low)) + 1e-9
  # Written as 16 bits, the ends of the range are those of the type.
  if scene.dtype != np.uint16:
    wide = visible.restore(visible.plain, False, np.uint16)
    assert (wide.min(), wide.max()) == (0, 65535)


@pytest.mark.parametrize("rule", ["window=0:4095", "bits=12"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
@pytest.mark.parametrize("channels", [3, 4])
def test_colour_and_alpha_keep_their_scale(rule, dtype, channels):
  colour = RNG.integers(1, 4096, (24, 32, channels)).astype(dtype)  # alpha 0 is no value
  visible, _ = prepared(colour, GREY, f"visible:{rule}")
  assert visible.plain.shape == (24, 32, 1)
  same = visible.restore(visible.plain, False)
  assert same.dtype == dtype and same.shape == colour.shape
  # The round trip of full-range BT.601 in three digits is not exact (OpenCV's is not either).
  np.testing.assert_allclose(same, colour, atol=0.002 * 4095 + 1)
  np.testing.assert_array_equal(same[..., 3:], colour[..., 3:])
  brighter = visible.restore(np.minimum(visible.plain + 0.1, 1), True)
  assert brighter.shape == (24, 32, 1) and brighter.max() <= 4095


def test_colours_beyond_the_percentiles_are_kept():
  colour = np.full((24, 32, 3), 2000, np.uint16)
  colour[:] += RNG.integers(0, 500, (24, 32, 1), np.uint16)
  colour[0, 0] = 3900, 1500, 1600  # of a luma within the range
  visible, _ = prepared(colour, GREY)
  assert visible.range.how == "percentile" and visible.range.high < 2600
  same = visible.restore(visible.plain, False).astype(int)
  np.testing.assert_allclose(same[0, 0], colour[0, 0], atol=8)


def test_fractions_are_written_as_16_bits_with_their_colours():
  image = RNG.random((24, 32, 4))
  visible, _ = prepared(image, GREY)
  assert visible.plain is visible.stored
  wide = visible.restore(visible.plain, False, np.uint16)
  np.testing.assert_array_equal(wide, np.rint(image * 65535).astype(np.uint16))
  assert visible.restore(visible.plain, False, np.float32).dtype == np.float32


def test_floats_beside_0_and_1_by_rounding_are_clipped():
  image = np.linspace(-1e-5, 1 + 1e-5, 768).reshape(24, 32)
  visible, _ = prepared(image, GREY)
  assert (visible.plain.min(), visible.plain.max()) == (0, 1)
  np.testing.assert_allclose(visible.plain[..., 0], image, atol=2e-5)


def test_a_narrow_image_under_full_is_fused_as_it_is():
  """Whoever takes the array by itself, with the rule auto, must not stretch it again."""
  counts = SCENES["counts"]
  visible, infrared = prepared(counts, counts, "full")
  for image in (visible, infrared):
    np.testing.assert_allclose(image.plain[..., 0], counts / 65535, rtol=1e-6)
    again = prepared(image.plain, image.plain)[0]
    assert again.plain is again.stored
  np.testing.assert_array_equal(visible.restore(visible.plain, False)[..., 0], counts)


def test_a_window_holds_for_an_image_of_all_16_bits_too():
  image = np.linspace(0, 65535, 768).reshape(24, 32).astype(np.uint16)
  _, infrared = prepared(GREY, image, "infrared:window=20000:40000")
  expected = np.clip((image.astype(float) - 20000) / 20000, 0, 1)
  np.testing.assert_allclose(infrared.plain[..., 0], expected, atol=1e-6)


def test_missing_values_become_the_lower_end():
  scene = np.where(HOT > 0.9, np.nan, 20 + 15 * HOT)
  visible, infrared = prepared(scene, scene)
  assert not np.isnan(infrared.plain).any() and (infrared.plain[HOT > 0.9] == 0).all()
  assert visible.range.missing == (HOT > 0.9).sum()
  assert not np.isnan(visible.restore(visible.plain, False)).any()
  for image in (visible, infrared):
    np.testing.assert_array_equal(image.valid[..., 0], HOT <= 0.9)


def is_same(one, other):
  """Whether two images that are ready to be fused are alike to the last bit."""
  return one.range == other.range and all(
    np.array_equal(getattr(one, n), getattr(other, n)) for n in ("plain", "stored", "valid")
  )


@pytest.mark.parametrize("unit", [*SCENES, "8 bits", "fractions", "16 bits"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_stands_in_a_hole_matters_nowhere(unit, channels):
  more = {"8 bits": GREY, "fractions": HOT, "16 bits": GREY.astype(np.uint16) * 257}
  image = np.stack([(SCENES | more)[unit]] * channels, -1)
  image[..., 3:] = np.where(image[..., 3:] == 0, 1, image[..., 3:])  # alpha 0 is another matter
  hole = HOT > 0.7
  top = 1e30 if image.dtype.kind == "f" else np.iinfo(image.dtype).max
  found = []
  for value in (0, top, image[0, 0, 0], *([np.nan, -np.inf] if image.dtype.kind == "f" else [])):
    spoilt = image.copy()
    spoilt[hole] = value
    if channels > 1:
      spoilt[hole, 1] = 0  # a colour
    found.append(prepared(np.ma.array(spoilt, mask=np.stack([hole] * channels, -1)), image))
  for one, other in found[1:]:
    assert is_same(one, found[0][0]) and is_same(other, found[0][1])
  first = found[0][0]
  np.testing.assert_array_equal(first.valid[..., 0], ~hole)
  if channels == 1:  # the range is that of what has values
    alone = ranges.Rule().find(image[~hole])
    assert (first.range.low, first.range.high) == (alone.low, alone.high)
  assert (first.plain[..., :3][hole] == 0).all()


def test_alpha_of_the_result_says_where_one_image_has_a_value():
  alpha = np.full((24, 32, 1), 77, np.uint8)
  alpha[:8] = 0
  lacks = np.zeros((24, 32, 1), bool)
  lacks[4:12] = True
  visible, _ = prepared(np.concatenate([RGB, alpha], -1), np.ma.array(GREY[..., None], mask=lacks))
  found = visible.stored[..., 3]
  assert (found[:4] == 255).all() and (found[4:8] == 0).all() and (found[8:] == 77).all()
  np.testing.assert_array_equal(visible.stored[8:, :, :3], RGB[8:])
  floating, _ = prepared(np.concatenate([RGB / 255, alpha / 255], -1), GREY)
  assert (floating.stored[:8, :, 3] == 1).all()


def test_an_image_without_any_value_is_refused():
  nothing = np.ma.array(GREY, mask=np.ones_like(GREY, bool))
  for both, name in (((nothing, GREY), "visible"), ((GREY, nothing), "infrared")):
    with pytest.raises(InputError, match=f"the {name} image: no pixel has a value"):
      prepared(*both)


def test_pixels_without_a_value_are_no_colours_of_a_palette():
  values = (40 + 200 * HOT).astype(np.uint8)
  table = (matplotlib.colormaps["jet"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
  hole = np.zeros((24, 32), bool)
  hole[:, :9] = True
  coloured = np.where(hole[..., None], np.uint8([255, 255, 255]), table[values])
  masked = np.ma.array(coloured, mask=np.stack([hole] * 3, -1))
  _, infrared = prepared(GREY, masked, palette="jet")
  found = infrared.plain[..., 0].astype(int)
  assert np.abs(found - values)[~hole].max() <= 1 and (found[hole] == 0).all()


def warned(*images, **options):
  with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    prepared(*images, **options)
  return [(w.category, str(w.message)) for w in found]


def test_swapped_and_coloured_images_are_noticed():
  ((kind, text),) = warned(GREY, RGB, label="x")
  assert kind is inputs.SwappedWarning and text.startswith("x: the visible image is grey")
  ((kind, text),) = warned(RGB, RGB)
  assert kind is inputs.ColouredWarning and "infrared_palette=NAME" in text and "iron" in text
  assert warned(RGB, GREY) == [] and warned(GREY, np.stack([GREY] * 3, -1)) == []


@pytest.mark.parametrize(("rule", "ends"), [("window=5:40", "5 to 40"), ("bits=8", "0 to 255")])
def test_an_image_outside_of_its_rule_is_noticed(rule, ends):
  raw = (29_315 + 100 * HOT).astype(np.uint16)
  ((kind, text),) = warned(RGB, raw, label="x", rule=f"infrared:{rule}")
  assert kind is inputs.OutsideWarning
  assert text == (
    f"x: the infrared image has values from 29315 to {raw.max()}, none of them from {ends}, which "
    f"its {rule.partition('=')[0]} takes as 0 to 1: nothing of it is seen"
  )


def test_a_palette_makes_values_and_silence():
  values = (40 + 200 * HOT).astype(np.uint8)
  table = (matplotlib.colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
  assert warned(GREY, table[values], palette="inferno") == []
  _, infrared = prepared(GREY, table[values], palette="inferno")
  assert np.abs(infrared.plain[..., 0].astype(int) - values).max() <= 1
  with pytest.raises(InputError, match="^the infrared image: 100% of its pixels"):
    prepared(GREY, RGB * 0 + np.array([0, 255, 0], np.uint8), palette="iron", label="x")


def test_a_user_hears_of_values_that_are_stretched_and_that_is_all():
  images = [np.atleast_3d(GREY)], [np.atleast_3d(SCENES["counts"])]
  with pytest.warns(inputs.StretchedWarning, match="infrared: 1 of 16 bits, 293.*stretched"):
    inputs.accept(*images, "auto", "")
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    for rule in ("percentile", "full", {"infrared": "window=29000:31000"}):
      inputs.accept(*images, rule, "")
    inputs.accept(images[0], images[0], "auto", "")
  with pytest.raises(InputError, match="normalize is 'thermal:full'"):
    inputs.accept(*images, "thermal:full", "")
  with pytest.raises(InputError, match="infrared_palette is 'x'"):
    inputs.accept(*images, "auto", "x")


def test_fractions_a_rounding_error_below_0_are_cut():
  for low, high in ((-1e-7, 0.5), (0.0, 1 + 1e-7), (0.25, 0.5)):
    image = np.linspace(low, high, 24 * 32, dtype=np.float32).reshape(24, 32)
    found, _ = prepared(image, image, "full")
    np.testing.assert_array_equal(found.plain[..., 0], np.clip(image, 0, 1))
