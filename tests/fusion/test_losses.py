"""Loss terms against formulas written out in NumPy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import structural_similarity

from cfi_jax.core.types import InputError
from cfi_jax.fusion import losses, rules
from cfi_jax.fusion.losses import TargetOptions
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.images import ops

RNG = np.random.default_rng(0)
TARGET = TargetOptions(planes=3, exponent=4.0, gain=1.0, spread=0.5, brighter=0.0)


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


def test_filling_counts_the_removed_pixels_of_one_image_only():
  fused, pair = jnp.full((1, 4, 4, 1), 0.5), Pair(image(1, 4, 4), image(1, 4, 4))
  view = fusion(1)
  changed = pair.visible.at[0, 0, :].set(0)
  both = pair.infrared.at[0, 0, 0].set(0)
  removed = losses.one_sided(pair, Pair(changed, both))
  assert removed[0, :, :, 0].astype(int).tolist() == [[0, 1, 1, 1], *[[0] * 4] * 3]
  view = view.replace(fused=fused.at[0, 0, 1].set(0.2).at[0, 0, 0].set(0.9).at[0, 3].set(0.9))
  assert losses.filling(fused, view, removed)[0] == pytest.approx(0.1)
  kept, moved = jax.grad(lambda f, v: losses.filling(f, view.replace(fused=v), removed)[0], (0, 1))(
    fused, view.fused
  )
  assert not np.any(kept) and np.any(moved)


def stand_ins(*shape):
  """fused, visible, infrared [H, W] in [0, 1]."""
  return tuple(RNG.uniform(size=shape) for _ in range(3))


def on(term, fused, visible, infrared):
  images = (jnp.asarray(x)[None, ..., None] for x in (fused, visible, infrared))
  fused, *sources = images
  return float(jax.jit(term)(fused, Pair(*sources))[0])


def test_maximum_and_detail(x64):
  f, v, r = stand_ins(9, 7)
  assert on(losses.maximum, f, v, r) == pytest.approx(np.abs(f - np.maximum(v, r)).mean())
  assert on(losses.maximum, np.maximum(v, r), v, r) == 0

  def lap(x):
    return ndimage.correlate(x, np.ones((3, 3)), mode="constant") - 9 * x

  stronger = np.where(abs(lap(v)) >= abs(lap(r)), lap(v), lap(r))
  for gain in (1.0, 1.3):
    detail = functools.partial(losses.detail, target=dataclasses.replace(TARGET, gain=gain))
    expected = np.abs(lap(f) - gain * stronger).mean()
    assert on(detail, f, v, r) == pytest.approx(expected)
    # unlike `gradient`, the negative of an image is not as good as the image
    assert on(detail, gain * v, v, 0 * v) < 1e-12 < on(detail, -gain * v, v, 0 * v)
  assert on(losses.gradient, -v, v, 0 * v) == pytest.approx(0)


def test_structure_is_ssim(x64):
  f, v, r = stand_ins(24, 30)
  options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0)
  expected = []
  for source in (v, r):
    _, maps = structural_similarity(f, source, full=True, **options)
    expected.append(maps[5:-5, 5:-5])
  for source, own in zip((v, r), expected, strict=True):
    images = (jnp.asarray(x)[None, ..., None] for x in (f, source))
    found = np.asarray(losses._similarity(*images))[0, 5:-5, 5:-5, 0]
    np.testing.assert_allclose(found, own, rtol=1e-6)
  assert on(losses.structure, f, f, f) == pytest.approx(0, abs=1e-12)
  assert 0 < on(losses.structure, f, f, v) < on(losses.structure, 1 - f, f, v)


def test_correlation_is_pearsons_and_defined_on_constants(x64):
  f, v, r = stand_ins(8, 9)
  expected = 1 - sum(np.corrcoef(f.ravel(), s.ravel())[0, 1] for s in (v, r)) / 2
  assert on(losses.correlation, f, v, r) == pytest.approx(expected, rel=1e-6)
  assert on(losses.correlation, f, 0 * v + 0.5, 0 * r) == pytest.approx(1)
  flat = jnp.full((1, 8, 8, 1), 0.5)
  assert np.isfinite(jax.grad(lambda x: losses.correlation(x, Pair(flat, flat))[0])(flat)).all()


def wavelet(image, count):
  """Planes and rest by SciPy."""
  planes = []
  for level in range(count):
    taps = np.zeros(4 * 2**level + 1)
    taps[:: 2**level] = rules.B3_SPLINE
    smooth = ndimage.correlate1d(image, taps, 0, mode="mirror")
    smooth = ndimage.correlate1d(smooth, taps, 1, mode="mirror")
    planes.append(image - smooth)
    image = smooth
  return planes, image


def wavelet_fusion(first, second, target):
  """The target of `multiscale` as an image."""
  ours, theirs = (wavelet(x, target.planes) for x in (first, second))
  rests = [rest for _, rest in (ours, theirs)]
  image = sum(r.mean() / 2 + target.spread * (r - r.mean()) for r in rests)
  image = image + target.brighter * (np.maximum(*rests) - sum(rests) / 2)
  for a, b in zip(ours[0], theirs[0], strict=True):
    powers = [wavelet(np.abs(x), 1)[1] ** target.exponent for x in (a, b)]
    image = image + target.gain * (powers[0] * a + powers[1] * b) / sum(powers)
  return image


@pytest.mark.parametrize(
  "target", [TARGET, TargetOptions(2, 0.0, 1.2, 0.6, 0.4), TargetOptions(4, 1.0, 1.0, 0.5, 0.0)]
)
def test_multiscale_is_the_distance_of_planes_from_the_target(x64, target):
  f, v, r = stand_ins(40, 33)
  best = wavelet_fusion(v, r, target)
  term = functools.partial(losses.multiscale, target=target)
  assert on(term, best, v, r) == pytest.approx(0, abs=1e-5)
  planes, rest = wavelet(f - best, target.planes)
  expected = sum(np.abs(part).mean() for part in (*planes, rest))
  assert on(term, f, v, r) == pytest.approx(expected, rel=1e-4)
  assert on(term, r, v, r) == pytest.approx(on(term, r, r, v))  # no source is preferred


def test_the_target_of_one_image_twice_is_that_image(x64):
  _, v, _ = stand_ins(40, 33)
  image = jnp.asarray(v)[None, ..., None]
  np.testing.assert_allclose(rules.wavelet(Pair(image, image), TARGET), image, rtol=1e-12)
  # A source without details leaves all of them to the other.
  flat = np.full_like(v, 0.3)
  rest = wavelet(v, TARGET.planes)[1]
  found = rules.wavelet(Pair(image, jnp.full_like(image, 0.3)), TARGET)[0, ..., 0]
  np.testing.assert_allclose(found, v - rest + (rest + flat) / 2, atol=1e-6)


def test_a_target_at_its_limits_is_one():
  assert TargetOptions(1, 0.0, 0.0, 0.0, 0.0).planes == 1
  assert dataclasses.replace(TARGET, planes=8).planes == 8


def test_a_target_is_refused_that_is_no_image():
  for name, value in (
    ("planes", 0),
    ("planes", 9),
    ("exponent", -1.0),
    ("gain", -0.1),
    ("spread", -1.0),
    ("brighter", -1.0),
  ):
    with pytest.raises(InputError, match=f"loss.target.{name} is {value}; allowed"):
      dataclasses.replace(TARGET, **{name: value})


@pytest.mark.parametrize("name", (*losses.FUSION_TERMS, *losses.TARGET_TERMS))
def test_fusion_terms_are_per_example_and_differentiable(name):
  fused, pair = image(3, 16, 16), Pair(image(3, 16, 16), image(3, 16, 16))

  @jax.jit
  def term(fused, pair):
    return losses.fusion_parts([name], TARGET, fused, pair)[name]

  together = term(fused, pair)
  assert together.shape == (3,) and together.dtype == jnp.float32
  one = term(fused[1], jax.tree.map(lambda x: x[1], pair))
  np.testing.assert_allclose(one, together[1], rtol=1e-5)
  gradient = jax.jit(jax.grad(lambda x: term(x, pair).sum()))(fused)
  assert np.isfinite(gradient).all() and np.all(np.any(gradient, axis=(1, 2, 3)))


def test_edges_are_those_of_sobel(x64):
  f, v, r = stand_ins(9, 7)

  def sobel(x):
    return sum(np.abs(ndimage.sobel(x, axis, mode="constant")) for axis in (0, 1))

  expected = np.abs(sobel(f) - np.maximum(sobel(v), sobel(r))).mean()
  assert on(losses.edges, f, v, r) == pytest.approx(expected)


def test_shared_structure_weighs_the_ssim_of_both(x64):
  f, v, r = stand_ins(14, 12)
  taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))

  def mean(x):
    for axis in (0, 1):
      x = ndimage.correlate1d(x, taps / taps.sum(), axis, mode="constant")
    return x

  def ssim(x, y):
    mx, my, c1, c2 = mean(x), mean(y), 0.01**2, 0.03**2
    xx, yy, xy = mean(x * x) - mx**2, mean(y * y) - my**2, mean(x * y) - mx * my
    return ((2 * mx * my + c1) * (2 * xy + c2) / (mx**2 + my**2 + c1) / (xx + yy + c2)).mean()

  found = on(functools.partial(losses.shared_structure, share=0.3), f, v, r)
  assert found == pytest.approx(1 - 0.3 * ssim(f, v) - 0.7 * ssim(f, r))


def test_chroma_is_the_distance_in_cb_and_cr(x64):
  fused, visible = RNG.uniform(size=(2, 2, 5, 6, 3))
  red, green, blue = np.moveaxis(fused - visible, -1, 0)
  luma = 0.299 * red + 0.587 * green + 0.114 * blue
  expected = (np.abs((blue - luma) / 1.772) + np.abs((red - luma) / 1.402)).mean((1, 2))
  found = losses.chroma(jnp.asarray(fused), jnp.asarray(visible))
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_absence_is_the_cross_entropy_of_trust_and_what_was_left(x64):
  pair, trust = Pair(image(2, 4, 4), image(2, 4, 4)), Pair(image(2, 4, 4), image(2, 4, 4))
  treated = Pair(pair.visible.at[0, :2].set(2), pair.infrared.at[:, 3].set(2))
  trust = trust.replace(visible=trust.visible.at[0, 0, 0].set(1).at[1, 0, 0].set(0))
  expected = np.zeros(2)
  for modality in ("visible", "infrared"):
    p = np.clip(getattr(trust, modality), 1e-6, 1 - 1e-6)
    left = np.asarray(getattr(treated, modality) == getattr(pair, modality))
    expected += -np.log(np.where(left, p, 1 - p)).mean((1, 2, 3)) / 2
  np.testing.assert_allclose(losses.absence(trust, pair, treated), expected, rtol=1e-6)


def test_difference_is_that_of_the_fused_images():
  fused, view = fusion(2).fused, fusion(2)
  expected = np.abs(np.asarray(fused) - np.asarray(view.fused)).mean((1, 2, 3))
  np.testing.assert_allclose(losses.difference(fused, view), expected, rtol=1e-6)
