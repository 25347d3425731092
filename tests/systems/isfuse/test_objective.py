"""The objective's weights and signs."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion import losses
from cfi_jax.fusion.losses import TargetOptions
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.systems.isfuse.objective import (
  InvarianceOptions,
  LossOptions,
  NecessityOptions,
  RobustnessOptions,
  objective,
)

RNG = np.random.default_rng(0)
TARGET = TargetOptions(planes=3, exponent=4.0, gain=1.0, spread=0.5, brighter=0.0)
OPTIONS = LossOptions(
  fusion={"intensity": 2.0, "gradient": 3.0},
  target=TARGET,
  invariance=InvarianceOptions(0.1, ("complementary", "shared"), 5.0, 7.0, 0.3, -11.0, 13.0, 0.0),
  necessity=NecessityOptions(0.05, ("without_visible", "without_infrared")),
  robustness=RobustnessOptions(0.2, ("darker", "one_sided")),
)


def image(*shape):
  return jnp.asarray(RNG.uniform(size=(*shape, 1)))


def fusion(batch=3):
  gates = (image(batch, 8, 8), image(batch, 4, 4), image(batch, 2, 2))
  return Fusion(fused=image(batch, 8, 8), gates=gates, features={}, levels=())


def test_objective_weighs_every_part(x64):
  pair = Pair(visible=image(3, 8, 8), infrared=image(3, 8, 8))
  original = fusion()
  views = {name: fusion() for name in OPTIONS.views}
  treated = {name: Pair(image(3, 8, 8), image(3, 8, 8)) for name in OPTIONS.views}
  treated["complementary"] = treated["complementary"].replace(visible=pair.visible)
  total, parts = objective(OPTIONS, pair, original, views, treated)
  weights = {"intensity": 2, "gradient": 3}
  for name in OPTIONS.invariance.views:
    weights |= {f"consistency/{name}": 0.25, f"area/{name}": 0.35, f"entropy/{name}": -0.55}
    weights[f"filling/{name}"] = 0.65
  weights |= {f"necessity/{name}": 0.05 for name in OPTIONS.necessity.views}
  weights |= {f"robustness/{name}": 0.1 for name in OPTIONS.robustness.views}
  assert parts.keys() == weights.keys()
  np.testing.assert_allclose(total, sum(weights[name] * parts[name] for name in weights))
  change = np.abs(np.asarray(views["complementary"].fused - original.fused))
  np.testing.assert_allclose(parts["filling/complementary"], change.mean((1, 2, 3)))
  assert not np.any(parts["filling/shared"])  # holes in both images cannot be filled
  without = views["without_visible"].fused
  expected = np.abs(np.asarray(original.fused - without)).mean((1, 2, 3))
  np.testing.assert_allclose(parts["necessity/without_visible"], expected)
  own = losses.fusion_parts(OPTIONS.fusion, TARGET, views["darker"].fused, treated["darker"])
  expected = 2 * own["intensity"] + 3 * own["gradient"]
  np.testing.assert_allclose(parts["robustness/darker"], expected)


def test_options_refuse_unknown_terms_and_repeated_views():
  with pytest.raises(InputError, match="no term 'ssimm'; valid: intensity, gradient"):
    dataclasses.replace(OPTIONS, fusion={"ssimm": 1.0})
  with pytest.raises(InputError, match="more than once: shared"):
    dataclasses.replace(OPTIONS, necessity=NecessityOptions(0.1, ("shared",)))


def test_a_network_that_tells_its_trust_learns_where_views_were_changed(x64):
  trusting = dataclasses.replace(OPTIONS.invariance, absence=3.0)
  options = dataclasses.replace(OPTIONS, invariance=trusting)
  pair = Pair(visible=image(3, 8, 8), infrared=image(3, 8, 8))

  def told():
    return fusion().replace(trust=Pair(image(3, 8, 8), image(3, 8, 8)))

  original, views = told(), {name: told() for name in OPTIONS.views}
  treated = dict.fromkeys(OPTIONS.views, pair)
  treated["shared"] = pair.replace(infrared=pair.infrared.at[:, :3].set(0.5))
  total, parts = objective(options, pair, original, views, treated)
  without, others = objective(OPTIONS, pair, original, views, treated)
  new = {"absence/original", "absence/complementary", "absence/shared"}
  assert parts.keys() - others.keys() == new
  added = 0.3 * parts["absence/original"]
  added += 0.15 * (parts["absence/complementary"] + parts["absence/shared"])
  np.testing.assert_allclose(total - without, added)
  visible, infrared = (np.asarray(getattr(views["shared"].trust, m)) for m in MODALITIES)
  likely = np.concatenate([1 - infrared[:, :3], infrared[:, 3:]], 1)
  expected = -(np.log(visible) + np.log(likely)).mean((1, 2, 3)) / 2
  np.testing.assert_allclose(parts["absence/shared"], expected)
