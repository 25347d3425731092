"""Features with planted structure: every number of the analysis has a known answer."""

import itertools
import statistics
import types

import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.analyze.measures import features
from cfi_jax.analyze.measures.features import analyse, class_share
from cfi_jax.analyze.measures.observations import Observations, object_classes, observe
from cfi_jax.analyze.measures.samples import Sample
from cfi_jax.analyze.measures.subject import from_function
from cfi_jax.core.types import InputError
from cfi_jax.features import prediction, similarity
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.report import resampling

ONCE = np.ones((1, 40))


@pytest.fixture(autouse=True)
def fast(monkeypatch):
  monkeypatch.setattr(features, "RESAMPLES", 100)
  monkeypatch.setattr(features, "PERMUTATIONS", 40)


@pytest.fixture
def rng():
  return np.random.default_rng(3)


def cka(first, second, weights=ONCE):
  values = similarity.hsic({"a": first, "b": second}, [("a", "a"), ("b", "b"), ("a", "b")], weights)
  return similarity.ratio(values["a", "b"], values["a", "a"], values["b", "b"])


def values_of(findings, quantity):
  return {f.condition: f.estimate for f in findings if f.quantity == quantity}


def rotation(size, rng):
  return np.linalg.qr(rng.normal(size=(size, size)))[0]


def test_cka_ignores_rotation_scale_and_mean(rng):
  x = rng.normal(size=(40, 20, 6)) * np.arange(1, 7)
  y = 5 * x @ rotation(6, rng) + 1000
  assert cka(x, y)[0] == pytest.approx(1, abs=1e-9)
  assert cka(x, x @ np.diag([1.0, 1, 1, 1, 1, 0]))[0] < 0.9


def test_cka_of_independent_features_is_zero_within_its_error(rng):
  """The biased estimator gives about 0.4 here."""
  weights = resampling.draws(40, 100, 0)
  values = cka(rng.normal(size=(40, 30, 32)), rng.normal(size=(40, 30, 32)), weights)
  assert abs(values[0]) < 0.05
  estimate = resampling.interval(values)
  assert estimate.low < 0 < estimate.high
  assert abs(values[1:].mean()) < 0.05  # repeated images do not bring a bias back


def test_cka_of_half_the_variance(rng):
  """With X and Z independent and white, CKA(X, X + Z in other channels) = 1 / sqrt(2)."""
  x, z = rng.normal(size=(2, 40, 200, 3))
  assert cka(x, np.concatenate([x, z], axis=2))[0] == pytest.approx(0.5**0.5, abs=0.02)


def test_hsic_is_that_of_song(rng):
  """Equation 5 of Song et al. 2012 on one batch."""
  x, y = rng.normal(size=(2, 9, 1, 4))
  y = y + x
  k, m = (a[:, 0] @ a[:, 0].T * (1 - np.eye(9)) for a in (x, y))
  n, one = 9, np.ones(9)
  expected = np.trace(k @ m) + one @ k @ one * (one @ m @ one) / ((n - 1) * (n - 2))
  expected = (expected - 2 / (n - 2) * one @ k @ m @ one) / (n * (n - 3))
  # `hsic` computes in units of the features' size
  size = np.prod([((a - a.mean((0, 1))) ** 2).mean() for a in (x, y)])
  value = similarity.hsic({"a": x, "b": y}, [("a", "b")], np.ones((1, n)))["a", "b"]
  assert value[0] * size == pytest.approx(expected, rel=1e-9)


def test_weighted_hsic_is_the_sum_over_different_images(rng):
  x, y = rng.normal(size=(2, 6, 2, 3))
  weights = np.array([[2, 0, 1, 1, 3, 1], [0, 0, 2, 2, 2, 0]])
  values = similarity.hsic({"a": x, "b": y}, [("a", "b")], weights)["a", "b"]
  size = np.prod([((a - a.mean((0, 1))) ** 2).mean() for a in (x, y)])
  sums, counts = np.zeros(3), np.zeros(3)
  for p, w in itertools.product(range(2), weights[:1]):
    k, m = (a[:, p] @ a[:, p].T for a in (x - x.mean((0, 1)), y - y.mean((0, 1))))
    for i, j, q, r in itertools.permutations(range(6), 4):
      many = w[i] * w[j] * w[q] * w[r]
      sums[2] += many * k[i, j] * m[q, r]
      counts[2] += many
    for i, j, q in itertools.permutations(range(6), 3):
      sums[1] += w[i] * w[j] * w[q] * k[i, j] * m[i, q]
      counts[1] += w[i] * w[j] * w[q]
    for i, j in itertools.permutations(range(6), 2):
      sums[0] += w[i] * w[j] * k[i, j] * m[i, j]
      counts[0] += w[i] * w[j]
  two, three, four = sums / counts
  assert values[0] * size == pytest.approx(two - 2 * three + four, rel=1e-9)
  assert np.isnan(values[1])  # three different images are too few


