"""Ranges: which values mean 0 and 1, by every rule, for images and for folders."""

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.images import range_lines, ranges
from cfi_jax.images.ranges import Rule

RAMP = np.linspace(0, 1, 10_001)[:, None, None]  # percentile p is p / 100


def counts(low, high, dtype):
  return (low + RAMP * (high - low)).astype(dtype)


AUTO = {
  "8 bits, narrow": (counts(100, 110, np.uint8), "full", 0, 255),
  "16 bits": (counts(0, 65535, np.uint16), "full", 0, 65535),
  "16 bits, a little over a tenth": (counts(20_000, 26_600, np.uint16), "full", 0, 65535),
  "16 bits, a little under a tenth": (
    counts(20_000, 26_500, np.uint16), "percentile", 20_065, 26_435,
  ),
  "12 bits in 16": (counts(0, 4095, np.uint16), "percentile", 41, 4054),
  "thermal counts": (counts(29_315, 30_815, np.uint16), "percentile", 29_330, 30_800),
  "kelvin": (counts(293.15, 308.15, np.float32), "percentile", 293.3, 308.0),
  "celsius": (counts(-20, 15, np.float64), "percentile", -19.65, 14.65),
  "0..1": (counts(0.2, 0.3, np.float32), "full", 0, 1),
  "0..1 and rounding": (counts(0, 1 + 5e-4, np.float32), "full", 0, 1),
  "0..1 and rounding below": (counts(-9.5e-4, 1, np.float64), "full", 0, 1),
  "0..1 and more": (counts(0, 1 + 1.05e-3, np.float64), "percentile", 0.01, 0.991),
  "0..1 and less": (counts(-1.05e-3, 1, np.float64), "percentile", 0.009, 0.99),
  "0..255 in floats": (counts(0, 255, np.float32), "percentile", 2.55, 252.45),
  "signed 16 bits": (counts(-700, 800, np.int16), "percentile", -685, 785),
  "signed 32 bits": (counts(29_315, 30_815, np.int32), "percentile", 29_330, 30_800),
  "unsigned 32 bits": (counts(3e9, 3e9 + 1500, np.uint32), "percentile", 3e9 + 15, 3e9 + 1485),
}  # fmt: skip


@pytest.mark.parametrize("case", AUTO)
def test_auto(case):
  image, how, low, high = AUTO[case]
  found = Rule().find(image)
  assert found.how == how
  scale = abs(high - low)
  assert (found.low, found.high) == pytest.approx((low, high), abs=2e-3 * scale)
  assert found.used == ((0, 255) if image.dtype == np.uint8 else (image.min(), image.max()))


def test_dead_pixels_do_not_hide_that_an_image_is_narrow():
  image = counts(29_315, 30_815, np.uint16)
  image[:4] = 0
  image[-4:] = 65535
  assert Rule().find(image).how == "percentile"


@pytest.mark.parametrize(("place", "value"), [(slice(0, None), 1), (slice(None, None, -1), 65534)])
def test_a_thousandth_of_the_pixels_may_be_dead_at_either_end(place, value):
  image = counts(29_315, 30_815, np.uint16)  # of 10,001 pixels
  image[place][:10] = value
  assert Rule().find(image).how == "percentile"
  image[place][:11] = value
  assert Rule().find(image).how == "full"


@pytest.mark.parametrize(
  ("scene", "end"),
  [
    (counts(29_315, 30_815, np.uint16), 0),
    (counts(29_315, 30_815, np.uint16), 65_535),
    (counts(29_315, 30_815, np.uint32), 0),
    (counts(293, 308, np.float32), 0),
    (counts(-700, 543, np.int16), -32_768),
  ],
)
@pytest.mark.parametrize("share", [0.0011, 0.05, 0.5])
def test_a_border_of_one_end_of_the_type_does_not_count(scene, end, share):
  image = np.concatenate([scene, np.full((round(len(scene) * share / (1 - share)), 1, 1), end)])
  found = Rule().find(image.astype(scene.dtype))
  assert (found.low, found.high) == tuple(np.percentile(scene, (1, 99)))
  assert found.how == "percentile" and found.fills == (end,)
  kept = np.asarray(found.to_unit(image, np.dtype(np.float64))).ravel()
  assert (kept[len(scene) :] == (end > 0)).all() and kept[: len(scene)].std() > 0.25


def test_what_interpolation_makes_of_a_borders_edge_does_not_count_either():
  scene = counts(29_315, 30_815, np.uint16)
  border, edge = np.zeros((500, 1, 1), np.uint16), counts(100, 29_000, np.uint16)[::200]
  found = Rule().find(np.concatenate([border, edge, scene]))
  assert found.fills == (0,) and found.low == pytest.approx(29_330, abs=20)
  rule = ranges.Normalizer().of_folder(
    ("infrared", ranges.summarise(np.concatenate([border, edge, scene])), np.dtype(np.uint16))
    for _ in range(3)
  )
  assert rule.ranges["infrared", "uint16"].low == pytest.approx(29_330, abs=20)


