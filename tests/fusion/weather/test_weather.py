"""Weather: what each kind does to both images, how much of it, and what it leaves alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion import weather as weather_lib
from cfi_jax.fusion.types import Pair
from cfi_jax.fusion.weather import KINDS, LEVELS, WeatherOptions, depth, thermal, visible

H, W = 48, 64
KEY = jax.random.key(3)
DEPTH = jnp.broadcast_to(jnp.linspace(1, 0, H).reshape(H, 1, 1), (H, W, 1))


def pair(channels=3):
  visible_key, infrared_key = jax.random.split(jax.random.key(0))
  images = (jax.random.uniform(visible_key, (H, W, channels)) * 0.4 + 0.1,)
  return Pair(*images, jax.random.uniform(infrared_key, (H, W, 1)) * 0.6 + 0.2)


@functools.partial(jax.jit, static_argnums=(2, 3))
def made(key, amount, kind, channels=3):
  drawn = weather_lib.of_strength(key, kind, amount)
  return weather_lib.degrade(key, pair(channels), DEPTH, drawn), drawn


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
  seen = weather_lib.degrade(KEY, pair(), DEPTH, weather)
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
