"""The memory that a compiled program needs, and the refusal."""

import types

import jax
import jax.numpy as jnp
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine import memory


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


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_containers_limit_counts_without_its_file_cache(tmp_path, version):
  names = {
    "v1": ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
    "v2": ("memory.max", "memory.current", "memory.stat"),
  }[version]
  cache = {"v1": "total_inactive_file", "v2": "inactive_file"}[version]
  for name, text in zip(names, ("1000", "700", f"anon 1\n{cache} 300\n"), strict=True):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
  assert memory._cgroup(tmp_path) == 600
  assert memory._cgroup(tmp_path / "nowhere") is None


def test_an_accelerator_tells_its_own_limit(monkeypatch):
  device = types.SimpleNamespace(
    platform="gpu", memory_stats=lambda: {"bytes_limit": 500, "bytes_in_use": 100}
  )
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert memory.available() == 400