def test_a_border_of_one_image_of_a_folder_does_not_count_either():
  scene = counts(29_315, 30_815, np.uint16)
  border, edge = np.zeros((130, 1, 1), np.uint16), counts(1, 29_000, np.uint16)[::37]
  images = [np.concatenate([border, edge, scene])] + [scene] * 29
  rule = ranges.Normalizer().of_folder(
    ("infrared", ranges.summarise(image), np.dtype(np.uint16)) for image in images
  )
  found = rule.ranges["infrared", "uint16"]
  assert (found.how, found.low) == ("percentile", pytest.approx(29_330, abs=20))


@pytest.mark.parametrize(
  ("image", "how", "low"),
  [
    (np.concatenate([np.zeros((10_002, 1, 1)), counts(29_315, 30_815, np.uint16)]), "full", 0),
    (np.concatenate([np.zeros((900, 1, 1)), counts(800, 2_100, np.uint16)]), "percentile", 0),
    (np.concatenate([np.zeros((900, 1, 1)), counts(20_000, 60_000, np.uint16)]), "full", 0),
    (np.concatenate([np.zeros((900, 1, 1)), np.full((999, 1, 1), 30_000)]), "full", 0),
  ],
)
def test_an_end_of_the_type_counts_where_it_may_be_a_value(image, how, low):
  found = Rule().find(image.astype(np.uint16))
  assert found.how == how and found.low == pytest.approx(low, abs=0.2)


def test_an_image_below_or_above_its_window_is_outside():
  rule = Rule.parse("window=10:20")
  for low, high, outside in [(0, 9, True), (0, 10, False), (20, 30, False), (21, 30, True)]:
    assert rule.find(counts(low, high, np.float32)).is_outside == outside
  assert not Rule().find(np.zeros((8, 8, 1), np.uint16)).is_outside


def test_a_border_does_not_hide_that_an_image_is_outside_of_its_window():
  image = np.concatenate([np.zeros((900, 1, 1)), counts(29_000, 30_000, np.uint16), [[[60_000]]]])
  image = image.astype(np.uint16)
  assert Rule.parse("window=-20:60").find(image[:-1]).is_outside
  assert Rule.parse("bits=8").find(image[:-1]).used == (29_000, 30_000)
  assert not Rule.parse("window=50000:61000").find(image).is_outside  # all but what is hot


def test_a_hot_spot_below_a_percent_is_stretched_from_all_values():
  image = np.full((100, 100, 1), 29_315, np.uint16)
  image[:5, :5] = 30_000
  found = Rule().find(image)
  assert (found.low, found.high) == (29_315, 30_000)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int32])
def test_a_constant_image_becomes_zero(dtype):
  image = np.full((8, 8, 1), 300, dtype)
  found = Rule("percentile").find(image)
  assert (found.low, found.high) == (300, 301)
  np.testing.assert_array_equal(found.to_unit(image, np.float32), np.zeros((8, 8, 1)))


@pytest.mark.parametrize(
  ("text", "low", "high"),
  [
    ("full", 0, 65535),
    ("bits=14", 0, 16383),
    ("bits=1", 0, 1),
    ("bits=16", 0, 2**16 - 1),
    ("window=29000:31000", 29_000, 31_000),
    ("window=-10.5:4e3", -10.5, 4000),
    ("percentile", 29_330, 30_800),
  ],
)
def test_rules(text, low, high):
  found = Rule.parse(text).find(counts(29_315, 30_815, np.uint16))
  assert (found.low, found.high) == (low, high) and found.how == text.split("=")[0]


@pytest.mark.parametrize(
  "text",
  ["", "Auto", "bits", "bits=0", "bits=33", "bits=1.5", "window=3", "window=3:3", "window=4:3"]
  + ["window=a:b", "window=0:inf", "window=nan:1", "window=1:2:3", "percentile=1"]
  + ["window=0:1e999", "window=-1e999:0"],
)
def test_what_is_no_rule_is_refused(text):
  with pytest.raises(InputError, match="normalize is .*allowed: "):
    ranges.parse(text)


