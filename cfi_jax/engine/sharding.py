"""Places of arrays: a mesh with one axis, `data`, over all devices of all processes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cfi_jax.core.types import Array, InputError

AXIS = "data"
SPLIT = PartitionSpec(AXIS)  # the first axis is divided among the devices
_MESSAGE = 2**20  # bytes of one message to the coordinator
WHOLE = PartitionSpec()  # a copy on every device


def make_mesh(batch_size: int) -> Mesh:
  """All devices in a row; `InputError` if a batch cannot be divided evenly among them."""
  # In the order of the processes: process p feeds the p-th block of a batch's rows.
  devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
  if batch_size % len(devices):
    count = len({device.process_index for device in devices})
    of = f" of {count} processes" if count > 1 else ""
    raise InputError(
      f"config.batch_size is {batch_size}, which {len(devices)} devices{of} cannot share evenly; "
      f"allowed: multiples of {len(devices)}"
    )
  return Mesh(np.array(devices), (AXIS,))


def wait_for_processes(place: str, seconds: int = 3600) -> None:
  """Returns when every process of the run has come to that place; to each once.

  The CPU's collectives (Gloo) give up 30 seconds after the first process asks for one, and
  processes compile at different speeds. This barrier goes through the coordinator.
  """
  client = multihost_utils.distributed.global_state.client
  if client is not None:
    client.wait_at_barrier(f"cfi_jax {place}", timeout_in_ms=seconds * 1000)


def tell(name: str, content: bytes, seconds: int = 3600) -> bytes:
  """Gives every process the bytes of process 0, by the coordinator; under each name once."""
  client = multihost_utils.distributed.global_state.client
  if client is None:
    return content
  if jax.process_index() == 0:
    parts = [content[start : start + _MESSAGE] for start in range(0, len(content), _MESSAGE)]
    for number, part in enumerate(parts):
      client.key_value_set_bytes(f"cfi_jax {name} {number}", part)
    client.key_value_set_bytes(f"cfi_jax {name} parts", str(len(parts)).encode())
    return content
  wait = seconds * 1000
  count = int(client.blocking_key_value_get_bytes(f"cfi_jax {name} parts", wait))
  return b"".join(
    client.blocking_key_value_get_bytes(f"cfi_jax {name} {number}", wait) for number in range(count)
  )


def replicated(mesh: Mesh) -> NamedSharding:
  """A copy on every device: parameters, statistics, metrics."""
  return NamedSharding(mesh, WHOLE)


def split(mesh: Mesh) -> NamedSharding:
  """The first axis divided among the devices: batches."""
  return NamedSharding(mesh, SPLIT)


def to_devices(where: NamedSharding, local: Any) -> Any:
  """This process's parts of arrays, a pytree, as global arrays."""
  with jax.transfer_guard("allow"):  # with several processes JAX calls this transfer implicit
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(where, x), local)


def as_shapes(where: NamedSharding, tree: Any) -> Any:
  """Shapes and dtypes of arrays that lie so."""
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where), tree)


def platform() -> str:
  """The platform that is compiled for: "cpu", "tpu", "gpu" or "cuda".

  That of the mesh that `jax.set_mesh` has set, whose devices need not be there, or of JAX's own.
  """
  device = jax.sharding.get_abstract_mesh().abstract_device
  return jax.default_backend() if device is None else device.platform


def on_shares(function: Callable, takes: Any, gives: Any) -> Callable:
  """A function that runs on every device with the device's share of the batch.

  takes, gives: SPLIT or WHOLE for each argument and result, or for parts of them. What is computed
  inside belongs to one device, so a result that is WHOLE must have been made equal by `total` or
  `mean`. Without a mesh (`jax.set_mesh`), or with one of one device, it is the function itself.
  """
  mesh = jax.sharding.get_abstract_mesh()
  if mesh.empty or mesh.size == 1:
    return function
  return jax.shard_map(function, in_specs=takes, out_specs=gives, check_vma=False)


def _is_share() -> bool:
  return AXIS in jax.sharding.get_abstract_mesh().manual_axes


def count() -> int:
  """The number of devices that share the batch inside `on_shares`; 1 elsewhere."""
  return jax.lax.axis_size(AXIS) if _is_share() else 1


def total(tree: Any) -> Any:
  """Sums over the devices that share the batch inside `on_shares`; `tree` elsewhere.

  Its gradient is the sum over the devices, as the loss is the sum of theirs.
  """
  return jax.lax.psum(tree, AXIS) if _is_share() else tree


def mean(tree: Any) -> Any:
  """Means over the devices that share the batch inside `on_shares`; `tree` elsewhere."""
  return jax.lax.pmean(tree, AXIS) if _is_share() else tree


def moments(own_mean: Array, own_var: Array, near: Array) -> tuple[Array, Array]:
  """Mean and biased variance over all devices, by one message, of those of each device's share.

  near: of the size of the means, equal on all devices; distances from it cancel less than means.
  """
  if count() == 1:
    return own_mean, own_var
  distance = own_mean - near
  distance, square, var = mean(jnp.stack([distance, jnp.square(distance), own_var]))
  return near + distance, var + jnp.maximum(square - jnp.square(distance), 0)
