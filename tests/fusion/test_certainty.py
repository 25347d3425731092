"""Trust in images, each relative to the other's."""

import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.fusion import certainty
from cfi_jax.fusion.types import Pair


@pytest.mark.parametrize("xp", [np, jnp])
def test_trust_is_over_the_greater_of_both_and_none_stays_none(xp):
  trust = Pair(xp.array([0.5, 0.2, 0.0, 1.0, 0.0]), xp.array([0.25, 0.8, 0.4, 1.0, 0.0]))
  found = certainty.relative(trust)
  assert isinstance(found.visible, type(trust.visible))
  np.testing.assert_allclose(found.visible, [1, 0.25, 0, 1, 0])
  np.testing.assert_allclose(found.infrared, [0.5, 1, 1, 1, 0])
