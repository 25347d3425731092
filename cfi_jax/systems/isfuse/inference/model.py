"""A trained network ready to fuse images of any size."""

import collections
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.engine import memory
from cfi_jax.fusion import arrays, graphs, rule_options
from cfi_jax.fusion.array_fuser import ArrayFuser, Task
from cfi_jax.fusion.graphs import FusionGraph
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.systems.isfuse.inference import buckets, frames, geometry, tiles
from cfi_jax.systems.isfuse.inference.fold import fold
from cfi_jax.systems.isfuse.inference.geometry import Frame
from cfi_jax.systems.isfuse.inference.programs import Programs
from cfi_jax.systems.isfuse.model import from_architecture
from cfi_jax.systems.rules import RuleFuser

MAPS = 8  # full-size feature maps that a program holds at its peak (measured: 6), with some room
DETAILS = 4  # full-size feature maps of a `Fusion`: of two encoders and the decoder, all levels


class Model(ArrayFuser):
  """Fuses images with one set of weights; owns the programs compiled for it.

  Sizes that differ share programs: every image is computed in a window (bucket) that holds it, with
  the result of its exact size. Images too large for the memory budget are computed in tiles, again
  with the result of the whole; details never are. Results have the chroma of the visible images.
  Smaller batches, then tiles, keep to the budget (`memory.budget_mb`) as far as the smallest tiles
  allow.
  """

  def __init__(
    self,
    variables: Mapping,
    architecture: Mapping[str, Any],
    *,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | None = None,
  ):
    """variables: `params` and `batch_stats` of `architecture` (see `weights.file.Card`)."""
    self.module = from_architecture(architecture, dtype)
    self.frame = Frame(self.module.padding, self.module.grid, self.module.levels)
    self.variables = variables
    rule = self.module.prior
    self._rule = None
    devices = jax.local_devices()[:1] if devices is None else devices
    self.programs = Programs(fold(variables, jnp.dtype(dtype)), jnp.dtype(dtype), devices)
    self.devices = self.programs.devices
    if rule != "none":
      precision = "float64" if dtype == "float64" else "float32"
      self._rule = RuleFuser(rule_options.parse(rule), dtype=precision, devices=self.devices)
    self.memory_mb = memory.budget_mb(None)
    self._planned: dict[buckets.Size, buckets.Size] = {}
    self._shared: set[buckets.Size] = set()
    self._tiles: dict[tuple[buckets.Size, float], buckets.Size] = {}

  @property
  def takes_valid(self) -> bool:
    """Whether pixels without a value are left out, as they are with a prior."""
    return self._rule is not None

  def reserve(
    self, sizes: Iterable[buckets.Size], limit: int = 6, memory_mb: float | None = None
  ) -> None:
    """Plans at most `limit` programs (3 or more) for images of `sizes`, one entry per image.

    Images that exceed the memory budget share the two programs of one shape of tiles.
    """
    sizes, frame = [tuple(size) for size in sizes], self.frame
    if self._rule is not None:
      self._rule.reserve(sizes, limit, memory_mb, masked=True)  # by the trust
    most = self._max_pixels(memory_mb)
    tight = {size: geometry.smallest_bucket(size, frame) for size in sizes}
    large = {size for size in sizes if math.prod(tight[size]) > most}
    while True:
      whole = [size for size in sizes if size not in large]
      self._planned = buckets.plan(whole, limit - 2 if large else limit, frame)
      too_large = {size for size, b in self._planned.items() if math.prod(b) > most}
      if not too_large:  # joining has made no bucket exceed the budget
        break
      large |= too_large
    tiled = [size for size in sizes if size in large]
    shape = tiles.shared_shape(tiled, most, frame) if tiled else None
    self._tiles = {(size, most): shape for size in large}
    # A bucket of several sizes gets one program, with borders, for those that fill it too.
    self._shared = {bucket for size, bucket in self._planned.items() if bucket != size}

  def bucket(self, size: buckets.Size) -> buckets.Size:
    """Shape of the window that an image of `size` is computed in when it is not tiled."""
    if tuple(size) in self._planned:
      return self._planned[tuple(size)]
    known = {*self._planned.values()}
    known |= {key[2:4] for key in self.programs.compiled if key[0] in ("fuse", "details")}
    return buckets.choose(size, known, self.frame)

  def is_tiled(self, size: buckets.Size, memory_mb: float | None = None) -> bool:
    """Whether an image of `size` exceeds the memory budget as a whole."""
    most = self._max_pixels(memory_mb)
    return (tuple(size), most) in self._tiles or math.prod(self.bucket(size)) > most

  def details_mb(self, size: buckets.Size) -> float:
    """Memory that the details of an image of `size` need, which are never computed in tiles."""
    pixels = math.prod(geometry.smallest_bucket(tuple(size), self.frame))
    item = max(self.programs.dtype.itemsize, 2)
    return pixels * (MAPS + DETAILS) * self.module.features * item / 1e6

  def fusion_graph(
    self,
    frame: buckets.Size,
    *,
    channels: int = graphs.COLOUR,
    dtype: str = "float32",
    plain: bool = False,
  ) -> FusionGraph:
    """See `graphs.HasGraph`."""
    least = max(arrays.MIN_SIDE, self.module.min_side)
    graphs.require_frame(frame, least)
    prior = None if self._rule is None else self._rule.choice
    params = jax.tree.map(lambda x: x.astype(jnp.dtype(dtype)), self.programs.params)
    function = frames.luma_function(params, self.frame, frame, prior, plain)
    return graphs.of_luma(function, frame, channels, least)

  def _fuse_ready(self, task: Task) -> list[np.ndarray]:
    """Fuses the pairs, those of one bucket at once as far as memory allows."""
    lumas = self._pictures(task)
    if self._rule is not None:
      lumas = self._rule.fuse_trusted(task, lumas)
    return [arrays.finish(v, luma, task.gray) for v, luma in zip(task.visibles, lumas, strict=True)]

  def _pictures(self, task: Task) -> list[Any]:
    """The network's result for each pair: the fused luma, quantised, or the trust in both."""
    visibles, infrareds, memory_mb = task.visibles, task.infrareds, task.memory_mb
    together = collections.defaultdict(list)
    pictures: list[Any] = [None] * len(visibles)
    for i, visible in enumerate(visibles):
      if self.is_tiled(visible.shape[:2], memory_mb):
        pictures[i] = self._tiled(visible, infrareds[i], memory_mb)
      else:
        together[self.bucket(visible.shape[:2])].append(i)
    devices = len(self.programs.devices)
    for bucket, members in together.items():
      fitting = max(1, int(min(len(members), self._max_pixels(memory_mb) / math.prod(bucket))))
      batch = devices * min(fitting, -(-len(members) // devices))
      for first in range(0, len(members), batch):
        part = members[first : first + batch]
        pairs = [(visibles[i], infrareds[i]) for i in part]
        for i, found in zip(part, self._whole("fuse", pairs, bucket, batch), strict=True):
          pictures[i] = _kept(found, visibles[i].dtype)
    return pictures

  def _check(self, visibles: Sequence[np.ndarray], infrareds: Sequence[np.ndarray]) -> None:
    super()._check(visibles, infrareds)
    least = self.module.min_side
    for visible in visibles:
      if min(visible.shape[:2]) < least:
        raise InputError(
          f"the images are {visible.shape[0]}x{visible.shape[1]} (height x width); a network of "
          f"{self.module.levels} levels needs {least} or more"
        )

  def _max_pixels(self, memory_mb: float | None) -> float:
    """Pixels of a window, or of a batch of windows, that keep to the budget."""
    item = max(self.programs.dtype.itemsize, 2)
    budget = memory.budget_mb(memory_mb, self.memory_mb) * 1e6
    return budget / (MAPS * self.module.features * item)

  def _whole(self, kind: str, pairs: list, bucket: buckets.Size, batch: int) -> list:
    """Results of a program of whole images for pairs that share a bucket, without its padding."""
    sizes = [visible.shape[:2] for visible, _ in pairs]
    borderless = bucket not in self._shared and all(
      geometry.fills(size, bucket, self.frame) for size in sizes
    )
    where = [geometry.whole(size, bucket, self.frame, borderless) for size in sizes]
    windows = [
      self._windows(pair, start, bucket) for pair, (start, _) in zip(pairs, where, strict=True)
    ]
    result = self.programs.run(kind, windows, [g for _, g in where], batch)

    def crop(i: int):
      return jax.tree.map(lambda a: _crop(a[i], bucket, sizes[i], where[i][0]), result)

    return [crop(i) for i in range(len(pairs))]

  def _windows(self, pair: tuple, start: tuple, shape: tuple) -> dict[str, np.ndarray]:
    dtype = self.programs.input_dtype
    return {m: arrays.window(i, start, shape, dtype) for m, i in zip(MODALITIES, pair, strict=True)}

  def _fuse_with_details(self, task: Task) -> tuple[list[np.ndarray], Fusion]:
    """Fuses pairs of one size, whole whatever `memory_mb` is."""
    pairs = list(zip(task.visibles, task.infrareds, strict=True))
    bucket = self.bucket(pairs[0][0].shape[:2])
    batch = -(-len(pairs) // len(self.programs.devices)) * len(self.programs.devices)
    parts = self._whole("details", pairs, bucket, batch)
    details = jax.tree.map(lambda *images: np.stack(images), *parts)
    if self._rule is not None:
      trusts = [_kept(part.trust, pairs[0][0].dtype) for part in parts]
      fused = self._rule.fuse_trusted(task, trusts, rounded=False)
      details = details.replace(fused=np.stack(fused)[..., None])
    pictures = [
      arrays.finish(v, arrays.quantize(f[..., 0], v.dtype), task.gray)
      for v, f in zip(task.visibles, details.fused, strict=True)
    ]
    return pictures, details

  def _tiled(self, visible: np.ndarray, infrared: np.ndarray, memory_mb: float | None) -> Any:
    """The picture of one pair in two passes over tiles; a fused one is quantised tile by tile."""
    size, frame = visible.shape[:2], self.frame
    most = self._max_pixels(memory_mb)
    shape = self._tiles.get((size, most)) or tiles.window_shape(size, most, frame)
    parts = tiles.cut(size, shape, frame)
    grids = None
    for _, sums in self._each("pool", parts, (visible, infrared), shape):
      sums = jax.tree.map(np.float64, sums)
      grids = sums if grids is None else jax.tree.map(np.add, grids, sums)
    result = None
    for tile, found in self._each("tile", parts, (visible, infrared), shape, grids):
      own = tuple(slice(a, b) for a, b in zip(tile.start, tile.stop, strict=True))
      inner = tuple(
        slice(a - w, b - w) for a, b, w in zip(tile.start, tile.stop, tile.window, strict=True)
      )
      pictures = _kept(jax.tree.map(lambda x, inner=inner: x[inner], found), visible.dtype)
      if result is None:
        result = jax.tree.map(lambda x: np.empty(size, x.dtype), pictures)
      for whole, picture in zip(*map(jax.tree.leaves, (result, pictures)), strict=True):
        whole[own] = picture
    return result

  def _each(self, kind: str, parts: list[tiles.Tile], pair: tuple, shape: tuple, grids=None):
    """Yields every tile with its row of the program's result."""
    batch = len(self.programs.devices)
    for first in range(0, len(parts), batch):
      group = parts[first : first + batch]
      windows = [self._windows(pair, tile.window, shape) for tile in group]
      result = self.programs.run(kind, windows, [t.geometry for t in group], batch, grids)
      for i, tile in enumerate(group):
        yield tile, jax.tree.map(lambda a, i=i: a[i], result)


def _kept(picture: np.ndarray | Pair, dtype: np.dtype) -> np.ndarray | Pair:
  """A fused image [H, W, 1] as levels of `dtype` [H, W]; the trust in both images as it is."""
  if isinstance(picture, Pair):
    return Pair(picture.visible[..., 0], picture.infrared[..., 0])
  return arrays.quantize(picture[..., 0], dtype)


def _crop(image: np.ndarray, bucket: tuple, size: tuple, start: tuple) -> np.ndarray:
  """The part of a window's map, at whichever level it is, that lies in the image."""
  level = (bucket[0] // image.shape[0]).bit_length() - 1
  offsets = (-s >> level for s in start)
  rows, columns = (slice(o, o + (n >> level)) for o, n in zip(offsets, size, strict=True))
  return image[rows, columns]
