"""Fusion rules against SciPy, and images that lack values. The wavelets: also `test_losses`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cfi_jax.fusion import residuals, rules
from cfi_jax.fusion.rule_options import DEFAULTS, Choice, WaveletOptions, parse
from cfi_jax.fusion.types import Pair

TAPS = np.array(rules.B3_SPLINE)
fuse = jax.jit(rules.fuse, static_argnums=1)  # each rule compiled once, with `valid` and without


def blur(image, spacing=1):
  taps = np.zeros(4 * spacing + 1)
  taps[::spacing] = TAPS
  for axis in (0, 1):
    image = ndimage.correlate1d(image, taps, axis, mode="mirror")
  return image


def pyramid(image):
  """Details and the coarsest level."""

  def expand(small, shape):
    spread = np.zeros(shape)
    spread[::2, ::2] = 4 * small
    return blur(spread)

  levels = []
  while min(image.shape) >= 16:
    small = blur(image)[::2, ::2]
    levels.append(image - expand(small, image.shape))
    image = small
  return levels, image, expand


@pytest.mark.parametrize("size", [(45, 33), (64, 34), (15, 9)])
def test_laplacian_is_scipys(x64, random, size):
  first, second = random.random((2, *size))
  (details, ours, expand), (others, theirs, _) = pyramid(first), pyramid(second)
  expected = (ours + theirs) / 2
  for a, b in zip(details[::-1], others[::-1], strict=True):
    expected = expand(expected, a.shape) + np.where(abs(a) >= abs(b), a, b)
  assert len(details) == rules.depth(size)
  found = fuse(Pair(first[..., None], second[..., None]), parse("laplacian"))[..., 0]
  np.testing.assert_allclose(found, expected, atol=1e-12)


def choice(name):
  return Choice(name, WaveletOptions(2, 4.0, 1.1, 0.7, 0.3)) if name == "wavelet" else parse(name)


@pytest.fixture
def holed():
  """A pair, and masks with single pixels, squares, and a part that both lack."""
  random = np.random.default_rng(3)
  pair = Pair(*random.random((2, 40, 44, 1), np.float32))
  visible, infrared = random.random((2, 40, 44, 1)) > 0.05
  visible[5:15, 5:15] = False
  infrared[12:40, 24:] = False
  visible[14:40, 26:] = False
  return pair, Pair(visible, infrared)


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_one_image_lacks_is_the_others(holed, name):
  pair, valid = holed
  found = np.asarray(fuse(pair, choice(name), valid))
  for own, other in (("visible", "infrared"), ("infrared", "visible")):
    alone = getattr(valid, own) & ~getattr(valid, other)
    if name != "wavelet":
      np.testing.assert_array_equal(found[alone], getattr(pair, own)[alone])
  everywhere = Pair(np.ones((40, 44, 1), bool), np.ones((40, 44, 1), bool))
  whole = fuse(pair, choice(name), everywhere)
  np.testing.assert_allclose(whole, fuse(pair, choice(name)), atol=1e-6)


@pytest.mark.parametrize("name", DEFAULTS)
def test_nothing_that_stands_in_a_hole_matters(holed, name):
  pair, valid = holed
  spoilt = Pair(
    np.where(valid.visible, pair.visible, np.nan), np.where(valid.infrared, pair.infrared, -1e9)
  )
  clean, found = (np.asarray(fuse(p, choice(name), valid)) for p in (pair, spoilt))
  np.testing.assert_array_equal(found, clean)
  neither = ~valid.visible & ~valid.infrared
  if name in ("average", "maximum"):
    assert (found[neither] == 0).all()
  else:  # what is near: of the order of the images at the rim, nothing where nothing reaches
    assert 0.2 < found[15, 27, 0] < 0.8


def test_smoothing_of_what_is_valid(x64, holed):
  """The low-pass residuals of one image and an all-valid flat one, written out."""
  pair, valid = holed
  image, mask = pair.visible[..., 0].astype(float), valid.visible[..., 0]
  flat = np.full_like(image, 0.4)
  pair, both = Pair(image[..., None], flat[..., None]), Pair(mask[..., None], flat[..., None] > 0)
  total, weight = blur(blur(image * mask), 2), blur(blur(mask.astype(float)), 2)
  far = rules.FAR * (1 - weight)  # what reaches little becomes what both have there
  residual = (total + far * (total + flat) / (weight + 1)) / (weight + far)
  smooth = fuse(pair, Choice("wavelet", WaveletOptions(2, 0.0, 0.0, 0.5, 0.0)), both)[..., 0]
  np.testing.assert_allclose(smooth, (residual + flat) / 2, atol=1e-8)
  # Details of the flat image are none, those of the other count by half, and not in its holes.
  mean = Choice("wavelet", WaveletOptions(2, 0.0, 1.0, 0.5, 0.0))
  details = np.where(mask, image - total / np.where(mask, weight, 1), 0) / 2
  np.testing.assert_allclose(fuse(pair, mean, both)[..., 0] - smooth, details, atol=1e-8)


def test_wavelets_fill_holes_without_a_seam(random):
  """Both images show one scene at other levels: the holes of one are as if they were not."""
  scene = ndimage.gaussian_filter(random.random((64, 64)), 3)
  scene = (scene - scene.min()) / np.ptp(scene)
  pair = Pair(*(x.astype(np.float32)[..., None] for x in (0.2 + 0.3 * scene, 0.5 + 0.3 * scene)))
  mask = np.ones((64, 64, 1), bool)
  mask[20:32, 24:36] = False
  for valid in (Pair(mask, np.ones_like(mask)), Pair(np.ones_like(mask), mask)):
    found, whole = fuse(pair, choice("wavelet"), valid), fuse(pair, choice("wavelet"))
    change = np.abs(found - whole)  # the images are 0.3 apart
    assert change.max() < 0.12 and change[~mask].mean() < 0.03
    change = np.abs(fuse(pair, choice("laplacian"), valid) - fuse(pair, choice("laplacian")))
    assert change[~mask].mean() > 0.1


def test_trust_is_a_mask_of_shades(holed):
  pair, valid = holed
  ones = jax.tree.map(lambda x: x.astype(np.float32), valid)
  wavelet = choice("wavelet")
  found = fuse(pair, wavelet, ones)
  np.testing.assert_allclose(found, fuse(pair, wavelet, valid), atol=1e-6)
  # Both trusted alike, however little and wherever, is the rule alone: neither mends the other.
  doubts = np.linspace(0.01, 1, pair.visible.size, dtype=np.float32).reshape(pair.visible.shape)
  even = Pair(doubts, doubts)
  np.testing.assert_allclose(fuse(pair, wavelet, even), fuse(pair, wavelet), atol=1e-5)
  # Less trust in one image moves the result towards what it is without that image.
  lacking = fuse(pair, wavelet, Pair(np.zeros_like(ones.visible), np.ones_like(ones.visible)))
  distances = []
  for trust in (0.9, 0.3, 0.1, 0.01):
    one = Pair(np.full_like(pair.visible, trust), np.ones_like(pair.visible))
    distances.append(float(np.abs(fuse(pair, wavelet, one) - lacking).mean()))
  assert distances == sorted(distances, reverse=True) and distances[0] > 0.05


def test_the_mean_of_a_trusted_residual(random):
  image, trust = random.random((2, 30, 41))
  trust[trust < 0.3] = 0
  image[trust == 0] = np.nan
  place = np.nan_to_num(image)
  shares = np.multiply.outer(residuals.shares(30, 3), residuals.shares(41, 3)) * trust
  expected = (shares * place).sum() / shares.sum()
  assert residuals.residual_mean(image, 3, trust) == pytest.approx(expected, rel=1e-12)
  assert residuals.residual_mean(image, 3, 0 * trust) == 0
  whole = residuals.residual_mean(place, 3, np.ones_like(trust))
  assert whole == pytest.approx(residuals.residual_mean(place, 3), rel=1e-12)


def test_a_flat_pair_stays_flat_whatever_it_lacks(holed):
  _, valid = holed
  pair = Pair(np.full((40, 44, 1), 0.3, np.float32), np.full((40, 44, 1), 0.3, np.float32))
  known = valid.visible | valid.infrared
  for name in DEFAULTS:
    found = np.asarray(fuse(pair, choice(name), valid))
    np.testing.assert_allclose(found[known], 0.3, atol=1e-3)


def test_the_mean_of_a_residual(random):
  image = random.integers(0, 256, (300, 31), dtype=np.uint8)
  smooth = image.astype(float)
  for k in range(5):
    smooth = blur(smooth, 2**k)
  assert residuals.residual_mean(image, 5) == pytest.approx(smooth.mean(), rel=1e-12)


def test_a_rule_is_homogeneous(holed):
  pair, _ = holed
  half = jax.tree.map(lambda x: x / 2, pair)
  for name in DEFAULTS:
    whole, less = (fuse(p, choice(name)) for p in (pair, half))
    np.testing.assert_allclose(2 * jnp.asarray(less), whole, atol=2e-4)


@pytest.mark.parametrize(
  ("size", "depth"), [((15, 40), 0), ((16, 40), 1), ((40, 30), 1), ((31, 99), 2), ((64, 64), 3)]
)
def test_a_pyramid_ends_with_8_to_15_pixels(size, depth):
  assert rules.depth(size) == depth


@pytest.mark.parametrize(
  ("text", "reach", "masked", "whole"),
  [
    ("wavelet:planes=4", 32, 164, 104),
    ("wavelet:planes=2", 8, 112, 72),
    ("laplacian", None, 88, 48),
    ("average", 0, 20, 16),
    ("maximum", 0, 20, 16),
  ],
)
def test_reach_and_memory_of_each_rule(text, reach, masked, whole):
  chosen = parse(text)
  rule = rules.RULES[chosen.name]
  assert rule.reach(chosen.options) == reach
  assert [rule.bytes_per_pixel(chosen.options, m) for m in (True, False)] == [masked, whole]
