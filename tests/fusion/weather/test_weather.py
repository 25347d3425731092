"""Weather: what each kind does to both images, how much of it, and what it leaves alone."""

import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cfi_jax.core.types import InputError
from cfi_jax.fusion import weather as weather_lib
from cfi_jax.fusion.types import Pair
from cfi_jax.fusion.weather import KINDS, LEVELS, WeatherOptions, depth, thermal, visible

H, W = 48, 64
KEY = jax.random.key(3)
DEPTH = jnp.broadcast_to(jnp.linspace(1, 0, H).reshape(H, 1, 1), (H, W, 1))


@functools.cache
def pair(channels=3):
  visible_key, infrared_key = jax.random.split(jax.random.key(0))
  images = (jax.random.uniform(visible_key, (H, W, channels)) * 0.4 + 0.1,)
  return Pair(*images, jax.random.uniform(infrared_key, (H, W, 1)) * 0.6 + 0.2)


@jax.jit
def degraded(key, images, weather):
  """One program for all kinds of weather."""
  return weather_lib.degrade(key, images, DEPTH, weather)


of_strength = jax.jit(weather_lib.of_strength, static_argnums=1)


def made(key, amount, kind, channels=3):
  drawn = of_strength(key, kind, amount)
  return degraded(key, pair(channels), drawn), drawn


@functools.partial(jax.jit, static_argnums=1)
def drawn(key, options):
  return jax.vmap(lambda k: weather_lib.draw(k, options))(jax.random.split(key, 64))


@pytest.mark.parametrize("kind", KINDS)
def test_no_amount_changes_nothing_and_more_changes_more(kind):
  level = np.array(LEVELS["heavy"][KINDS.index(kind)]).mean()
  clean = pair()
  none, _ = made(KEY, 0.0, kind)
  np.testing.assert_allclose(none.visible, clean.visible, atol=1e-6)
  np.testing.assert_allclose(none.infrared, clean.infrared, atol=1e-6)
  errors = [
    [float(jnp.abs(getattr(made(KEY, a, kind)[0], m) - getattr(clean, m)).mean()) for a in amounts]
    for m, amounts in (("visible", (level / 3, level)), ("infrared", (level / 3, level)))
  ]
  for less, more in errors:
    assert 0 < less < more, (kind, errors)


@pytest.mark.parametrize("kind", KINDS)
def test_the_key_and_the_weather_alone_decide(kind):
  amount = LEVELS["medium"][KINDS.index(kind)][0]
  first, again, other = (made(k, amount, kind)[0] for k in (KEY, KEY, jax.random.key(4)))
  np.testing.assert_array_equal(first.visible, again.visible)
  np.testing.assert_array_equal(first.infrared, again.infrared)
  assert jnp.abs(first.visible - other.visible).max() > 0.01