def test_interval_is_left_out_where_few_resamples_count():
  values = np.r_[0.5, np.linspace(0.4, 0.6, 100)]
  estimate = resampling.interval(values)
  assert (estimate.mean, estimate.low, estimate.high) == pytest.approx((0.5, 0.405, 0.595))
  values[1:20] = np.nan
  assert resampling.interval(values).mean == 0.5 and np.isnan(resampling.interval(values).low)


@pytest.mark.parametrize("shift", [0.3, 30])
def test_interval_is_around_the_value_however_far_the_resamples_are(shift):
  normal = statistics.NormalDist(shift, 1)
  values = np.r_[0, [normal.inv_cdf((k + 0.5) / 20000) for k in range(20000)]]
  estimate = resampling.interval(values)
  assert (estimate.low, estimate.high) == pytest.approx((-1.96, 1.96), abs=0.02)


def test_interval_of_a_share_is_as_wide_as_the_share_scatters(rng):
  """A mean over channels of noise: biased in every resample by more than it scatters."""
  weights = resampling.draws(16, 200, 0)

  def shares(rows):
    values, labels = rng.normal(size=(16, 64, 16)), rng.integers(0, 4, (16, 64))
    return class_share(values, labels, rows).mean(axis=1)

  estimate = resampling.interval(shares(weights))
  scatter = np.std([shares(weights[:1])[0] for _ in range(100)])
  assert estimate.low < estimate.mean < estimate.high
  assert 3.9 * scatter < estimate.high - estimate.low < 20 * scatter


def test_another_image_is_never_the_same(rng):
  for count in (2, 3, 10):
    partner = resampling.another(count, rng)
    assert sorted(partner) == list(range(count)) and (partner != np.arange(count)).all()


def test_class_share_of_planted_classes():
  """Class means +-1, within-class +-2: the share is 1 / (1 + 4); constant channels have none."""
  labels = np.array([[0, 0, 1, 1], [0, 0, 1, 1]])
  means = np.where(labels, 1.0, -1.0)
  noise = np.array([[2.0, -2, 2, -2], [2, -2, 2, -2]])
  values = np.stack([means + noise, means, noise, np.full_like(noise, 7)], axis=-1) + 100
  share = class_share(values, labels, np.ones((1, 2)))[0]
  assert share[:3] == pytest.approx([0.2, 1, 0], abs=1e-12) and np.isnan(share[3])


def test_class_share_with_weights_is_that_of_repeated_images(rng):
  values, labels = rng.normal(size=(3, 50, 2)), rng.integers(0, 4, (3, 50))
  weighted = class_share(values, labels, np.array([[2, 0, 1]]))
  repeated = class_share(values[[0, 0, 2]], labels[[0, 0, 2]], np.ones((1, 3)))
  assert weighted == pytest.approx(repeated, rel=1e-9)


def test_residuals_of_a_linear_map_with_known_noise(rng):
  """Noise has a quarter of the variance of the target."""
  source = rng.normal(size=(20, 100, 5)) * [1, 10, 0.1, 1, 0] + 3
  signal = source[..., :4] @ (rotation(4, rng) / [[1], [10], [0.1], [1]])
  target = signal + np.sqrt(1 / 3) * rng.normal(size=signal.shape)
  folds = np.arange(20) % 5
  for given, expected in ((target, 0.25), (signal, 0), (rng.normal(size=target.shape), 1)):
    left, total = prediction.residuals(source, given, folds)
    assert left.sum() / total.sum() == pytest.approx(expected, abs=0.02)


def test_residuals_are_of_held_out_images(rng):
  """As many channels as pixels fit anything: only new images show that nothing was learned."""
  source, target = rng.normal(size=(2, 8, 5, 40))
  left, total = prediction.residuals(source, target, np.arange(8) % 4)
  assert left.sum() / total.sum() > 0.9


