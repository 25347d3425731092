"""Losses, the keypoint amplifier and scores, against numbers worked out by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from skimage.metrics import structural_similarity

from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures.skeleton import PARTS
from cfi_jax.systems.dfcnet import objective, samples, scores
from cfi_jax.systems.dfcnet.estimator import Amplifier

WEIGHTS = dict(
  reconstruction=10.0,
  proportions=10.0,
  adversary=0.3,
  pose=1.0,
  static=1.0,
  ramp_steps=4,
  consistency_from=10,
  pose_reference="truth",
)


def amplify(kind, maps, temperature=0.05):
  amplifier = Amplifier(kind, temperature, joints=maps.shape[-1])
  variables = amplifier.init(jax.random.key(0), maps)
  return np.asarray(amplifier.apply(variables, maps)), variables


def cluttered():
  """A peak of 0.9, a rival of 0.8 and clutter of 0.3: [1, 9, 9, 1]."""
  maps = np.full((1, 9, 9, 1), 0.3, np.float32)
  maps[0, 2, 3], maps[0, 7, 7] = 0.9, 0.8
  return jnp.asarray(maps)


@pytest.mark.parametrize("kind", ["softmax", "learned"])
def test_the_amplifier_keeps_the_peak_and_suppresses_clutter(kind):
  amplified, variables = amplify(kind, cluttered())
  assert amplified[0, 2, 3, 0] == pytest.approx(0.9, abs=1e-6)
  assert amplified[0, 7, 7, 0] == pytest.approx(0.9 * np.exp(-0.1 / 0.05), rel=1e-4)
  assert amplified[0, 0, 0, 0] < 1e-4
  raw = np.asarray(cluttered())[0, ..., 0]
  clutter, before = (1 - m[1:4, 2:5].sum() / m.sum() for m in (amplified[0, ..., 0], raw))
  assert clutter < 0.2 < 0.8 < before
  theta = jax.tree.leaves(variables)
  assert (len(theta) == 1) == (kind == "learned")
  if theta:
    np.testing.assert_allclose(jax.nn.softplus(theta[0]), 0.05, rtol=1e-5)


def test_other_amplifiers():
  np.testing.assert_array_equal(amplify("none", cluttered())[0], cluttered())
  power = amplify("power", cluttered())[0][0, ..., 0]
  assert power[2, 3] == pytest.approx(0.9**4 / (0.9**4 + 0.5**4), rel=1e-5) and power[0, 0] < 0.12


def test_keypoints_are_read_off_what_was_amplified():
  keypoints = jnp.array([[10.0, 21.0, 2], [5.5, 25.0, 1], [9.0, 9.0, 0]])
  maps = samples.gaussians(keypoints, 32, 16, 1.0)
  assert maps.shape == (16, 16, 3) and not maps[..., 2].any()
  row, column = np.unravel_index(np.argmax(maps[..., 0]), (16, 16))
  assert (row, column) == (10, 4)  # the cells of two pixels that hold x = 10, y = 21
  found = samples.read_keypoints(maps, maps.max((0, 1)), 32, 0.2)
  np.testing.assert_allclose(found[:2, :2], keypoints[:2, :2], atol=0.15)
  np.testing.assert_array_equal(found[:, 2], [2, 2, 0])
  np.testing.assert_array_equal(found[2], 0)


def test_the_reconstruction_counts_the_region_five_times(random):
  truth = jnp.asarray(random.uniform(-1, 1, (2, 4, 4, 3)), jnp.float32)
  region = jnp.zeros((2, 4, 4, 1)).at[:, 0, 0].set(1)
  inside, outside = truth.at[:, 0, 0].add(0.5), truth.at[:, 3, 3].add(-0.5)
  weight = 15 + 5
  np.testing.assert_allclose(
    objective.reconstruction(inside, truth, region), 2.5 / weight, rtol=1e-5
  )
  np.testing.assert_allclose(
    objective.reconstruction(outside, truth, region), 0.5 / weight, rtol=1e-5
  )
  assert (objective.reconstruction(truth, truth, region) == 0).all()


def test_the_adversary_and_its_margins():
  judged = (jnp.full((2, 2, 2, 1), 0.5), jnp.full((2, 1, 1, 1), -1.0))
  np.testing.assert_allclose(objective.adversary(judged, 1.0), (0.25 + 4) / 2)
  found = objective.margins(judged, judged[:1])
  np.testing.assert_allclose(found["judged_real"], -0.25)
  np.testing.assert_allclose(found["judged_made"], 0.5)


def test_consistency_is_zero_for_equal_pictures_and_knows_no_place(random):
  maps = jnp.asarray(random.uniform(0, 1, (2, 6, 6, 3)), jnp.float32)
  features = jnp.asarray(random.standard_normal((2, 6, 6, 5)), jnp.float32)
  assert (objective.pose_consistency(maps, maps) == 0).all()
  assert (objective.static_consistency((features, features), (maps, maps)) == 0).all()
  # The same person elsewhere: maps and features move together, and the vectors stay.
  moved = [jnp.roll(x, (2, 1), (1, 2)) for x in (features, maps)]
  static = objective.static_consistency((features, moved[0]), (maps, moved[1]))
  np.testing.assert_allclose(static, 0, atol=1e-5)
  assert (objective.pose_consistency(maps, moved[1]) > 0.1).all()
  # Larger features are no farther apart, since vectors are normalised.
  other = features[::-1]
  once = objective.static_consistency((features, other), (maps, maps))
  grown = objective.static_consistency((100 * features, 100 * other), (maps, maps))
  np.testing.assert_allclose(once, grown, rtol=1e-3)
  assert (once > 0.1).all()


def test_the_estimators_loss_counts_peaks_sixteen_times():
  wanted = jnp.zeros((1, 2, 2, 1)).at[0, 0, 0].set(1)
  np.testing.assert_allclose(objective.estimation(jnp.zeros((1, 2, 2, 1)), wanted), 16 / 4)


def test_statistics_tell_a_copy_and_an_untouched_warp(random):
  target, base = (jnp.asarray(random.uniform(-1, 1, (1, 8, 8, 3)), jnp.float32) for _ in range(2))
  region = jnp.zeros((1, 8, 8, 1)).at[:, :4].set(1)
  copied = objective.statistics(target, target, base, region)
  warped = objective.statistics(base, target, base, region)
  assert copied["region"][0] == 0.5
  assert copied["changed"][0] == 0 and copied["redrawn"][0] > 0.3
  assert warped["changed"][0] > 0.9 and warped["redrawn"][0] == 0


def test_terms_ramp_in():
  options = objective.LossOptions(**WEIGHTS)
  for term, factors in (
    ("reconstruction", [1, 1, 1, 1, 1]), ("proportions", [1, 1, 1, 1, 1]),
    ("adversary", [0.25, 1, 1, 1, 1]), ("static", [0, 0, 0.25, 0.5, 1]),
  ):  # fmt: skip
    found = [float(options.ramp(term, jnp.array(t))) for t in (0, 9, 10, 11, 13)]
    assert found == pytest.approx(factors), term
  at_once = objective.LossOptions(**WEIGHTS | {"ramp_steps": 0})
  assert at_once.ramp("adversary", jnp.array(0)) == 1


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"pose": -1.0}, "loss.pose is -1.0; allowed: 0 or more"),
    ({"static": float("nan")}, "loss.static is nan"),
    (dict.fromkeys(objective.TERMS, 0.0), "no weight above 0; it takes weights of reconstruction"),
    ({"pose_reference": "target"}, "loss.pose_reference is 'target'; valid: source, truth"),
  ],
)
def test_weights_that_cannot_be_are_named(change, message):
  with pytest.raises(InputError, match=message):
    objective.LossOptions(**WEIGHTS | change)


def test_ssim_is_that_of_scikit_image(random):
  made, truth = (jnp.asarray(random.uniform(0, 1, (2, 20, 20, 3)), jnp.float32) for _ in range(2))
  expected = [
    structural_similarity(
      np.asarray(a, np.float64), np.asarray(b, np.float64), channel_axis=-1, data_range=1.0,
      gaussian_weights=True, sigma=1.5, use_sample_covariance=False,
    )
    for a, b in zip(made, truth, strict=True)
  ]  # fmt: skip
  np.testing.assert_allclose(scores.ssim(made, truth), expected, atol=1e-5)


def test_scores_of_the_person_and_the_garments():
  parts = np.zeros((1, 8, 8), np.int32)
  parts[0, :4, :4], parts[0, 4:, :4] = PARTS.index("torso"), PARTS.index("left shin")
  truth = jnp.zeros((1, 8, 8, 3))
  made = truth.at[:, :4, :4].set(0.2).at[:, :, 4:].set(1.0)  # a wrong shirt, and a wrong room
  np.testing.assert_allclose(
    scores.foreground_psnr(made, truth, parts), -10 * np.log10(0.02), rtol=1e-5
  )
  np.testing.assert_allclose(scores.psnr(made, truth), -10 * np.log10(0.5 + 0.01), rtol=1e-5)
  np.testing.assert_allclose(
    scores.identity_error(made, truth, parts, parts), (0.2 + 0) / 2, rtol=1e-5
  )
  assert np.isnan(scores.psnr(truth, truth)).all()
  assert np.isnan(scores.foreground_psnr(made, truth, np.zeros_like(parts))).all()
  assert np.isnan(scores.identity_error(made, truth, np.zeros_like(parts), parts)).all()


def test_joints_are_scored_where_the_truth_shows_them():
  truth = jnp.array([[10.0, 10, 2], [20, 20, 2], [5, 5, 1], [8, 8, 2]])
  found = jnp.array([[13.0, 14, 2], [20, 21, 2], [0, 0, 2], [0, 0, 0]])
  scored = scores.joint_scores(found, truth, 32)
  assert float(scored["keypoint error"]) == pytest.approx((5 + 1) / 2)
  assert float(scored["PCK"]) == pytest.approx(1 / 3)  # within 1.6 pixels of those shown
  assert float(scored["missing rate"]) == pytest.approx(1 / 3)
  nothing = scores.joint_scores(found, truth.at[:, 2].set(0), 32)
  assert all(np.isnan(value) for value in nothing.values())
