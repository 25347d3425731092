"""Contributions to fusion rules whose derivatives are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from analyze.measures import known
from jax.tree_util import Partial

from cfi_jax.analyze.measures import contribution
from cfi_jax.analyze.measures import subject as subject_lib
from cfi_jax.analyze.measures.contribution import attribute
from cfi_jax.analyze.measures.subject import Subject, from_function, from_variables
from cfi_jax.datasets.world.scenes import INFRARED
from cfi_jax.fusion.types import Pair
from cfi_jax.systems import isfuse
from cfi_jax.systems.isfuse.model import from_architecture

TINY = dict(
  name="isfuse",
  features=2,
  grid=2,
  shared_encoder=False,
  gate="paper",
  padding="replicate",
  levels=3,
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
  monkeypatch.setattr(contribution, "WINDOW", 16)
  monkeypatch.setattr(contribution, "STEPS", 4)


def product(pair):
  return known.fusion(pair.visible * pair.infrared)


def squashed(pair):
  return known.fusion(jax.nn.sigmoid(4 * pair.visible - 2 * pair.infrared))


def blurred(pair):
  """The mean of the visible image over 3 x 3 pixels."""
  padded = jnp.pad(pair.visible, ((0, 0), (1, 1), (1, 1), (0, 0)))
  height, width = pair.visible.shape[1:3]
  shifts = [padded[:, y : y + height, x : x + width] for y in range(3) for x in range(3)]
  return known.fusion(sum(shifts) / 9)


def analyse(function, samples):
  return known.numbers(contribution.analyse(from_function("m", function), samples))


def test_an_average_adds_up():
  sample = known.sample(size=(24, 20))
  found = analyse(known.average, [sample])
  visible, infrared = (image[4:20, 2:18] for image in (sample.pair.visible, sample.pair.infrared))
  for name, image in (("visible", visible), ("infrared", infrared)):
    assert found["gradient", name] == pytest.approx(0.5)
    assert found["linear response", name] == pytest.approx(image.mean() / 2)
    assert found["integrated gradients", name] == pytest.approx(image.mean() / 2)
    assert found["finite-difference error", name] < 1e-4
    assert found["gradient within radius", name, 0] == 1
    assert found["mean distance", name] == 0
  share = visible.sum() / (visible + infrared).sum()
  assert found["share of contribution", "visible"] == pytest.approx(share)
  assert found["completeness error", "by fused pixels"] < 1e-6
  assert found["completeness error", "by input pixels"] < 1e-6


def test_a_copy_owes_nothing_to_the_other_modality():
  found = analyse(known.copy_visible, [known.sample()])
  assert found["share of contribution", "visible"] == pytest.approx(1)
  assert found["gradient", "infrared"] == found["linear response", "infrared"] == 0
  assert np.isnan(found["mean distance", "infrared"])
  assert np.isnan(found["finite-difference error", "infrared"])


def test_attributions_of_a_product():
  pair = known.sample(size=(8, 12)).pair
  found = attribute(from_function("m", product), pair)
  visible, infrared = (image[..., 0] for image in (pair.visible, pair.infrared))
  both = visible * infrared
  np.testing.assert_allclose(found.fused, both, rtol=1e-6)
  np.testing.assert_allclose(found.gradient["visible"], infrared, rtol=1e-6)
  np.testing.assert_allclose(found.response["infrared"], both, rtol=1e-6)
  for maps_of in (found.contribution, found.integrated):  # d(t^2 v i) is shared equally
    np.testing.assert_allclose(maps_of["visible"], both / 2, rtol=1e-5)
    np.testing.assert_allclose(maps_of["infrared"], both / 2, rtol=1e-5)


def test_contributions_are_relative_to_the_fused_black_pair():
  def lit(pair):
    return known.fusion((pair.visible + 0.5) * (pair.infrared + 0.5))

  pair = known.sample(size=(8, 12)).pair
  found = attribute(from_function("m", lit), pair)
  np.testing.assert_allclose(found.baseline, 0.25)
  visible, infrared = (image[..., 0].astype(float) for image in (pair.visible, pair.infrared))
  expected = visible * (infrared / 2 + 0.5)  # v times the mean of the other factor on the path
  np.testing.assert_allclose(found.contribution["visible"], expected, atol=1e-6)
  total = sum(found.contribution.values())
  np.testing.assert_allclose(total, found.fused - 0.25, atol=1e-6)


def test_the_two_integrals_are_one():
  """Relevance that leaves the input pixels arrives at the fused ones, also where they differ."""
  pair = known.sample(size=(8, 12)).pair
  found = attribute(from_function("m", blurred), pair)
  assert not np.allclose(found.integrated["visible"], found.contribution["visible"])
  arrives = found.contribution["visible"].sum()
  assert found.integrated["visible"].sum() == pytest.approx(arrives, rel=1e-6)
  np.testing.assert_allclose(found.contribution["visible"], found.fused, atol=1e-6)
  to_first_order = (found.gradient["visible"] * pair.visible[..., 0]).sum()
  assert to_first_order == pytest.approx(found.response["visible"].sum(), rel=1e-6)


def test_more_steps_miss_less(monkeypatch):
  errors = []
  for steps in (1, 4, 16):
    monkeypatch.setattr(contribution, "STEPS", steps)
    errors.append(analyse(squashed, [known.sample()]))
  for how in ("by fused pixels", "by input pixels"):
    one, four, sixteen = (found["completeness error", how] for found in errors)
    assert one > 8 * four > 64 * sixteen  # the midpoint rule is of second order
  assert errors[0]["finite-difference error", "visible"] < 1e-3
  np.testing.assert_array_less(0, errors[0]["integrated gradients", "visible"])
  assert errors[0]["integrated gradients", "infrared"] < 0


def test_a_blur_looks_one_pixel_far(monkeypatch):
  monkeypatch.setattr(contribution, "WINDOW", 64)
  found = analyse(blurred, [known.sample(size=(64, 64))])
  assert found["gradient within radius", "visible", 1] == pytest.approx(1)
  ninth = found["gradient within radius", "visible", 0]
  assert ninth == pytest.approx(1 / 9, rel=0.2)  # more where a point is drawn at the border
  assert found["mean distance", "visible"] == pytest.approx(1 - ninth)


def test_contributions_on_objects():
  objects, carrier = np.zeros((2, 24, 24), np.int32)
  objects[8:12, 8:12], carrier[8:12, 8:12] = 1, INFRARED
  visible = np.full((24, 24, 1), 0.4, np.float32)
  infrared = np.full_like(visible, 0.4)
  visible[objects == 1], infrared[objects == 1] = 0.2, 0.6
  sample = known.with_truth(Pair(visible, infrared), objects, carrier)
  found = analyse(known.average, [sample])
  quantity = "share of contribution on objects"
  assert found[quantity, "infrared, carried by infrared"] == pytest.approx(0.75)
  assert found[quantity, "visible, background"] == pytest.approx(0.5)
  assert np.isnan(found[quantity, "visible, carried by visible"])


def weighted(weight, pair):
  return known.fusion(weight * pair.visible)


def test_randomised_weights_destroy_maps_of_what_was_learnt():
  def model(seed, redrawn):
    weight = np.random.default_rng(seed).random((1, 16, 16, 1)).astype(np.float32)
    return Subject("m", None, None, Partial(weighted, weight), lambda s: model(redrawn(s), redrawn))

  samples = [known.sample(seed=k) for k in range(9)]
  quantity = "similarity to randomised weights"
  other = known.numbers(contribution.analyse(model(0, lambda s: 1 + s), samples))
  assert abs(other[quantity, "gradient, visible"]) < 0.1
  # Integrated gradients multiply by the image, which stays: they look alike all the same.
  assert other[quantity, "integrated gradients, visible"] > 0.1
  same = known.numbers(contribution.analyse(model(0, lambda s: 0), samples))
  assert same[quantity, "gradient, visible"] == pytest.approx(1)
  assert np.isnan(same[quantity, "gradient, infrared"])
  plain = analyse(known.average, samples)
  assert not any(key[0] == quantity for key in plain)


def test_a_network_and_its_randomised_selves():
  module = from_architecture(TINY, "float32")
  random = np.random.default_rng(0)
  variables = jax.tree.map(
    lambda leaf: abs(random.normal(size=leaf.shape)).astype(np.float32), isfuse.shapes(TINY)
  )
  subject = from_variables("tiny", variables, TINY)
  sample = known.sample(size=(16, 16))
  programs = contribution._fused._cache_size()
  subjects = (subject, *(subject.randomised(seed) for seed in (1, 1, 2)))
  fused = [contribution._fused(s.function, sample.batch) for s in subjects]
  assert contribution._fused._cache_size() == programs + 1  # one architecture, one program
  np.testing.assert_array_equal(fused[1], fused[2])
  assert not np.allclose(fused[0], fused[1]) and not np.allclose(fused[1], fused[3])
  np.testing.assert_allclose(subjects[1].fuse(sample.batch), fused[1], atol=1e-5)
  first = subject_lib._initial(module, jax.random.key(1))  # what training from seed 1 begins with
  kernels = [jax.tree.leaves(v["params"])[-1] for v in (first, subjects[1].function.args[0])]
  assert kernels[0].ndim == 4 and not np.allclose(*kernels)


def test_pictures_show_signed_contributions():
  sample = known.sample(size=(24, 24))
  shown = contribution.pictures(from_function("m", known.average), sample)
  middle = sample.pair.visible[4:20, 4:20, 0]
  half = np.floor((1 + middle / 2) / 2 * 255 + 0.5)
  np.testing.assert_allclose(shown["contribution of visible"], half, atol=1)
  assert shown["fused window"].shape == (16, 16)
