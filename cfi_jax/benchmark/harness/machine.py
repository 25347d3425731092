"""The machine and the versions of a measurement."""

import importlib.metadata
import os
import pathlib
import platform

import jax

PACKAGES = ("cfi_jax", "jax", "jaxlib", "flax", "grain", "numpy", "torch", "scipy")
PACKAGES += ("scikit-image", "scikit-learn")


def machine() -> dict[str, str | int]:
  """Processor, devices and system."""
  device = jax.devices()[0]
  return {
    "cpu": _processor(),
    "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0,
    "backend": device.platform,
    "device": device.device_kind,
    "device_count": jax.device_count(),
    "system": platform.platform(),
    "compilation_cache": jax.config.jax_compilation_cache_dir or "",
    "xla_flags": os.environ.get("XLA_FLAGS", ""),
    "malloc": " ".join(f"{name}={value}" for name, value in _malloc_settings()),
  }


def versions(*more: str) -> dict[str, str]:
  """Versions of Python and of the packages that matter; "absent" where one is not installed."""
  found = {"python": platform.python_version()}
  for name in (*PACKAGES, *more):
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = "absent"
  return found


def device_peak_mb() -> float | None:
  """Peak memory of the first accelerator so far; None on a CPU."""
  device = jax.local_devices()[0]
  stats = (device.memory_stats() or {}) if device.platform != "cpu" else {}
  return stats["peak_bytes_in_use"] / 1e6 if "peak_bytes_in_use" in stats else None


def _malloc_settings() -> list[tuple[str, str]]:
  """The environment's settings of glibc's memory allocator."""
  return sorted(
    (name, value)
    for name, value in os.environ.items()
    if name == "GLIBC_TUNABLES" or name.startswith("MALLOC_")
  )


def _processor() -> str:
  info = pathlib.Path("/proc/cpuinfo")
  if info.exists():
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
    if names:
      return names[0].split(":")[1].strip()
  return platform.processor() or platform.machine()
