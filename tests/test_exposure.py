"""Darker pairs: how many, how much darker, and from what they are drawn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax import exposure
from cfi_jax.exposure import ExposureOptions
from cfi_jax.types import InputError, Pair

HALF = ExposureOptions(probability=0.5, least=0.1)
COUNT = 2000


def draw(options, count=COUNT, seed=0):
  """The factors of images of ones, [count, 2], visible and infrared."""
  ones = jnp.ones((count, 2, 3, 1))
  pair = exposure.darken(jax.random.key(seed), Pair(visible=ones, infrared=ones), options)
  for image in (pair.visible, pair.infrared):
    assert image.shape == ones.shape and image.dtype == ones.dtype
    np.testing.assert_array_equal(image, jnp.broadcast_to(image[:, :1, :1], ones.shape))
  return np.stack([pair.visible[:, 0, 0, 0], pair.infrared[:, 0, 0, 0]], 1)


def test_the_chosen_share_of_pairs_is_darker_and_both_images_by_factors_of_their_own():
  factors = draw(HALF)
  darker = (factors < 1).all(1)
  assert np.array_equal(darker, (factors < 1).any(1))
  assert darker.mean() == pytest.approx(0.5, abs=4 * 0.5 / COUNT**0.5)
  logs = np.log(factors[darker])
  assert logs.min() >= np.log(0.1) and logs.max() < 0
  # Uniform over (log 0.1, 0): mean, deviation, and no relation between the images.
  low = np.log(0.1)
  assert logs.mean(0) == pytest.approx([low / 2] * 2, abs=4 * -low / (12 * darker.sum()) ** 0.5)
  assert logs.std(0) == pytest.approx([-low / 12**0.5] * 2, rel=0.1)
  assert abs(np.corrcoef(logs.T)[0, 1]) < 4 / darker.sum() ** 0.5


def test_probabilities_at_the_ends():
  assert (draw(dataclasses.replace(HALF, probability=1.0), 50) < 1).all()
  batch = Pair(*jnp.ones((2, 3, 4, 4, 1)))
  assert exposure.darken(None, batch, dataclasses.replace(HALF, probability=0.0)) is batch


def test_a_sample_depends_on_key_and_place_only():
  np.testing.assert_array_equal(draw(HALF, 8), draw(HALF, 20)[:8])
  assert np.any(draw(HALF, 8) != draw(HALF, 8, seed=1))


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"probability": 1.5}, "exposure.probability is 1.5; allowed: 0 to 1"),
    ({"probability": -0.1}, "exposure.probability is -0.1"),
    ({"least": 0.0}, "exposure.least is 0.0; allowed: above 0, to 1"),
    ({"least": 1.1}, "exposure.least is 1.1"),
  ],
)
def test_what_is_no_probability_or_factor_is_refused(changes, message):
  with pytest.raises(InputError, match=message):
    dataclasses.replace(HALF, **changes)
