"""Samples: five images as they are, or a clean pair with weather and its pseudo ground truth."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax import datasets, systems
from cfi_jax.core.types import InputError
from cfi_jax.fusion.rule_options import WaveletOptions
from cfi_jax.fusion.weather import WeatherOptions
from cfi_jax.systems.amgfuse import pseudo, recipes, samples

SIDE = 32
KEY = jax.random.key(0)
TARGET = WaveletOptions(planes=2, exponent=4.0, gain=1.0, spread=0.5, brighter=0.0)
HAZE = WeatherOptions(("haze",), ("heavy",), ("physical",), 0.0)
CLEAR = dataclasses.replace(HAZE, kinds=())


def images(*names):
  keys = jax.random.split(jax.random.key(1), len(names))
  return {n: jax.random.uniform(k, (SIDE, SIDE, 1)) * 0.5 for n, k in zip(names, keys, strict=True)}


pytestmark = pytest.mark.usefixtures("compiled_weather", "compiled_rule")


@pytest.fixture(scope="module")
def compiled_rule():
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(samples, "fuse_by_rule", jax.jit(samples.fuse_by_rule, static_argnums=2))
    yield


def scene(given, key, weather):
  return samples.make_scene(given, key, weather, TARGET)


def test_a_clean_pair_is_seen_under_weather_and_stays_clean_itself():
  given = images("visible", "infrared")
  made = scene(given, KEY, HAZE)
  clear = scene(given, KEY, CLEAR)
  assert made.visible.shape == (SIDE, SIDE, 3) and made.infrared.shape == (SIDE, SIDE, 1)
  np.testing.assert_array_equal(made.clean_visible[..., :1], given["visible"])
  np.testing.assert_array_equal(made.clean_infrared, given["infrared"])
  assert made.visible.mean() > made.clean_visible.mean() + 0.1
  assert jnp.abs(made.infrared - made.clean_infrared).max() > 1e-3
  np.testing.assert_array_equal(clear.visible, clear.clean_visible)
  # The pseudo ground truth is a fusion of the clean images, whatever the weather.
  np.testing.assert_allclose(made.pseudo, clear.pseudo, atol=1e-6)
  expected = samples.fuse_by_rule(clear.clean_visible, clear.clean_infrared, TARGET)
  np.testing.assert_allclose(made.pseudo, expected, atol=1e-6)


def test_keys_draw_other_weather():
  given = images("visible", "infrared")
  first, again, other = (scene(given, k, HAZE) for k in (KEY, KEY, jax.random.key(9)))
  np.testing.assert_array_equal(first.visible, again.visible)
  assert jnp.abs(first.visible - other.visible).max() > 0.02


def test_own_depth_decides_where_the_weather_is():
  given = images("visible", "infrared")
  given["depth"] = jnp.zeros((SIDE, SIDE, 1)).at[:, SIDE // 2 :].set(1.0)
  made = scene(given, KEY, HAZE)
  change = jnp.abs(made.visible - made.clean_visible).mean((0, 2))
  assert change[: SIDE // 2].max() < 1e-6 and change[SIDE // 2 :].min() > 0.1


def test_five_images_are_taken_as_they_are():
  given = images("visible", "infrared", "clean_visible", "clean_infrared", "pseudo")
  made = scene(given, KEY, HAZE)
  for name, image in given.items():
    np.testing.assert_array_equal(getattr(made, name)[..., :1], image)


class Teacher:
  """A fuser whose pictures are half as bright as the visible image."""

  def fuse(self, visible, infrared, *, normalize):
    assert normalize == "bits=8" and infrared.shape[-1] == 1
    return visible // 2


def world():
  config = recipes.small()
  config.data.update(size=SIDE, scenes=3, validation_scenes=1)
  return config


def test_a_model_makes_the_pseudo_ground_truth(monkeypatch):
  config = systems.configure(world().to_dict())[1]
  source = datasets.load(config.data).source("train")
  monkeypatch.setattr(pseudo.files, "load_fuser", lambda weights: Teacher())
  options = dataclasses.replace(config.pseudo, weights="medical")
  taught = pseudo.with_fusion(source, options, "bits=8").coloured(("visible",))
  found = taught[1]
  np.testing.assert_array_equal(found["pseudo"], np.repeat(source[1]["visible"] // 2, 3, -1))
  assert set(found) == {"visible", "infrared", "depth", "pseudo"} and len(taught) == 3
  assert taught.check_headers()[0]["pseudo"].channels == 3
  assert taught.fingerprint().startswith(source.fingerprint())
  assert taught.fingerprint() != source.fingerprint() and taught.names == source.names
  given = {name: jnp.asarray(image) / 255 for name, image in found.items()}
  np.testing.assert_allclose(scene(given, KEY, CLEAR).pseudo, given["pseudo"], atol=1e-6)
  with pytest.raises(InputError, match="pseudo ground truth of its own"):
    pseudo.with_fusion(taught, options, "bits=8")
  assert pseudo.with_fusion(source, config.pseudo, "bits=8") is source


@pytest.mark.parametrize("weights", ["nowhere.safetensors", "medicine"])
def test_a_teacher_that_is_not_there_is_refused(weights):
  config = systems.configure(world().to_dict())[1]
  options = dataclasses.replace(config.pseudo, weights=weights)
  source = datasets.load(config.data).source("train")
  with pytest.raises(InputError, match=f"{weights}.*does not exist"):
    pseudo.with_fusion(source, options, "auto")
