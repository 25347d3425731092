"""Single steps of the metrics against their formulas in NumPy and SciPy."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import fft, ndimage

from cfi_jax.metrics import fmi_maps, mef, statistics, windows


@pytest.mark.parametrize(
  ("strength_a", "strength_b", "shared"), [(40, 25, 0.0), (3, 60, 0.9), (20, 20, -1.5), (30, 0, 0)]
)
def test_the_reference_patch_of_multi_exposure_fusion(strength_a, strength_b, shared, random):
  """The structures of both patches, weighted by their strength and as strong as the stronger."""
  noise, other = random.normal(size=(2, mef.SIDE, mef.SIDE))
  a, b = strength_a * noise, strength_b * (other + shared * noise)
  a, b = a - a.mean(), b - b.mean()
  norm_a, norm_b = np.linalg.norm(a), np.linalg.norm(b)
  agreement = np.linalg.norm(a + b) / (norm_a + norm_b)
  with np.errstate(over="ignore"):
    power = np.tan(np.pi / 2 * agreement) if agreement < mef.SATURATION else 10.0
  power = min(power, 10.0)
  units = [x / (n + 1e-3) for x, n in ((a, norm_a), (b, norm_b))]
  weights = [((n + 1e-3) / mef.SIDE) ** power + mef.EPSILON for n in (norm_a, norm_b)]
  mixed = sum(w * u for w, u in zip(weights, units, strict=True)) / sum(weights)
  expected = mixed / np.linalg.norm(mixed) * (max(norm_a, norm_b) + 1e-3)
  gains = mef._gains(*(jnp.asarray(m) for m in ((a * a).mean(), (b * b).mean(), (a * b).mean())))
  found = float(gains[0]) * a + float(gains[1]) * b
  np.testing.assert_allclose(found, expected, atol=2e-3 * np.abs(expected).max())


@pytest.mark.parametrize("size", [(12, 17), (9, 8)])
def test_the_cosine_transform_of_an_image_on_its_canvas(size, random, x64):
  height, width = size
  image = random.integers(0, 256, size)
  canvas = np.full((13, 18), 99)
  canvas[:height, :width] = image
  found = np.asarray(fmi_maps.cosines(jnp.asarray(canvas), height, width))
  np.testing.assert_allclose(found[:height, :width], fft.dctn(image, norm="ortho"), atol=1e-8)
  assert not found[height:].any() and not found[:, width:].any()


@pytest.mark.parametrize("size", [(12, 17), (10, 11)])
def test_edges_are_ridges_above_four_times_the_mean(size, random):
  height, width = size
  image = random.integers(0, 10, size)
  image[2:6, 4] = 200
  image[8, 3:6] = 150
  canvas = np.full((13, 18), 99)
  canvas[:height, :width] = image
  x, y = (ndimage.sobel(image, axis, mode="nearest") for axis in (1, 0))
  square = x**2 + y**2
  around = np.pad(square, 1, constant_values=-1)
  ridge_x = (np.abs(x) >= np.abs(y)) & (around[1:-1, :-2] <= square) & (square > around[1:-1, 2:])
  ridge_y = (np.abs(y) >= np.abs(x)) & (around[:-2, 1:-1] <= square) & (square > around[2:, 1:-1])
  expected = (square > np.floor(4 * square.mean())) & (ridge_x | ridge_y)
  found = np.asarray(fmi_maps.edges(jnp.asarray(canvas), height, width))[:height, :width]
  assert 5 < expected.sum() < expected.size / 2
  np.testing.assert_array_equal(found, expected)


def test_the_gradient_is_central_and_one_sided_at_the_edges(random):
  image = random.integers(0, 256, (9, 12))
  down, across = np.gradient(image.astype(float))
  found = statistics.doubled_gradient(jnp.asarray(image), 9, 12)
  np.testing.assert_array_equal(found[0], 2 * across)
  np.testing.assert_array_equal(found[1], 2 * down)
  np.testing.assert_array_equal(fmi_maps.gradient(jnp.asarray(image), 9, 12), 2 * across)
  np.testing.assert_array_equal(fmi_maps.pixels(jnp.asarray(image), 9, 12), image)


@pytest.mark.parametrize("total", [0, 1, 5, 16 * 9 - 1, 2**24 - 1])
def test_the_floor_of_a_mean_is_exact(total):
  image = np.zeros((4, 5), np.int32)
  image[:3, :3] = total // 9
  image[0, 0] += total % 9
  assert int(fmi_maps._floor_mean(jnp.asarray(image), 3, 3)) == total // 9


@pytest.mark.parametrize("border", ["zero", "replicate", "reflect"])
def test_an_image_goes_on_over_its_own_edges(border, random):
  image = random.integers(0, 256, (5, 6))
  canvas = np.full((7, 9), 999)
  canvas[:5, :6] = image
  mode = {"zero": "constant", "replicate": "edge", "reflect": "reflect"}[border]
  found = windows.extend(jnp.asarray(canvas), 5, 6, 2, border)
  np.testing.assert_array_equal(found[:9, :10], np.pad(image, 2, mode=mode))