def planted(rng, images=40, places=60, shared=1.0):
  """Two modalities that share a class code; the rest of each is its own."""
  labels = rng.integers(0, 3, (images, places))
  code = np.eye(3)[labels] * 3
  own = rng.normal(size=(2, images, places, 3))
  both = {
    (name, 1): np.concatenate([shared * code, own[k]], axis=2).astype(np.float32)
    for k, name in enumerate(("visible", "infrared"))
  }
  return Observations(both, {1: labels})


def test_a_channel_is_selective_above_97_5_percent_of_its_null(monkeypatch):
  """Shares at 94, 96, 97.4, 97.6 and 99 % of the null, and a channel that does not vary."""
  share = np.array([0.94, 0.96, 0.974, 0.976, 0.99, np.nan])
  null = np.linspace(0, 1, features.PERMUTATIONS + 1)[:, None] * np.ones(6)
  monkeypatch.setattr(features, "class_null", lambda values, labels, seed, permutations: null)
  monkeypatch.setattr(
    features, "class_share", lambda values, labels, weights: np.tile(share, (len(weights), 1))
  )
  observed = Observations({("visible", 1): np.zeros((4, 3, 6))}, {1: np.zeros((4, 3), int)})
  found = {row[0]: row[2:] for row in features._semantics(observed, resampling.draws(4, 20, 0), 0)}
  estimate, count = found["selective channels"]
  assert estimate.mean == pytest.approx(2 / 5) and count == 5
  limits = found["semantic variance null"][0]
  assert (limits.mean, limits.low, limits.high) == pytest.approx((0.5, 0.025, 0.975))


def test_planted_semantics(rng):
  found = analyse("m", planted(rng))
  channels = [f for f in found if f.quantity.endswith("of channel") and f.condition == "visible 1"]
  means = [f.estimate.mean for f in channels]
  assert [f.x for f in channels] == list(range(6))
  assert means[:3] == pytest.approx([1, 1, 1]) and max(means[3:]) < 0.01
  share, null = (values_of(found, f"semantic variance{end}")["visible 1"] for end in ("", " null"))
  assert share.low <= share.mean == pytest.approx(0.5, abs=0.01)
  assert null.low < null.mean < null.high < 0.01
  assert 0.5 <= values_of(found, "selective channels")["visible 1"].mean <= 0.67


def test_planted_similarity_and_specificity(rng):
  found = analyse("m", planted(rng))
  # the shared code has variances 9 (1/3 - 1/9) on and -1 off the diagonal, the rest variance 1
  shared = np.sum((9 * (np.eye(3) / 3 - 1 / 9)) ** 2)
  estimate = values_of(found, "cka")["visible 1 ~ infrared 1"]
  assert estimate.mean == pytest.approx(shared / (shared + 3), abs=0.03)
  assert estimate.low < estimate.mean < estimate.high
  floor = values_of(found, "cka floor")["visible 1 ~ infrared 1"]
  assert abs(floor.mean) < 0.03 and floor.low < 0 < floor.high
  specificity = values_of(found, "specificity")
  assert specificity["visible 1"].mean == pytest.approx(3 / (6 + 3), abs=0.02)
  assert specificity["infrared 1"].mean == pytest.approx(3 / (6 + 3), abs=0.02)
  assert not values_of(found, "cka ceiling") and not values_of(found, "consistency")


def test_floor_is_what_place_explains(rng):
  """Features of the place alone are as similar between images as within one."""
  place = np.broadcast_to(rng.normal(size=(1, 200, 4)), (30, 200, 4)).astype(np.float32)
  found = analyse("m", Observations({("visible", 1): place, ("infrared", 1): place}, {}))
  assert values_of(found, "cka floor")["visible 1 ~ infrared 1"].mean == pytest.approx(1, abs=0.01)


def test_what_spaces_share_of_the_place_is_alike(rng):
  """Half of the variance is the place's: a batch of one place of all images would not see it."""
  place = rng.normal(size=(1, 200, 4))
  own = [(place + rng.normal(size=(30, 200, 4))).astype(np.float32) for _ in range(2)]
  found = analyse("m", Observations({("visible", 1): own[0], ("infrared", 1): own[1]}, {}))
  assert values_of(found, "cka")["visible 1 ~ infrared 1"].mean == pytest.approx(1 / 4, abs=0.05)