def test_haze_is_koschmieder_s():
  seen, weather = made(KEY, 2.0, "haze")
  kept = np.exp(-2.0 * DEPTH)
  expected = np.asarray(pair().visible) * kept + np.asarray(weather.airlight[0] + weather.tint) * (
    1 - np.asarray(kept)
  )
  error = np.asarray(seen.visible - jnp.clip(expected, 0, 1))
  assert np.abs(error).max() < 5 * visible.SENSOR_NOISE  # the noise that scattering does not dim
  assert 0.3 < error[: H // 2].std() / visible.SENSOR_NOISE < 1.1
  assert np.abs(error[-1]).max() < 1e-6  # at no distance nothing is lost


def test_haze_on_grey_is_grey():
  seen, weather = made(KEY, 50.0, "haze", 1)
  assert seen.visible.shape == (H, W, 1)
  far = float(seen.visible[0].mean())
  assert abs(far - min(float(weather.airlight[0] + weather.tint.mean()), 1)) < 0.01


def test_rain_brightens_along_its_direction_and_more_of_it_covers_more():
  def cover(rate):
    weather = made(KEY, rate, "rain")[1].replace(angle=jnp.array(0.0))
    return np.asarray(visible.streaks(KEY, weather, H * 2, W * 2, 1.0))[..., 0]

  light, heavy = cover(2.0), cover(12.0)
  assert light.min() >= 0 and heavy.max() <= 1
  assert (light > 0.05).mean() < (heavy > 0.05).mean()
  # Of vertical streaks a pixel is more like the one below than like the one beside it.
  down = np.corrcoef(heavy[:-4].ravel(), heavy[4:].ravel())[0, 1]
  across = np.corrcoef(heavy[:, :-4].ravel(), heavy[:, 4:].ravel())[0, 1]
  assert down > across + 0.3, (down, across)


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_flakes_cover_about_the_share_that_they_are_said_to(share):
  weather = made(KEY, share, "snow")[1].replace(motion=jnp.array(0.0))
  cover = np.asarray(visible.flakes(KEY, weather, 240, 320, 1.0))
  assert 0.5 * share < (cover > 0.15).mean() < 1.6 * share


def test_mixtures_have_the_optical_depth_of_all_and_a_light_between():
  both = made(KEY, 1.0, "haze")[1].replace(rain=jnp.array(5.0))
  depths = visible.optical_depths(both, DEPTH)
  np.testing.assert_allclose(depths[0], DEPTH, atol=1e-6)
  assert depths[1].max() == pytest.approx(0.312 * 5**0.67 * visible.FAR_END, rel=1e-5)
  assert float(depths[2].max()) == 0
  dark = jnp.zeros((H, W, 3))
  seen = np.asarray(visible.scatter(KEY, dark, both.replace(haze=jnp.array(40.0)), DEPTH))[0].mean()
  low, high = sorted(float(a) for a in both.airlight[:2])
  assert low - 0.05 < seen < high + 0.05


def test_thermal_contrast_falls_towards_cold_air():
  seen, weather = made(KEY, 3.0, "haze")
  weather = weather.replace(thermal_noise=jnp.array(0.0), row_noise=jnp.array(0.0))
  weather = weather.replace(thermal_blur=jnp.array(0.0), gain=jnp.array(1.0))
  clean = pair().infrared
  felt = thermal.physical(KEY, clean, weather, DEPTH)
  kept = np.exp(-float(weather.thermal_ratio[0]) * 3.0 * np.asarray(DEPTH))
  air = float(clean.mean() - weather.air * clean.std())
  np.testing.assert_allclose(felt, kept * np.asarray(clean) + (1 - kept) * air, atol=1e-5)
  assert felt[: H // 4].std() < clean[: H // 4].std()


def test_the_attenuated_model_dims_what_is_far():
  weather = made(KEY, 1.0, "haze")[1].replace(attenuated=jnp.array(True))
  seen = degraded(KEY, pair(), weather)
  ratio = np.asarray(seen.infrared / pair().infrared)
  np.testing.assert_allclose(ratio[..., 0].mean(1), np.linspace(0.35, 1, H), atol=1e-5)


def test_draws_follow_the_options():
  options = WeatherOptions(("rain", "snow+haze"), ("light", "heavy"), ("attenuated",), 0.25)
  weather = drawn(KEY, options)
  amounts = np.stack([weather.haze, weather.rain, weather.snow], 1)
  clear = (amounts == 0).all(1)
  assert 0.1 < clear.mean() < 0.45
  rains, mixed = (amounts[:, 1] > 0), (amounts[:, 0] > 0)
  np.testing.assert_array_equal(mixed, amounts[:, 2] > 0)
  assert rains.any() and mixed.any() and not (rains & mixed).any()
  for index in range(3):
    values = amounts[:, index][amounts[:, index] > 0]
    light, heavy = LEVELS["light"][index], LEVELS["heavy"][index]
    inside = [((low <= values) & (values <= high)) for low, high in (light, heavy)]
    assert (inside[0] | inside[1]).all() and inside[0].any() and inside[1].any()
  assert weather.attenuated.all()
  ratio = np.asarray(weather.thermal_ratio)
  assert (ratio[:, 0] <= 0.4).all() and (ratio[:, 1:] >= 0.7).all()


def test_levels_are_those_of_the_documents():
  assert LEVELS == {
    "light": ((0.8, 1.5), (1.0, 2.5), (0.015, 0.03)),
    "medium": ((1.5, 2.5), (2.5, 7.6), (0.04, 0.06)),
    "heavy": ((2.5, 4.0), (7.6, 15.0), (0.08, 0.12)),
  }


def test_levels_are_ordered_and_no_kind_is_none():
  for index in range(3):
    ends = [end for level in LEVELS.values() for end in level[index]]
    assert ends == sorted(ends)
  weather = drawn(KEY, WeatherOptions((), ("light",), ("physical",), 0.0))
  assert not np.asarray(weather.amounts).any()


@pytest.mark.parametrize(
  "change, message",
  [
    (dict(kinds=("hail",)), "hail.*haze, rain, snow"),
    (dict(kinds=("rain+rain",)), "each once"),
    (dict(levels=("extreme",)), "weather.levels.*extreme.*light, medium, heavy"),
    (dict(levels=()), "weather.levels"),
    (dict(thermal=("magic",)), "weather.thermal.*magic.*physical, attenuated"),
    (dict(clear=1.5), "weather.clear is 1.5"),
    (dict(clear=float("nan")), "weather.clear is nan"),
  ],
)
def test_options_out_of_range_are_refused(change, message):
  good = dict(kinds=("rain",), levels=("light",), thermal=("physical",), clear=0.0)
  with pytest.raises(InputError, match=message):
    WeatherOptions(**(good | change))


def test_what_was_drawn_can_be_written_down():
  _, weather = made(KEY, 5.0, "rain")
  described = weather_lib.describe(weather)
  assert described["rain"] == pytest.approx(5.0) and described["attenuated"] is False
  assert set(described["airlight"]) == set(KINDS) and len(described["tint"]) == 3
  assert set(described) == set(vars(weather))


@functools.partial(jax.jit, static_argnums=0)
def planes(count):
  return jax.vmap(lambda k: depth.plane(k, H, W))(jax.random.split(KEY, count))


def test_a_plane_is_near_below_and_far_above():
  ground = np.asarray(planes(16))[..., 0]
  assert ground.min() >= 0 and ground.max() <= 1
  assert (ground[:, -1].mean(1) < 0.25).all() and (ground[:, : H // 5].mean((1, 2)) > 0.8).all()


def test_depth_follows_the_edges_of_the_photograph():
  guide = np.zeros((H, W, 1), np.float32)
  guide[:, W // 2 :] = 1
  noisy = guide + 0.3 * np.asarray(jax.random.normal(KEY, guide.shape))
  smooth = np.asarray(depth.guided_filter(jnp.asarray(guide), jnp.asarray(noisy), 4))
  assert np.abs(smooth - guide).mean() < 0.25 * np.abs(noisy - guide).mean()
  step = smooth[:, W // 2].mean() - smooth[:, W // 2 - 1].mean()
  assert step > 0.9


def test_the_dark_channel_takes_a_white_sky_for_far():
  photograph = jnp.concatenate([jnp.full((H // 2, W, 3), 0.9), jnp.full((H // 2, W, 3), 0.2)])
  far = depth.dark_channel(photograph.at[H // 2 :, :, 0].set(0.05))
  assert far[0].min() == pytest.approx(1, abs=1e-5) and far[-1].max() < 0.1


def test_a_window_shows_a_part_of_the_picture():
  whole, top = (
    weather_lib.surrogate(KEY, pair().visible, window=w) for w in ((0.0, 1.0), (0.0, 0.25))
  )
  assert whole.shape == (H, W, 1) and whole.min() >= 0 and whole.max() <= 1
  assert top.mean() > whole.mean() + 0.1


@pytest.mark.parametrize(("height", "reach"), [(12, 1), (32, 1), (64, 2), (90, 3)])
def test_the_dark_channel_is_the_least_of_a_square_patch(height, reach):
  photograph = np.asarray(jax.random.uniform(KEY, (height, 40, 3)))
  dark = ndimage.minimum_filter(photograph.min(-1), 2 * reach + 1, mode="nearest")
  far = -np.log(1 - 0.95 * dark)
  found = depth.dark_channel(jnp.asarray(photograph))[..., 0]
  np.testing.assert_allclose(found, far / far.max(), atol=1e-5)


def test_a_guided_filter_is_the_regression_on_the_guide_in_boxes():
  guide, noisy = np.asarray(jax.random.uniform(KEY, (2, 20, 24, 1)), np.float64)[..., 0]
  radius = 3

  def mean(image):  # over the neighbours that there are
    size = 2 * radius + 1
    total, count = (
      ndimage.uniform_filter(x, size, mode="constant") for x in (image, np.ones_like(image))
    )
    return total / count

  slope = mean(guide * noisy) - mean(guide) * mean(noisy)
  slope /= mean(guide**2) - mean(guide) ** 2 + 1e-3
  expected = mean(slope) * guide + mean(mean(noisy) - slope * mean(guide))
  found = depth.guided_filter(jnp.asarray(guide)[..., None], jnp.asarray(noisy)[..., None], radius)
  np.testing.assert_allclose(found[..., 0], expected, atol=1e-4)


@pytest.mark.parametrize("rate", [2.0, 25.0])
@pytest.mark.parametrize("scale", [0.125, 2.0])
def test_streaks_are_as_many_and_as_long_as_the_rain_rate_says(monkeypatch, rate, scale):
  lines, dots = [], []
  monkeypatch.setattr(visible, "_line", lambda *given: lines.append(given))
  monkeypatch.setattr(visible, "_impulses", lambda *given: dots.append(given))
  monkeypatch.setattr(visible, "_cast", lambda layers: jnp.zeros(len(layers)))
  weather = weather_lib.of_strength(KEY, "rain", rate)
  visible.streaks(KEY, weather, H, W, scale)
  slope = 4.1 * rate**-0.21
  heads = 8000 / slope * np.exp(-slope) / 1e4 / 100
  length = 16 * np.sqrt(rate / 1.2) * float(weather.length) * scale
  for size, line, dot in zip((1.0, 0.7, 0.5), lines, dots, strict=True):
    assert line[:2] == dot[1:3] == (H, W)
    assert abs(float(line[2] - weather.angle)) < 0.25  # 0.05 is its standard deviation
    width = max(float(weather.width) * scale, 0.5)
    np.testing.assert_allclose(line[3:], (length * size, width), rtol=1e-5)
    opacity = [float(weather.opacity) * end * size for end in (0.1, 0.35)]
    np.testing.assert_allclose(dot[3:], [heads / size / max(scale, 0.25), *opacity], rtol=1e-4)
  assert len({float(line[2]) for line in lines}) == 3


@pytest.mark.parametrize("scale", [0.1, 2.0])
def test_flakes_are_of_the_sizes_and_numbers_of_their_classes(monkeypatch, scale):
  shapes, dots = [], []
  monkeypatch.setattr(visible, "_flake", lambda *given: shapes.append(given))
  monkeypatch.setattr(visible, "_impulses", lambda *given: dots.append(given))
  monkeypatch.setattr(visible, "_cast", lambda layers: jnp.zeros(len(layers)))
  weather = weather_lib.of_strength(KEY, "snow", 0.1)
  visible.flakes(KEY, weather, H, W, scale)
  classes = (((0.7, 1.5), 0.7), ((1.5, 3.0), 0.25), ((3.0, 7.0), 0.05))
  # The mean of pi r^2 where r is uniform from low to high.
  area = sum(s * np.pi * (b**3 - a**3) / (3 * (b - a)) * scale**2 for (a, b), s in classes)
  each = [(ends, share, half) for ends, share in classes for half in range(2)]
  for ((low, high), share, half), shape, dot in zip(each, shapes, dots, strict=True):
    middle = (low + high) / 2
    ends = ((low, middle), (middle, high))[half]
    assert ends[0] * scale <= shape[2] <= ends[1] * scale
    assert 0.6 <= shape[3] <= 1 and 0 <= shape[4] <= np.pi and shape[5] is weather
    assert float(shape[6]) == pytest.approx(float(weather.motion) * scale)
    assert float(dot[3]) == pytest.approx(0.1 / max(area, 1) * share / 2, rel=1e-4)
    assert dot[4:] == (0.3, 1.0)


def test_a_line_has_a_gaussian_profile_and_faint_ends():
  found = visible._line(32, 40, jnp.array(0.3), jnp.array(12.0), jnp.array(1.5))
  y, x = np.mgrid[:32, :40]
  y, x = np.where(y >= 16, y - 32, y), np.where(x >= 20, x - 40, x)
  across, along = x * np.cos(0.3) - y * np.sin(0.3), x * np.sin(0.3) + y * np.cos(0.3)
  end = np.clip((6 - np.abs(along)) / 3, 0, 1)
  np.testing.assert_allclose(found, np.exp(-0.5 * (across / 1.5) ** 2) * end, atol=1e-5)


def test_what_is_cast_is_the_sum_of_circular_convolutions_cut_at_one():
  rng = np.random.default_rng(0)
  layers = [(rng.random((6, 8)) * (rng.random((6, 8)) < 0.2), rng.random((6, 8))) for _ in range(2)]
  expected = sum(
    dots[i, j] * np.roll(shape, (i, j), (0, 1))
    for dots, shape in layers
    for i in range(6)
    for j in range(8)
  )
  found = visible._cast([(jnp.asarray(a), jnp.asarray(b)) for a, b in layers])
  assert expected.max() > 1
  np.testing.assert_allclose(found[..., 0], np.clip(expected, 0, 1), atol=1e-5)


def test_optical_depths_are_those_of_the_documents():
  weather = made(KEY, 1.0, "haze")[1].replace(rain=jnp.array(8.0), snow=jnp.array(0.05))
  haze, rain, snow = visible.optical_depths(weather, DEPTH)
  np.testing.assert_allclose(haze, DEPTH, rtol=1e-5)
  np.testing.assert_allclose(rain, 0.312 * 8**0.67 * 0.4 * np.asarray(DEPTH), rtol=1e-4)
  np.testing.assert_allclose(snow, 1.36 * 0.05**0.65 * (0.7 + 0.3 * np.asarray(DEPTH)), rtol=1e-4)


def test_a_plane_falls_with_the_distance_below_the_horizon():
  key = jax.random.key(5)
  horizon_key, near_key, _ = jax.random.split(key, 3)
  horizon = float(jax.random.uniform(horizon_key, (), minval=0.3, maxval=0.6))
  near = float(jax.random.uniform(near_key, (), minval=0.02, maxval=0.08))
  for top, bottom in ((0.0, 1.0), (0.5, 0.75)):
    y = top + (bottom - top) * (np.arange(40) + 0.5) / 40
    level = np.minimum(near / np.maximum(y - horizon, near), 1)
    found = np.asarray(depth.plane(key, 40, 400, (top, bottom)))[..., 0]
    sky = level == 1
    assert np.abs(found[~sky].mean(1) / level[~sky] - 1).max() < 0.06  # hills of a tenth, averaged
    assert (found[sky] > 0.6).all() and found.max() <= 1


@pytest.mark.parametrize("deviation", [0.0, 0.4, 1.0])
def test_the_thermal_blur_is_a_gaussian_of_five_taps(deviation):
  image = np.asarray(jax.random.uniform(KEY, (9, 12)))
  taps = np.exp(-0.5 * (np.arange(-2, 3) / max(deviation, 0.01)) ** 2)
  expected = image
  for axis in range(2):
    expected = ndimage.correlate1d(expected, taps / taps.sum(), axis, mode="nearest")
  found = thermal._blur(jnp.asarray(image)[..., None], jnp.array(deviation))
  np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)


def test_a_thermal_camera_has_gain_noise_and_rows_by_what_is_lost():
  weather = made(KEY, 3.0, "haze")[1].replace(thermal_blur=jnp.array(0.0))
  clean = np.asarray(pair().infrared, np.float64)
  kept = np.exp(-float(weather.thermal_ratio[0]) * 3.0 * np.asarray(DEPTH, np.float64))
  lost = 1 - kept.mean()
  seen = kept * clean + (1 - kept) * max(clean.mean() - float(weather.air) * clean.std(), 0)
  seen = seen.mean() + (1 + (float(weather.gain) - 1) * lost) * (seen - seen.mean())
  pixel_key, row_key = jax.random.split(KEY)
  noise = float(weather.thermal_noise) * jax.random.normal(pixel_key, clean.shape)
  rows = 0.003 * jax.random.normal(row_key, (H, 1, 1))
  found = thermal.physical(KEY, jnp.asarray(clean, jnp.float32), weather, DEPTH)
  np.testing.assert_allclose(found, seen + lost * np.asarray(noise + rows), atol=1e-5)


def test_a_flake_is_an_ellipse_drawn_out_along_its_drift():
  radius, roundness, turn, drift, motion = 3.0, 0.7, 0.4, 1.1, 6.0
  weather = types.SimpleNamespace(drift=jnp.array(drift))
  found = visible._flake(24, 30, *map(jnp.array, (radius, roundness, turn)), weather, motion)
  y, x = np.mgrid[:24, :30]
  y, x = np.where(y >= 12, y - 24, y), np.where(x >= 15, x - 30, x)
  nearest = np.full(y.shape, np.inf)
  for moved in np.linspace(-motion / 2, motion / 2, 2001):  # the ellipse at every place of its way
    u, v = x - moved * np.sin(drift), y - moved * np.cos(drift)
    across, along = u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)
    nearest = np.minimum(nearest, np.hypot(across / roundness, along))
  soft = radius / 2
  expected = np.clip((radius + soft / 2 - nearest) / soft, 0, 1) * radius / (radius + motion / 8)
  # The package takes the nearest place without the roundness, which is off where it is oblique.
  assert np.abs(np.asarray(found) - expected).mean() < 0.02
  assert float(found[0, 0]) == pytest.approx(radius / (radius + motion / 8), rel=1e-5)
  still = visible._flake(24, 30, *map(jnp.array, (radius, roundness, turn)), weather, 0.0)
  across, along = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
  exact = np.clip((radius + soft / 2 - np.hypot(across / roundness, along)) / soft, 0, 1)
  np.testing.assert_allclose(still, exact, atol=1e-5)


PARTICULARS = {
  "tint": (-0.03, 0.03), "angle": (-0.44, 0.44), "length": (0.75, 1.25), "width": (0.5, 1.0),
  "opacity": (0.6, 1.0), "flakes": (0.85, 1.0), "drift": (0, np.pi), "motion": (0, 8),
  "air": (0, 1), "gain": (0.8, 1.2), "thermal_noise": (0.005, 0.02), "thermal_blur": (0, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", PARTICULARS)
def test_particulars_fill_their_ranges(name):
  low, high = PARTICULARS[name]
  values = getattr(drawn(KEY, WeatherOptions(("rain",), ("light",), ("physical",), 0.0)), name)
  share = (np.asarray(values).ravel() - low) / (high - low)
  assert share.min() >= -1e-6 and share.max() <= 1 + 1e-6
  assert share.min() < 0.12 and share.max() > 0.88
