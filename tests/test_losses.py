"""Loss terms against formulas written out in NumPy; the objective's weights and signs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax import losses, ops
from cfi_jax.losses import InvarianceOptions, LossOptions, NecessityOptions
from cfi_jax.types import Fusion, InputError, Pair

RNG = np.random.default_rng(0)
OPTIONS = LossOptions(
  fusion={"intensity": 2.0, "gradient": 3.0},
  invariance=InvarianceOptions(0.1, ("complementary", "shared"), 5.0, 7.0, 0.3, -11.0),
  necessity=NecessityOptions(0.05, ("without_visible", "without_infrared")),
)


def image(*shape):
  return jnp.asarray(RNG.uniform(size=(*shape, 1)))


def fusion(batch=3):
  gates = (image(batch, 8, 8), image(batch, 4, 4), image(batch, 2, 2))
  return Fusion(fused=image(batch, 8, 8), gates=gates, features={}, levels=())


def test_intensity_and_gradient_per_example(x64):
  fused, pair = image(3, 8, 8), Pair(visible=image(3, 8, 8), infrared=image(3, 8, 8))
  for i in range(3):
    f, v, r = (np.asarray(x[i]) for x in (fused, pair.visible, pair.infrared))
    expected = np.mean(np.abs(f - v)) + np.mean(np.abs(f - r))
    np.testing.assert_allclose(losses.intensity(fused, pair)[i], expected)
    lf, lv, lr = (np.abs(ops.laplacian(jnp.asarray(x))) for x in (f, v, r))
    expected = np.mean(np.abs(lf - np.maximum(lv, lr)))
    np.testing.assert_allclose(losses.gradient(fused, pair)[i], expected)


def test_invariance_terms_per_example(x64):
  original, view = fusion(), fusion()
  gate = np.asarray(ops.mean_map(view.gates))
  for i in range(3):
    change = np.abs(np.asarray(view.fused - original.fused))[i]
    np.testing.assert_allclose(
      losses.consistency(original.fused, view)[i], np.mean(change * gate[i])
    )
    np.testing.assert_allclose(losses.area(view, 0.3)[i], abs(gate[i].mean() - 0.3))
    p = gate[i]
    expected = np.mean(-p * np.log(p) - (1 - p) * np.log(1 - p))
    np.testing.assert_allclose(losses.entropy(view)[i], expected)


def test_entropy_is_greatest_at_one_half_and_finite_at_the_ends():
  def at(value):
    gates = tuple(jnp.full((1, 4, 4, 1), value) for _ in range(3))
    return Fusion(fused=gates[0], gates=gates, features={}, levels=())

  assert losses.entropy(at(0.5))[0] == pytest.approx(np.log(2))
  assert losses.entropy(at(0.4))[0] < np.log(2)
  for end in (0.0, 1.0):
    value, gradient = jax.value_and_grad(lambda x: losses.entropy(at(x))[0])(end)
    assert np.isfinite(value) and np.isfinite(gradient)
    assert value < 2e-5


def test_objective_weighs_every_part(x64):
  pair = Pair(visible=image(3, 8, 8), infrared=image(3, 8, 8))
  original = fusion()
  views = {name: fusion() for name in OPTIONS.views}
  total, parts = losses.objective(OPTIONS, pair, original, views)
  weights = {"intensity": 2, "gradient": 3}
  for name in OPTIONS.invariance.views:
    weights |= {f"consistency/{name}": 0.25, f"area/{name}": 0.35, f"entropy/{name}": -0.55}
  weights |= {f"necessity/{name}": 0.05 for name in OPTIONS.necessity.views}
  assert parts.keys() == weights.keys()
  np.testing.assert_allclose(total, sum(weights[name] * parts[name] for name in weights))
  without = views["without_visible"].fused
  expected = np.abs(np.asarray(original.fused - without)).mean((1, 2, 3))
  np.testing.assert_allclose(parts["necessity/without_visible"], expected)


def test_options_refuse_unknown_terms_and_repeated_views():
  with pytest.raises(InputError, match="no term 'ssimm'; valid: intensity, gradient"):
    dataclasses.replace(OPTIONS, fusion={"ssimm": 1.0})
  with pytest.raises(InputError, match="more than once: shared"):
    dataclasses.replace(OPTIONS, necessity=NecessityOptions(0.1, ("shared",)))