def test_rules_by_name():
  found = ranges.parse("visible:bits=12, infrared:window=-20:40", ["visible", "infrared"])
  assert found.rule("visible") == Rule("bits", 0, 4095)
  assert found.rule("infrared") == Rule("window", -20, 40)
  assert ranges.parse({"infrared": "full"}).rule("visible") == Rule()
  assert ranges.parse("full").rule("any") == Rule("full")
  assert ranges.parse("bits=32").rule("any") == Rule("bits", 0, 2**32 - 1)
  both = ranges.parse("visible:full,infrared:bits=9", iter(("visible", "infrared")))
  assert both.rules == {"visible": Rule("full"), "infrared": Rule("bits", 0, 511)}
  for wrong in (None, 3, ["full"]):
    with pytest.raises(InputError, match="normalize is .*allowed: auto, full, .*NAME: RULE"):
      ranges.parse(wrong)
  for wrong in ("thermal:full", "full,percentile", "visible:full,percentile", {"ir": "full"}):
    with pytest.raises(InputError, match="allowed: one rule .* NAME:RULE of visible, infrared"):
      ranges.parse(wrong, ["visible", "infrared"])
  with pytest.raises(InputError, match="normalize_over is 'set'; allowed: image, folder"):
    ranges.parse("auto", over="set")


@pytest.mark.parametrize(
  ("image", "words"),
  [
    (np.full((8, 8, 1), 1.5), "ir has values from 1.5 to 1.5, and normalize=full takes float64"),
    (np.full((8, 8, 1), -1, np.int16), "int16 from 0 to 32767"),
    (np.full((8, 8, 1), np.nan), "ir: no pixel has a value"),
  ],
)
def test_full_refuses_what_lies_outside(image, words):
  with pytest.raises(InputError, match=words):
    Rule("full").find(image, label="ir")


@pytest.mark.parametrize(
  ("text", "dtype", "fits"),
  [
    ("bits=8", np.uint8, True),
    ("bits=9", np.uint8, False),
    ("bits=16", np.uint16, True),
    ("bits=17", np.uint16, False),
    ("bits=16", np.int16, False),
    ("bits=24", np.float32, True),
    ("window=0:300", np.uint8, True),
    ("window=254:300", np.uint8, True),
    ("window=255:300", np.uint8, False),
    ("window=29000:31000", np.uint8, False),
    ("window=29000:31000", np.float32, True),
  ],
)
def test_a_window_or_bits_beyond_a_type_are_refused(text, dtype, fits):
  image, rule = np.zeros((8, 8, 1), dtype), Rule.parse(text)
  if fits:
    assert rule.find(image).low == rule.low
    return
  with pytest.raises(InputError, match=f"^ir is of .*{text} does not fit; give .*infrared:{text}$"):
    rule.find(image, label="ir")
  with pytest.raises(InputError, match="^ir is of "):  # before any is read
    range_lines.describe_types([("ir", np.dtype(dtype))], ranges.Normalizer(default=rule), "image")


def test_full_takes_a_type_to_its_ends():
  found = Rule("full").find(counts(0, 65535, np.uint16))
  assert (found.low, found.high, found.used) == (0, 65535, (0, 65535))


def test_large_numbers_keep_their_differences_in_a_narrow_window():
  image = np.array([3_000_000_000, 3_000_000_375, 3_000_001_500], np.uint32)
  found = Rule.parse("window=3000000000:3000001500").find(image)
  np.testing.assert_array_equal(found.to_unit(image, np.dtype(np.float32)), [0, 0.25, 1])


def test_a_summary_is_an_image_of_1024_pixels_itself_and_quantiles_of_a_larger_one(random):
  image = random.normal(size=(32, 32, 1))
  np.testing.assert_array_equal(ranges.summarise(image), image.ravel())
  more = np.append(image, 9.0)
  wanted = np.quantile(more, (np.arange(1024) + 0.5) / 1024)
  np.testing.assert_allclose(ranges.summarise(more), wanted, rtol=1e-12)


def test_a_window_clips_and_missing_values_are_its_lower_end():
  image = np.array([[[-5.0], [0.0], [10.0], [20.0], [25.0], [np.nan]]])
  found = Rule.parse("window=0:20").find(image)
  assert found.to_unit(image, np.float32).ravel().tolist() == [0, 0, 0.5, 1, 1, 0]
  assert found.missing == 1 and found.used == (-5, 25)


def test_missing_values_do_not_count():
  image = counts(0, 100, np.float64)
  spoilt = np.concatenate([image, np.full((5000, 1, 1), np.nan)])
  assert Rule().find(spoilt).low == Rule().find(image).low
  assert Rule().find(spoilt).high == Rule().find(image).high
  assert ranges.summarise(spoilt).tolist() == ranges.summarise(image).tolist()


