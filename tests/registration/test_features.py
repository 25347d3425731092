"""Features that both cameras share."""

import numpy as np
import two_cameras
from scipy import ndimage

from cfi_jax.registration import features


def test_reversed_contrast_gives_the_same_features():
  image = features.levels(two_cameras.scene(0)[0])
  np.testing.assert_allclose(features.edges(255 - image), features.edges(image), atol=1e-4)


def test_levels_do_not_depend_on_the_unit():
  celsius = two_cameras.scene(1)[1]
  counts = (7000 + 40 * celsius).astype(np.uint16)
  expected = features.levels(celsius)
  assert expected.dtype == np.float32 and (expected.min(), expected.max()) == (0, 255)
  np.testing.assert_allclose(features.levels(counts), expected, atol=0.1)


def test_what_shows_nothing_has_no_levels():
  assert features.levels(np.full((40, 40), 7, np.uint8)) is None
  assert features.levels(np.full((40, 40), np.nan)) is None
  spoilt = np.arange(1600.0).reshape(40, 40)
  spoilt[3, 3] = np.nan
  assert np.isfinite(features.levels(spoilt)).all()


def test_blur_is_a_gaussian(random):
  image = random.normal(size=(2, 20, 30)).astype(np.float32)
  expected = ndimage.gaussian_filter(image, (0, 1, 1), mode="nearest", truncate=3)
  np.testing.assert_allclose(features.blur(image), expected, atol=1e-5)


def test_a_quarter_turn_reverses_directions():
  image = features.levels(two_cameras.scene(2)[0])
  turned = features.edges(np.rot90(image).copy())
  length, first, second = features.edges(image)
  for map_, expected in zip(turned, (length, -first, -second), strict=True):
    np.testing.assert_allclose(map_, np.rot90(expected), atol=2e-5)