def test_ceiling_and_consistency(rng):
  own = planted(rng)
  turned = {space: x @ rotation(6, rng) for space, x in own.features.items()}
  found = analyse("m", own, peers=[Observations(turned, {})])
  assert values_of(found, "cka ceiling")["visible 1"].mean == pytest.approx(1, abs=1e-6)
  cross = values_of(found, "cka")["visible 1 ~ infrared 1"].mean
  assert values_of(found, "consistency")["level 1"].mean == pytest.approx(cross, abs=1e-6)
  noisy = {space: x + rng.normal(size=x.shape) for space, x in own.features.items()}
  found = analyse("m", own, peers=[Observations(noisy, {})])
  ceilings = [values_of(found, "cka ceiling")[f"{m} 1"].mean for m in ("visible", "infrared")]
  assert max(ceilings) < 0.95
  expected = cross / np.sqrt(np.prod(ceilings))
  assert values_of(found, "consistency")["level 1"].mean == pytest.approx(expected)
  strange = {space: rng.normal(size=x.shape) for space, x in own.features.items()}
  found = analyse("m", own, peers=[Observations(strange, {})])
  assert np.isnan(values_of(found, "consistency")["level 1"].mean)


def coordinates(pair):
  """Features that say where they come from, at two levels of odd sizes; no gates."""
  _, height, width, _ = pair.visible.shape

  def level(h, w):
    rows, columns = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
    return jnp.stack([rows, columns], axis=-1)[None].astype(jnp.float32)

  maps = (level(height, width), level(height // 2, width // 2))
  return Fusion(pair.visible, (), {"visible": maps}, ())


def blank(name, height, width):
  image = np.zeros((height, width, 1), np.float32)
  return Sample(name, Pair(image, image))


def test_places_agree_between_levels_and_with_labels():
  samples = [blank("a", 16, 24), blank("b", 13, 9)]
  labels = [np.arange(16)[:, None] // 4 * np.ones((1, 24), int), np.zeros((13, 9), int)]
  observed = observe(from_function("m", coordinates), samples, 50, 0, labels)
  fine, coarse = (observed.features["visible", level] for level in (1, 2))
  assert (fine[0] // 2 == coarse[0]).all()  # where sides are even
  for image, (height, width) in enumerate(((16, 24), (13, 9))):
    assert (fine[image] < (height, width)).all() and (
      coarse[image] < (height // 2, width // 2)
    ).all()
  # the same places: relative coordinates agree within a pixel
  assert np.abs((fine[0] + 0.5) / (16, 24) - (fine[1] + 0.5) / (13, 9)).max() < 1 / 9
  assert (observed.labels[1][0] == fine[0, :, 0] // 4).all()
  assert (observed.labels[2][0] == coarse[0, :, 0] // 2).all()


def test_what_cannot_be_analysed():
  subject = from_function("m", coordinates)
  with pytest.raises(InputError, match=r"b: the label map is \(8, 9\)"):
    labels = [np.zeros((16, 24), int), np.zeros((8, 9), int)]
    observe(subject, [blank("a", 16, 24), blank("b", 13, 9)], 5, 0, labels)
  with pytest.raises(InputError, match="pictures are no label maps"):
    observe(subject, [blank("a", 32, 32)], 999, 0, [np.arange(1024).reshape(32, 32)])
  with pytest.raises(InputError, match="features need 4 pairs"):
    analyse("m", observe(subject, [blank("a", 16, 24)], 5, 0))
  plain = from_function("m", lambda pair: Fusion(pair.visible, (), {}, ()))
  assert analyse("m", observe(plain, [blank("a", 16, 24)], 5, 0)) == []


def test_classes_of_a_scene_are_the_kinds_of_its_objects():
  objects = np.array([[0, 1], [2, 1]])[..., None]
  scene = types.SimpleNamespace(objects=objects, kind=np.array([4, 0, 9]))
  found = object_classes(scene)
  assert found.tolist() == [[0, 5], [1, 5]] and found.dtype == np.int32


@pytest.mark.parametrize("places", [0, 1])
def test_the_range_of_a_null_is_that_of_its_permutations(places):
  null = np.linspace(0, 1, 41)[:, None].repeat(3, 1)
  null[:, 2] = np.nan  # a channel that does not vary
  found = features._spread(null if places else null * np.nan)
  expected = (0.5, 0.025, 0.975) if places else (np.nan,) * 3
  np.testing.assert_allclose((found.mean, found.low, found.high), expected, atol=1e-9)
