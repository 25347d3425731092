"""Accelerators that need not be there: their figures, and meshes of them to compile for."""

import dataclasses
import importlib.metadata
import os
from collections.abc import Mapping

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding

# Distributions of the extra `aot` by platform.
PACKAGES = {"tpu": ("libtpu",), "cuda": ("jax-cuda12-plugin", "jax-cuda12-pjrt")}
# Settings that JAX and libtpu read when they start: no device of this machine is looked for, and
# processes side by side may each load libtpu.
ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}


GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
  """Public figures of an accelerator and what its compiler calls it.

  memory: bytes. bandwidth: bytes per second of that memory. rate: FLOPs per second, dense bfloat16.
  clock: cycles per second of the compiler's estimates, 0 where it makes none.
  link: bytes per second that a chip sends to its neighbours. latency: seconds of one small
  all-reduce, ASSUMED, as no manufacturer publishes them.
  topologies: the compiler's names by number of chips.
  """

  name: str
  platform: str
  memory: float
  bandwidth: float
  rate: float
  clock: float
  link: float
  latency: float
  topologies: Mapping[int, str]
  source: str


_FLAT = {1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8", 128: "8x16", 256: "16x16"}
_DEEP = {1: "1x1x1", 4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8"}
_DEEP |= {256: "4x8x8"}
_HOST = {1: "1x1x1", 8: "1x1x8"}  # slices x hosts x GPUs of a host
_GOOGLE = "https://cloud.google.com/tpu/docs"
# The clocks of TPUs follow from their rates: FLOPs per second over two for each cell of the matrix
# units, which are 4 of 128x128 on a v5e, 8 of them on a v5p, and 4 of 256x256 on a v6e.
CHIPS = {
  "v5e": Chip(
    "TPU v5e", "tpu", 16 * GIB, 819e9, 197e12, 1.5e9, 200e9, 8e-6, _FLAT, f"{_GOOGLE}/v5e"
  ),
  "v5p": Chip(
    "TPU v5p", "tpu", 95 * GIB, 2765e9, 459e12, 1.75e9, 600e9, 8e-6, _DEEP, f"{_GOOGLE}/v5p"
  ),
  "v6e": Chip(
    "TPU v6e", "tpu", 32 * GIB, 1640e9, 918e12, 1.75e9, 400e9, 8e-6, _FLAT, f"{_GOOGLE}/v6e"
  ),
  "h100": Chip(
    "H100 SXM", "cuda", 80e9, 3350e9, 989e12, 0.0, 450e9, 12e-6, _HOST,
    "https://www.nvidia.com/en-us/data-center/h100",
  ),
}  # fmt: skip


def prepare(chip: Chip) -> None:
  """Sets `ENVIRONMENT`, before JAX has looked for devices; refuses where the extra is missing."""
  missing = [name for name in PACKAGES[chip.platform] if not installed(name)]
  if missing:
    raise InputError(
      f"compiling for {chip.name} needs {' and '.join(missing)}, which the extra `aot` installs: "
      f'pip install -e ".[aot]"'
    )
  os.environ.update(ENVIRONMENT)
  jax.config.update("jax_platforms", "cpu")


def make_mesh(chip: Chip, count: int) -> Mesh:
  """A mesh of `count` chips, as `sharding.make_mesh` makes it of devices; see `prepare`."""
  if count not in chip.topologies:
    valid = ", ".join(map(str, chip.topologies))
    raise InputError(f"--chips={count} of {chip.name}; allowed: {valid}")
  name = chip.topologies[count]
  if chip.platform == "tpu":
    generation = chip.name.removeprefix("TPU ")
    whole = {"chips_per_host_bounds": (1, 1, 1)} if count == 1 else {}
    found = topologies.get_topology_desc(f"{generation}:{name}", "tpu", **whole)
  else:
    found = topologies.get_topology_desc("", "cuda", topology=name, target_config=_H100)
  devices = sorted(found.devices, key=lambda device: (device.process_index, device.id))
  return Mesh(np.array(devices), (sharding.AXIS,))


def installed(package: str) -> bool:
  """Whether a distribution can be found."""
  try:
    importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return False
  return True


# An H100 SXM as XLA describes GPUs (stream_executor.GpuTargetConfigProto): the limits of compute
# capability 9.0 as the CUDA C++ Programming Guide lists them, 132 multiprocessors, 50 MB of L2
# cache. The compiler chooses tiles and fusions by it, and asks for no GPU.
_H100 = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
dnn_version_info { major: 9 minor: 10 patch: 0 }
gpu_device_info {
  name: "NVIDIA H100 80GB HBM3"
  device_vendor: "NVIDIA Corporation"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  driver_version: "13.0.0"
  runtime_version: "12.8.0"
  compile_time_toolkit_version: "12.8.0"
  dnn_version: "9.10.0"
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  device_address_bits: 64
  device_memory_size: 84942979072
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  ecc_enabled: true
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  thread_dim_limit_x: 1024
  thread_dim_limit_y: 1024
  thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
}
"""