@pytest.mark.parametrize("text", ["auto", "percentile", "full"])
def test_values_that_a_mask_leaves_out_do_not_count(text):
  image, rule = counts(100, 140, np.uint16), ranges.parse(text)
  valid = np.arange(image.size).reshape(image.shape) % 3 > 0
  spoilt = np.where(valid, image, 65535).astype(np.uint16)
  found = rule.find("x", spoilt, valid=valid)
  alone = rule.find("x", image[valid])
  assert (found.low, found.high, found.used) == (alone.low, alone.high, alone.used)
  assert found.missing == (~valid).sum() > 0
  assert ranges.summarise(spoilt, valid).tolist() == ranges.summarise(image[valid]).tolist()
  folder = rule.of_folder([("x", ranges.summarise(image), image.dtype)])
  assert folder.find("x", spoilt, valid=valid).missing == found.missing
  eight = rule.find("x", image.astype(np.uint8), valid=valid)
  assert text == "percentile" or (eight.how, eight.missing) == ("full", found.missing)
  with pytest.raises(InputError, match="x: no pixel has a value"):
    Rule("percentile").find(image, label="x", valid=np.zeros_like(valid))


@pytest.mark.parametrize("seed", range(3))
def test_a_folder_has_the_percentiles_of_all_its_pixels(seed):
  random = np.random.default_rng(seed)
  images = [
    random.normal(29_000 + 100 * i, 50 + 20 * i, (60, 80, 1)).astype(np.uint16) for i in range(6)
  ]
  normalizer = ranges.parse("auto", over="folder").of_folder(
    ("infrared", ranges.summarise(i), i.dtype) for i in images
  )
  low, high = np.percentile(np.concatenate(images), (1, 99))
  for image in images:
    found = normalizer.find("infrared", image)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.01 * (high - low))
  # A type that the folder does not hold is judged by itself.
  assert normalizer.find("infrared", np.zeros((8, 8, 1), np.uint8)).how == "full"


def test_narrow_images_of_a_wide_folder_are_taken_as_they_are():
  images = [np.full((8, 8, 1), v, np.uint16) for v in (0, 30_000, 60_000)]
  normalizer = ranges.parse("auto", over="folder").of_folder(
    ("infrared", ranges.summarise(i), i.dtype) for i in images
  )
  assert {normalizer.find("infrared", i).how for i in images} == {"full"}


def test_to_unsigned_keeps_what_a_rule_keeps_and_fills_16_bits_with_the_rest():
  auto, full, percentile = (ranges.parse(text) for text in ("auto", "full", "percentile"))
  eight, wide = counts(0, 255, np.uint8), counts(0, 65535, np.uint16)
  narrow = counts(29_315, 30_815, np.uint16)
  assert ranges.to_unsigned(eight, "x", auto) is eight
  assert ranges.to_unsigned(eight, "x", ranges.parse("bits=8")) is eight
  assert ranges.to_unsigned(wide, "x", auto) is wide
  assert ranges.to_unsigned(narrow, "x", full) is narrow
  for image, normalizer in ((narrow, auto), (eight, percentile), (RAMP * 40 - 20, auto)):
    found = ranges.to_unsigned(image, "x", normalizer)
    assert found.dtype == np.uint16 and (found.min(), found.max()) == (0, 65535)
    middle = found[len(found) // 2].item()
    assert middle == pytest.approx(32768, abs=150)
  unit = ranges.to_unsigned(RAMP, "x", auto)
  np.testing.assert_array_equal(unit, np.rint(RAMP * 65535).astype(np.uint16))


@pytest.mark.parametrize("rule", [{"visible": 3}, {"infrared": None}])
def test_a_rule_that_is_no_text_is_refused(rule):
  with pytest.raises(InputError, match="normalize is .*; allowed: auto, full"):
    ranges.parse(rule)


@pytest.mark.parametrize(
  ("dtype", "expected"),
  [(np.uint8, [0, 0, 2, 255]), (np.int16, [-3, 0, 2, 300]), (np.float32, [-2.6, 0.4, 1.5, 300])],
)
def test_values_become_those_that_a_type_holds(dtype, expected):
  found = ranges.to_type(np.array([-2.6, 0.4, 1.5, 300]), dtype)
  assert found.dtype == dtype
  np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_window_beside_the_rules_is_that_of_one_name():
  found = ranges.parse("visible:full", ["visible", "infrared"]).with_window("infrared", "0C:40C")
  assert found.rule("visible") == Rule("full")
  assert found.rule("infrared") == Rule("window", 273.15, 313.15, "auto")
  assert found.rule("infrared").is_open(np.dtype(np.float32))  # its unit is not known before
  assert (
    ranges.parse("percentile").with_window("infrared", "").rule("infrared").kind == "percentile"
  )
  for text in ("infrared:full", "window=0:3"):
    with pytest.raises(InputError, match="window=0C:40C and a rule of normalize for infrared"):
      ranges.parse(text).with_window("infrared", "0C:40C")
