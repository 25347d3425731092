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
  (tmp_path / names[2]).write_text("anon 1\n")  # a kernel that does not tell
  assert memory._cgroup(tmp_path) == 300
  assert memory._cgroup(tmp_path / "nowhere") is None


def test_linux_tells_kibibytes(tmp_path):
  path = tmp_path / "meminfo"
  assert memory._meminfo(path) is None
  path.write_text("MemTotal:  99 kB\nMemAvailable:   7 kB\nHugePages_Total:  0\nOf: a: 1\n")
  assert memory._meminfo(path) == 7 * 1024


@pytest.mark.parametrize(
  ("machine", "container", "free"),
  [(800, 600, 300), (600, 800, 300), (600, None, 300), (None, 800, 400), (None, None, None)],
)
def test_cpu_devices_share_the_smaller_of_what_there_is(monkeypatch, machine, container, free):
  monkeypatch.setattr(memory, "_meminfo", lambda: machine)
  monkeypatch.setattr(memory, "_cgroup", lambda: container)
  monkeypatch.setattr(jax, "local_device_count", lambda: 2)
  assert memory.available() == free


def test_a_container_without_a_limit_is_none(tmp_path):
  (tmp_path / "memory.max").write_text("max\n")
  assert memory._cgroup(tmp_path) is None


def test_a_program_needs_what_it_takes_gives_and_uses_but_shared_memory_once():
  stats = types.SimpleNamespace(
    argument_size_in_bytes=1000,
    output_size_in_bytes=200,
    temp_size_in_bytes=30,
    alias_size_in_bytes=4,
  )
  assert memory.needed(types.SimpleNamespace(memory_analysis=lambda: stats)) == 1226
  assert memory.needed(types.SimpleNamespace(memory_analysis=lambda: None)) == 0


def test_exactly_as_much_as_there_is_suffices(monkeypatch):
  monkeypatch.setattr(memory, "needed", lambda compiled: 2e9)
  memory.check(None, 2.0, "")
  with pytest.raises(InputError, match="needs 2.0 GB per device and 1.9 GB are available"):
    memory.check(None, 1.9, "")
  for available, fits in ((2e9, True), (2e9 - 1, False), (None, True)):
    monkeypatch.setattr(memory, "available", lambda a=available: a)
    if fits:
      memory.check(None, 0.0, "")
    else:
      with pytest.raises(InputError, match="less of it"):
        memory.check(None, 0.0, "less of it")


@pytest.mark.parametrize(
  ("stats", "free"),
  [
    ({"bytes_limit": 500, "bytes_in_use": 100}, 400),
    ({"bytes_limit": 500}, 500),
    ({"bytes_in_use": 100}, None),
    (None, None),
  ],
)
def test_an_accelerator_tells_its_own_limit(monkeypatch, stats, free):
  device = types.SimpleNamespace(platform="gpu", memory_stats=lambda: stats)
  monkeypatch.setattr(jax, "local_devices", lambda: [device])
  assert memory.available() == free


@pytest.mark.parametrize(
  ("backend", "free", "given", "default", "budget"),
  [
    ("gpu", 6e9, None, None, 3000.0),  # half of it
    ("gpu", None, None, None, 2048.0),
    ("cpu", 6e9, None, None, 2048.0),
    ("gpu", 6e9, None, 70.0, 70.0),
    ("gpu", 6e9, 0.5, 70.0, 0.5),
  ],
)
def test_the_memory_for_inference(monkeypatch, backend, free, given, default, budget):
  monkeypatch.setattr(jax, "default_backend", lambda: backend)
  monkeypatch.setattr(memory, "available", lambda: free)
  assert memory.budget_mb(given, default) == budget


@pytest.mark.parametrize("given", [0.0, -1.0, float("nan")])
def test_a_budget_that_is_none_is_refused(given):
  with pytest.raises(InputError, match=f"memory_mb is {given}; allowed: above 0"):
    memory.budget_mb(given, 5.0)
