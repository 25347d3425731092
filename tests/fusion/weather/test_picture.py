"""Weather on pictures of any size: the canvas that is computed, and what decides it."""

import types

import jax
import numpy as np

from cfi_jax.core import keys
from cfi_jax.fusion.types import Pair
from cfi_jax.fusion.weather import picture


def test_a_picture_is_computed_on_a_mirrored_canvas(monkeypatch):
  rng = np.random.default_rng(0)
  pair = Pair(rng.random((130, 128, 3), np.float32), rng.random((130, 128, 1), np.float32))
  asked = []
  monkeypatch.setattr(picture, "_draw", lambda key, options: (key, options))
  monkeypatch.setattr(picture, "_degrade", lambda key, pair, *given: asked.append(given) or pair)
  seen, (key, options) = picture.on_picture(5, "a/b", pair, "options")
  assert key == keys.fold(jax.random.key(5), "a/b") and options == "options"
  assert asked == [(np.float32(1 + 126 / 130), np.float32(130 / 480), (key, options))]
  jax.tree.map(np.testing.assert_array_equal, seen, pair)

  monkeypatch.setattr(picture, "_degrade", lambda key, pair, *_: asked.append(pair) or pair)
  picture.on_picture(5, "a/b", pair, "options")
  for name, image in vars(pair).items():
    canvas = getattr(asked[-1], name)
    assert canvas.shape == (256, 128, image.shape[-1])
    np.testing.assert_array_equal(canvas, np.concatenate([image, image[:3:-1]]))


def test_depth_and_weather_have_keys_of_their_own(monkeypatch):
  key, asked = jax.random.key(1), []
  monkeypatch.setattr(picture, "draw", lambda *given: given)
  monkeypatch.setattr(picture, "surrogate", lambda *given, window: asked.append(window) or given)
  monkeypatch.setattr(picture, "degrade", lambda *given, scale: (*given, scale))
  assert picture._draw.__wrapped__(key, "options") == (keys.fold(key, "draw"), "options")
  pair = types.SimpleNamespace(visible="visible")
  found = picture._degrade.__wrapped__(key, pair, 1.5, 0.25, "weather")
  depth = keys.fold(key, "depth"), "visible"
  assert found == (keys.fold(key, "degrade"), pair, depth, "weather", 0.25)
  assert asked == [(0, 1.5)]


def test_the_last_seed_is_the_largest_that_a_key_takes_in_32_bits():
  assert np.iinfo(np.int32).max == picture.LAST_SEED
  jax.random.key(np.int32(picture.LAST_SEED))
