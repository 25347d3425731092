"""Compiled programs of a folded network, and running windows through them on the devices."""

import ctypes
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cfi_jax.fusion.types import Fusion
from cfi_jax.systems.isfuse.inference import graph
from cfi_jax.systems.isfuse.inference.geometry import Geometry, stack

Windows = Mapping[str, np.ndarray]  # modality -> [H, W]


def _fuse(params, windows, geometry):
  return _details(params, windows, geometry).fused


def _details(params, windows, geometry):
  features = graph.encode(params, windows, geometry)
  return graph.integrate(params, features, graph.pool(features, geometry), geometry)


def _pool(params, windows, geometry):
  return graph.pool(graph.encode(params, windows, geometry), geometry)


def _tile(params, windows, geometry, grids):
  features = graph.encode(params, windows, geometry)
  return graph.integrate(params, features, grids, geometry).fused


# fuse: whole images; details: the same with everything in between; pool and tile: the two passes.
PROGRAMS = {"fuse": _fuse, "details": _details, "pool": _pool, "tile": _tile}


class Programs:
  """Owns the folded weights on the devices and one compiled program per kind and window shape."""

  def __init__(self, params: graph.Params, dtype: np.dtype, devices: Sequence[jax.Device]):
    """params: see `fold.fold`; a batch is divided evenly among `devices`."""
    self.dtype = np.dtype(dtype)
    # Weights of geometry and pixels keep at least float32, whatever the network computes in.
    self.input_dtype = np.promote_types(self.dtype, np.float32)
    self.devices = tuple(devices)
    mesh = Mesh(np.array(self.devices), ("batch",))
    self._split = NamedSharding(mesh, PartitionSpec("batch"))
    self._copied = NamedSharding(mesh, PartitionSpec())
    self._params = jax.device_put(params, self._copied)
    self._compiled: dict[tuple, Any] = {}
    self._last: tuple[list[Geometry], Any] = ([], None)

  @property
  def compiled(self) -> tuple[tuple, ...]:
    """Keys of the compiled programs: (kind, batch size, window height and width, with borders)."""
    return tuple(self._compiled)

  def run(
    self,
    kind: str,
    windows: Sequence[Windows],
    geometries: Sequence[Geometry],
    batch: int,
    grids: graph.Grids | None = None,
  ) -> np.ndarray | Fusion | graph.Grids:
    """Runs at most `batch` windows of one shape; results are numpy with that many rows.

    batch: of the compiled program; missing windows are filled up with copies of the last.
    grids: for kind "tile", [grid, grid, C] each, the sums over all windows of the image.
    """
    program, arguments = self.prepare(kind, windows, geometries, batch, grids)
    result = program(*arguments)
    return jax.tree.map(lambda a: np.asarray(a)[: len(windows)], result)

  def prepare(
    self,
    kind: str,
    windows: Sequence[Windows],
    geometries: Sequence[Geometry],
    batch: int,
    grids: graph.Grids | None = None,
  ) -> tuple[jax.stages.Compiled, tuple]:
    """The compiled program of a `run`, and its arguments on the devices."""
    count = len(windows)
    full = [*range(count), *[count - 1] * (batch - count)]
    stacked = {m: np.stack([windows[i][m] for i in full]) for m in windows[0]}
    arguments = [jax.device_put(stacked, self._split)]
    arguments.append(self._on_devices([geometries[i] for i in full]))
    if grids is not None:
      grids = jax.tree.map(lambda g: np.stack([g] * batch).astype(self.dtype), grids)
      arguments.append(jax.device_put(grids, self._split))
    key = (kind, *stacked["visible"].shape, bool(geometries[0].rows.border))
    if key not in self._compiled:
      program = jax.jit(self._on_shares(PROGRAMS[kind], len(arguments)), out_shardings=self._split)
      self._compiled[key] = program.lower(self._params, *arguments).compile()
      _return_freed_memory()
    return self._compiled[key], (self._params, *arguments)

  def _on_shares(self, program: Callable, arguments: int) -> Callable:
    """The program as every device runs it on its share of the windows."""
    if len(self.devices) == 1:
      return program
    takes = (PartitionSpec(), *[PartitionSpec("batch")] * arguments)
    return jax.shard_map(
      program,
      mesh=self._split.mesh,
      in_specs=takes,
      out_specs=PartitionSpec("batch"),
      check_vma=False,
    )

  def _on_devices(self, geometries: list[Geometry]) -> Geometry:
    """The batch of geometries on the devices; kept for the next batch, which often has the same."""
    last, stacked = self._last
    same = len(last) == len(geometries) and all(map(operator.is_, last, geometries))
    if not same:
      stacked = jax.device_put(stack(geometries, self.input_dtype), self._split)
      self._last = (geometries, stacked)
    return stacked


def _return_freed_memory() -> None:
  """Gives what the compiler has freed, some 40 MB, back to the system where glibc keeps it."""
  trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
  if trim is not None:
    trim(0)
