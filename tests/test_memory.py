"""The memory that a compiled program needs, and the refusal."""

import jax
import jax.numpy as jnp
import pytest

from cfi_jax import memory
from cfi_jax.types import InputError


@pytest.fixture(scope="module")
def compiled():
  # The sines cannot be fused away: all of them are summed against all others.
  f = jax.jit(lambda x: (jnp.sin(x) @ jnp.cos(x)).sum())
  return f.lower(jnp.ones((512, 512))).compile()


def test_needed_counts_arguments_and_temporaries(compiled):
  one = 4 * 512 * 512
  assert 2 * one <= memory.needed(compiled) <= 6 * one


def test_available_is_what_the_machine_can_give():
  assert memory.available() is None or 1e7 < memory.available() < 1e14


def test_check_says_what_is_needed_what_there_is_and_what_to_do(compiled):
  memory.check(compiled, 0.0, "unused")
  memory.check(compiled, 1.0, "unused")
  with pytest.raises(InputError, match="needs 0.0 GB per device and 0.0 GB are available; do so"):
    memory.check(compiled, 1e-4, "do so")
