"""The stand-in for depth: how far its parts reach."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.fusion.weather import depth


@pytest.mark.parametrize(("height", "radius"), [(64, 4), (40, 2), (8, 1), (4, 1)])
def test_it_is_smoothed_over_a_sixteenth_of_the_height(monkeypatch, height, radius):
  given = []
  monkeypatch.setattr(depth, "guided_filter", lambda guide, image, r: given.append(r) or image)
  depth.surrogate(jax.random.key(0), jnp.full((height, 6, 3), 0.5))
  assert given == [radius]


@pytest.mark.parametrize(("height", "reach"), [(96, 3), (32, 1), (8, 1)])
def test_the_dark_channel_reaches_a_thirty_second_of_the_height(height, reach):
  visible = np.full((height, height, 3), 0.5, np.float32)
  visible[height // 2, height // 2, 1] = 0
  found = np.asarray(depth.dark_channel(visible))[..., 0]
  assert np.count_nonzero(found == 0) == (2 * reach + 1) ** 2 and found.max() == 1
