"""Memory that a compiled program needs, and memory that there is."""

import pathlib

import jax

from cfi_jax.core.types import InputError

GB = 1e9
DEFAULT_MB = 2048.0  # of inference on a CPU; the images come on top


def needed(compiled: jax.stages.Compiled) -> float:
  """Bytes that the program needs on one device: arguments, results and temporaries."""
  stats = compiled.memory_analysis()
  if stats is None:
    return 0.0
  total = stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
  return float(total - stats.alias_size_in_bytes)


def available() -> float | None:
  """Bytes free for one device of this process: of the accelerator, or of the host shared by its
  CPU devices (the container's limit counts); None where the system does not tell.
  """
  device = jax.local_devices()[0]
  if device.platform != "cpu":
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
      return None
    return float(stats["bytes_limit"] - stats.get("bytes_in_use", 0))
  known = [size for size in (_meminfo(), _cgroup()) if size is not None]
  return min(known) / jax.local_device_count() if known else None


def budget_mb(memory_mb: float | None, default: float | None = None) -> float:
  """Memory for inference per device: what is given, else `default`, else DEFAULT_MB on a CPU and
  half of what an accelerator has free. InputError for a budget that is none.
  """
  given = default if memory_mb is None else memory_mb
  if given is None:
    free = None if jax.default_backend() == "cpu" else available()
    return DEFAULT_MB if free is None else free / 2e6
  if not given > 0:
    raise InputError(f"memory_mb is {given}; allowed: above 0")
  return given


def check(compiled: jax.stages.Compiled, limit_gb: float, advice: str) -> None:
  """Refuses a program that needs more than is available, or than `limit_gb` if that is not 0."""
  limit = limit_gb * GB if limit_gb else available()
  if limit is not None and needed(compiled) > limit:
    raise InputError(
      f"the compiled step needs {needed(compiled) / GB:.1f} GB per device and "
      f"{limit / GB:.1f} GB are available; {advice}"
    )


def _meminfo(path: pathlib.Path = pathlib.Path("/proc/meminfo")) -> float | None:
  """Bytes that Linux can give without swapping."""
  if not path.exists():
    return None
  lines = dict(line.split(":", 1) for line in path.read_text().splitlines())
  return float(lines["MemAvailable"].split()[0]) * 1024


def _cgroup(root: pathlib.Path = pathlib.Path("/sys/fs/cgroup")) -> float | None:
  """Bytes left under the container's limit, cgroup v2 or v1; None without one.

  File cache that the kernel would give back first counts as free.
  """
  for limit, used, stat, cache in (
    ("memory.max", "memory.current", "memory.stat", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat",
     "total_inactive_file"),
  ):  # fmt: skip
    if not (root / limit).exists() or (root / limit).read_text().strip() == "max":
      continue
    lines = dict(line.split() for line in (root / stat).read_text().splitlines())
    in_use = float((root / used).read_text()) - float(lines.get(cache, 0))
    return float((root / limit).read_text()) - in_use
  return None
