"""Schedules, Adam and clipping."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine.optim import OptimOptions, learning_rate, make_optimizer, update_ema

ADAM = OptimOptions(1e-2, "constant", 0, 0.9, 0.999, 1e-8, 0.0, 0.0)


def test_an_unknown_schedule_is_refused_with_those_there_are():
  with pytest.raises(InputError, match="optim.schedule is 'linear'; valid: constant, cosine"):
    dataclasses.replace(ADAM, schedule="linear")


def test_first_step_of_adam_is_the_learning_rate_times_the_sign():
  optimizer = make_optimizer(ADAM, 10)
  params = {"a": jnp.array([1.0, 2.0])}
  updates, _ = optimizer.update({"a": jnp.array([0.3, -7.0])}, optimizer.init(params), params)
  np.testing.assert_allclose(updates["a"], [-1e-2, 1e-2], rtol=1e-5)


def test_constant_and_cosine_with_warmup():
  constant = learning_rate(ADAM, 10)
  assert float(constant(0)) == float(constant(9)) == pytest.approx(1e-2)
  cosine = learning_rate(dataclasses.replace(ADAM, schedule="cosine", warmup_steps=4), 12)
  values = [float(cosine(step)) for step in range(13)]
  np.testing.assert_allclose(values[:5], np.linspace(0, 1e-2, 5), atol=1e-9)
  np.testing.assert_allclose(values[8], 5e-3, rtol=1e-5)
  np.testing.assert_allclose(values[12], 0, atol=1e-9)
  assert all(a > b for a, b in zip(values[4:-1], values[5:], strict=True))


def test_a_cosine_of_one_step_ends_at_0():
  cosine = learning_rate(dataclasses.replace(ADAM, schedule="cosine", warmup_steps=4), 5)
  np.testing.assert_allclose([float(cosine(s)) for s in (4, 5)], [1e-2, 0], atol=1e-9)


def test_a_run_that_is_all_warmup_or_shorter_ends_in_it():
  for steps in (3, 4):
    cosine = learning_rate(dataclasses.replace(ADAM, schedule="cosine", warmup_steps=4), steps)
    np.testing.assert_allclose([float(cosine(s)) for s in range(4)], [0, 25e-4, 5e-3, 75e-4])
    assert np.isfinite(float(cosine(4)))


@pytest.mark.parametrize(
  ("name", "good", "bad"),
  [
    ("learning_rate", (1e-12,), (0.0, -1.0)),
    ("eps", (1e-12,), (0.0,)),
    ("b1", (0.0, 0.999), (1.0, -0.1)),
    ("b2", (0.0, 0.999), (1.0, -0.1)),
    ("ema_decay", (0.0, 0.999), (1.0, -0.1)),
    ("warmup_steps", (0, 1), (-1,)),
    ("clip_norm", (0.0, 1e-9), (-1e-9,)),
  ],
)
def test_limits_of_options(name, good, bad):
  for value in good:
    assert getattr(dataclasses.replace(ADAM, **{name: value}), name) == value
  for value in bad:
    with pytest.raises(InputError, match=f"optim.{name} is {value}; allowed: "):
      dataclasses.replace(ADAM, **{name: value})


def test_an_average_is_kept_where_there_is_a_decay():
  assert dataclasses.replace(ADAM, ema_decay=1e-9).ema and not ADAM.ema


def test_clipping_bounds_the_gradient_that_adam_sees():
  clipped = make_optimizer(dataclasses.replace(ADAM, clip_norm=1.0), 10)
  params = {"a": jnp.zeros(2)}
  _, state = clipped.update({"a": jnp.array([30.0, 40.0])}, clipped.init(params), params)
  np.testing.assert_allclose(state[1][0].mu["a"], 0.1 * np.array([0.6, 0.8]), rtol=1e-5)


def test_the_average_forgets_the_start_and_then_decays_as_asked():
  average, values = {"a": jnp.array(100.0)}, [1.0, 3.0, -2.0]
  for step, value in enumerate(values):
    average = update_ema(average, {"a": jnp.array(value)}, step, 0.15)
  expected = 100.0
  for decay, value in zip((0.1, 0.15, 0.15), values, strict=True):
    expected = decay * expected + (1 - decay) * value
  np.testing.assert_allclose(average["a"], expected, rtol=1e-6)
  assert update_ema({}, {"a": jnp.array(1.0)}, 0, 0.9) == {}
