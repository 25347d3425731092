"""Compiled programs of a folded network, and running windows through them on the devices."""

import ctypes
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cfi_jax.engine import sharding
from cfi_jax.fusion.types import Fusion
from cfi_jax.systems.isfuse.inference import graph
from cfi_jax.systems.isfuse.inference.geometry import Geometry, stack

Windows = Mapping[str, np.ndarray]  # modality -> [H, W]


def _fuse(params, windows, geometry):
  return _picture(_details(params, windows, geometry))


def _picture(fusion):
  """The fused image, or the trust by which a rule makes it."""
  return fusion.fused if fusion.trust is None else fusion.trust


def _details(params, windows, geometry):
  features = graph.encode(params, windows, geometry)
  return graph.integrate(params, features, graph.pool(features, geometry), geometry)


def _pool(params, windows, geometry):
  return graph.pool(graph.encode(params, windows, geometry), geometry)


def _tile(params, windows, geometry, grids):
  features = graph.encode(params, windows, geometry)
  return _picture(graph.integrate(params, features, grids, geometry))


# fuse: whole images; details: the same with everything in between; pool and tile: the two passes.
# With a prior they give the trust in both images, a `Pair`, in place of the fused one.
PROGRAMS = {"fuse": _fuse, "details": _details, "pool": _pool, "tile": _tile}


def kept_dtype(dtype: np.dtype) -> np.dtype:
  """The type of pixels and of geometry's weights: at least float32, whatever is computed in."""
  return np.promote_types(dtype, np.float32)


def lower(kind: str, mesh: Mesh, params: graph.Params, arguments: Sequence) -> jax.stages.Lowered:
  """A program for the devices of `mesh`, which share the batch; of arrays or their shapes."""
  takes = (sharding.WHOLE, *[sharding.SPLIT] * len(arguments))

  def program(*arguments):
    return sharding.on_shares(PROGRAMS[kind], takes, sharding.SPLIT)(*arguments)

  with jax.set_mesh(mesh):
    return jax.jit(program, out_shardings=sharding.split(mesh)).lower(params, *arguments)


class Programs:
  """Owns the folded weights on the devices and one compiled program per kind and window shape."""

  def __init__(self, params: graph.Params, dtype: np.dtype, devices: Sequence[jax.Device]):
    """params: see `fold.fold`; a batch is divided evenly among `devices`."""
    self.dtype = np.dtype(dtype)
    self.input_dtype = kept_dtype(self.dtype)
    self.devices = tuple(devices)
    self._mesh = Mesh(np.array(self.devices), (sharding.AXIS,))
    self._split = sharding.split(self._mesh)
    self._params = jax.device_put(params, sharding.replicated(self._mesh))
    self._compiled: dict[tuple, Any] = {}
    self._last: tuple[list[Geometry], Any] = ([], None)

  @property
  def params(self) -> graph.Params:
    """The folded weights, NumPy arrays."""
    return jax.device_get(self._params)

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
      self._compiled[key] = lower(kind, self._mesh, self._params, arguments).compile()
      _return_freed_memory()
    return self._compiled[key], (self._params, *arguments)

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
