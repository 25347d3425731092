"""Fusers of the rules without training (`fusion.rules`), behind the contract of all fusers."""

import collections
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cfi_jax.core.types import Array, InputError
from cfi_jax.engine import memory, sharding
from cfi_jax.fusion import arrays, buckets, certainty, graphs, residuals, rules
from cfi_jax.fusion.array_fuser import ArrayFuser, Task
from cfi_jax.fusion.fuser import Size
from cfi_jax.fusion.graphs import FusionGraph
from cfi_jax.fusion.rule_options import Choice, WaveletOptions
from cfi_jax.fusion.rules import Place
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.images import colour, ops

DTYPES = ("float32", "bfloat16", "float64")
COMPILE_PIXELS = 4e7  # see `fusion.buckets.plan`
SMALLEST = 64  # side of the smallest tile worth its surroundings


class Lumas(NamedTuple):
  """The lumas of a pair, [H, W], and where they have values, bool [H, W]; None: both everywhere.

  valid may be trust, floating point in [0, 1], where a rule takes it (`rules.wavelet`).
  """

  visible: np.ndarray
  infrared: np.ndarray
  valid: Pair | None = None


class RuleFuser(ArrayFuser):
  """Fuses images by a rule with its options.

  Images of several sizes share programs: each is computed in a window that holds it, mirrored
  beyond its ends, with the result of its exact size. Images beyond the budget
  (`memory.budget_mb`) are computed in tiles, again with the result of the whole; a rule whose
  results depend on all of an image (`Rule.reach`) takes what memory there is by default, and
  refuses what does not fit. Results have the chroma of the visible images. Integers are computed
  as they are and rounded half up, so that the numbers are those of the rule on grey levels. Details
  hold no gates and no features. Pixels without a value are left out, as `fusion.rules` says; where
  both images have some, the result is as exact in windows and tiles as without.
  """

  def __init__(
    self,
    choice: Choice,
    *,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | None = None,
  ):
    """dtype: of the computation, one of `DTYPES`; rules compute bfloat16 in float32."""
    if dtype not in DTYPES:
      raise InputError(f"dtype is {dtype!r}; allowed: {', '.join(DTYPES)}")
    if dtype == "float64" and not jax.config.jax_enable_x64:
      raise InputError("dtype is 'float64', which needs JAX_ENABLE_X64=1")
    self.choice = choice
    self.dtype = np.dtype("float64" if dtype == "float64" else "float32")
    self.devices = tuple(jax.local_devices()[:1] if devices is None else devices)
    self._mesh = Mesh(np.array(self.devices), (sharding.AXIS,))
    rule = rules.RULES[choice.name]
    self._reach = rule.reach(choice.options)
    scale = self.dtype.itemsize / 4e6
    self._pixel_mb = [rule.bytes_per_pixel(choice.options, m) * scale for m in (False, True)]
    self._planned: dict[Size, Size] = {}

  @property
  def takes_valid(self) -> bool:
    """True: pixels without a value are left out."""
    return True

  def reserve(
    self,
    sizes: Iterable[Size],
    limit: int = 6,
    memory_mb: float | None = None,
    masked: bool = False,
  ) -> None:
    """Plans at most `limit` windows for images of `sizes`, one entry per image; see the class.

    masked: see `exceeds`.
    """
    whole = [s for size in sizes if not self.exceeds(s := (size[0], size[1]), memory_mb, masked)]
    planned = buckets.plan(whole, limit, self._need, COMPILE_PIXELS)
    users = collections.Counter(planned.values())
    self._planned = {
      size: size if users[bucket] == 1 or self.exceeds(bucket, memory_mb, masked) else bucket
      for size, bucket in planned.items()
    }

  def bucket(self, size: Size) -> Size:
    """The shape of the window that an image of `size` is computed in when it is not tiled."""
    size = size[0], size[1]
    if size in self._planned:
      return self._planned[size]
    return buckets.choose(self._need(size), {*self._planned.values()}) or size

  def exceeds(self, size: Size, memory_mb: float | None = None, masked: bool = False) -> bool:
    """Whether an image of `size` needs more than the budget: tiles, where they are exact.

    masked: whether pixels without a value are left out.
    """
    return math.prod(size) * self._pixel_mb[masked] > self._budget_mb(memory_mb)

  def fuse_luma(self, visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
    """The fused luma of one pair of lumas [H, W] of any size; the result has the first's dtype."""
    return self._fuse_lumas([Lumas(visible, infrared)], None)[0]

  def fuse_trusted(
    self, task: Task, trusts: Sequence[Pair], *, rounded: bool = True
  ) -> list[np.ndarray]:
    """The fused lumas [H, W] of the pairs of a task, as far as their pixels are trusted.

    trusts: of both images, floating point [H, W] in [0, 1]; pixels without a value have none.
    rounded: to the type of the visible image; else in [0, 1].
    """
    lumas = []
    for pair, trust in zip(of_task(task), trusts, strict=True):
      if pair.valid is not None:
        trust = jax.tree.map(np.multiply, trust, pair.valid)
      lumas.append(pair._replace(valid=certainty.relative(trust)))
    return self._fuse_lumas(lumas, task.memory_mb, rounded)

  def fusion_graph(
    self,
    frame: Size,
    *,
    channels: int = graphs.COLOUR,
    dtype: str = "float32",
    plain: bool = False,
  ) -> FusionGraph:
    """See `graphs.HasGraph`."""
    if dtype != "float32":
      raise InputError(f"dtype is {dtype!r}; rules compute in float32")
    graphs.require_frame(frame, arrays.MIN_SIDE)
    function = graphs.of_rule(self.choice, frame, plain)
    least = graphs.smallest(self.choice, frame, arrays.MIN_SIDE)
    return graphs.of_luma(function, frame, channels, least)

  def _fuse_ready(self, task: Task) -> list[np.ndarray]:
    lumas = self._fuse_lumas(of_task(task), task.memory_mb)
    return [arrays.finish(v, luma, task.gray) for v, luma in zip(task.visibles, lumas, strict=True)]

  def _fuse_with_details(self, task: Task) -> tuple[list[np.ndarray], Fusion]:
    """Fuses pairs of one size; what is fused is in [0, 1] before rounding."""
    exact = self._fuse_lumas(of_task(task), task.memory_mb, rounded=False)
    details = Fusion(fused=np.stack(exact)[..., None], gates=(), features={}, levels=())
    return self._fuse_ready(task), details

  def _fuse_lumas(
    self, pairs: list[Lumas], memory_mb: float | None, rounded: bool = True
  ) -> list[np.ndarray]:
    """The fused lumas in order, of the visible dtype, or in [0, 1] where not `rounded`."""
    results: list[np.ndarray] = [np.empty(0)] * len(pairs)
    together = collections.defaultdict(list)
    for i, pair in enumerate(pairs):
      size, masked = pair.visible.shape, pair.valid is not None
      if self.exceeds(size, memory_mb, masked):
        results[i] = self._tiled(pair, memory_mb, rounded)
      else:
        bucket = self.bucket(size)
        if masked and self.exceeds(bucket, memory_mb, masked):
          bucket = size
        depth = rules.depth(size) if self._reach is None else 0
        types = pair.visible.dtype, pair.infrared.dtype, masked
        together[bucket, bucket == size, depth, *types].append(i)
    for (bucket, exact, *_), members in together.items():
      for group in _batches(members, len(self.devices)):
        windows = [_window(pairs[i], (0, 0), bucket) for i in group]
        fused = self._run(windows, [self._place(pairs[i], exact) for i in group], rounded)
        for i, image in zip(group, fused, strict=True):
          height, width = pairs[i].visible.shape
          results[i] = image[:height, :width]
    return results

  def _tiled(self, pair: Lumas, memory_mb: float | None, rounded: bool) -> np.ndarray:
    """The fused luma of one pair, window by window; InputError where no tiles are exact."""
    budget, size = self._budget_mb(memory_mb), pair.visible.shape
    pixel_mb = self._pixel_mb[pair.valid is not None]
    if self._reach is None:
      raise InputError(
        f"images of {size[0]}x{size[1]} (height x width) need "
        f"{math.prod(size) * pixel_mb:.0f} MB per device and {budget:.0f} MB are "
        f"{'available' if memory_mb is None else 'allowed by memory_mb'}; the rule "
        f"{self.choice.name} needs whole images: make them smaller, or choose another rule"
      )
    side = max(math.isqrt(int(budget / pixel_mb)), SMALLEST + 2 * self._reach)
    axes = [_cut(n, side, self._reach) for n in size]
    shape = axes[0][0].length, axes[1][0].length
    place = self._place(pair, exact=False)
    result = np.empty(size, pair.visible.dtype if rounded else self.dtype)
    for group in _batches(list(itertools.product(*axes)), len(self.devices)):
      windows = [_window(pair, (row.start, column.start), shape) for row, column in group]
      fused = self._run(windows, [place] * len(group), rounded)
      for (row, column), image in zip(group, fused, strict=True):
        result[row.own, column.own] = image[row.inner, column.inner]
    return result

  def _run(self, windows: list[Lumas], places: list[Place], rounded: bool) -> np.ndarray:
    """The fused windows of at most as many pairs as there are devices, [B, H, W].

    windows: all with masks, or none.
    """
    count = len(windows)
    full = [*range(count), *[count - 1] * (len(self.devices) - count)]
    own = [(windows[i], places[i]) for i in full]
    lumas, place = jax.tree.map(lambda *x: np.stack(x), *own)
    with jax.set_mesh(self._mesh):
      arguments = jax.device_put((lumas, place), sharding.split(self._mesh))
      fused = _fuse(np.True_, *arguments, choice=self.choice, rounded=rounded, dtype=self.dtype)
    dtype = lumas.visible.dtype if rounded else self.dtype
    return np.asarray(fused)[:count].astype(dtype, copy=False)

  def _place(self, pair: Lumas, exact: bool) -> Place:
    """The place of the windows of a pair; exact: whether they end where the images do."""
    options, level = self.choice.options, 0.0
    if isinstance(options, WaveletOptions):
      images = (pair.visible, pair.infrared)
      known = (None, None) if pair.valid is None else (pair.valid.visible, pair.valid.infrared)
      level = sum(
        unit * residuals.residual_mean(image, options.planes, mask)
        for unit, image, mask in zip(_units(*(x.dtype for x in images)), images, known, strict=True)
      )
    size, depth = None, 0
    if self._reach is None:  # other rules have one program for all
      depth = rules.depth(pair.visible.shape)
      size = None if exact else np.array(pair.visible.shape, np.int32)
    return Place(size, np.asarray(level, self.dtype), depth)

  def _need(self, size: Size) -> Size:
    """The smallest window that an image shares with others."""
    reach = self._reach or 0
    return size[0] + reach, size[1] + reach

  def _budget_mb(self, memory_mb: float | None) -> float:
    if self._reach is not None or memory_mb is not None:
      return memory.budget_mb(memory_mb)
    free = memory.available()
    return math.inf if free is None else free / 1e6


@functools.partial(jax.jit, static_argnames=("choice", "rounded", "dtype"))
def _fuse(
  always: Array, lumas: Lumas, place: Place, *, choice: Choice, rounded: bool, dtype: np.dtype
) -> Array:
  """Fuses windows [B, H, W]; always: true, see `ops.Stage`."""
  kept = lumas.visible.dtype
  units = _units(kept, lumas.infrared.dtype)
  stage = ops.Stage(always if sharding.platform() == "cpu" else None)

  def one(lumas: Lumas, place: Place) -> Array:
    pair = Pair(*(x[..., None].astype(dtype) for x in (lumas.visible, lumas.infrared)))
    pair = Pair(pair.visible * units[0], pair.infrared * units[1])
    valid = jax.tree.map(lambda mask: mask[..., None], lumas.valid)
    fused = rules.RULES[choice.name].fuse(pair, choice.options, valid, place, stage)[..., 0]
    if kept.kind == "f":
      return jnp.clip(fused, 0, 1)
    largest = np.iinfo(kept).max
    levels = jnp.clip(fused / units[0], 0, largest)
    return jnp.floor(levels + 0.5).astype(kept) if rounded else levels / largest

  def share(always: Array, *arguments) -> Array:
    return jax.vmap(one)(*arguments)

  takes = (sharding.WHOLE, sharding.SPLIT, sharding.SPLIT)
  return sharding.on_shares(share, takes, sharding.SPLIT)(always, lumas, place)


def _units(visible: np.dtype, infrared: np.dtype) -> tuple[float, float]:
  """Factors that bring stored values to one scale in [0, 1].

  Levels of the visible image become multiples of a power of two, which floating point holds
  exactly, so that halves between two levels are halves.
  """
  tops = [np.iinfo(dtype).max if dtype.kind == "u" else 1 for dtype in (visible, infrared)]
  unit = 1.0 if visible.kind == "f" else 2.0 ** -(8 * visible.itemsize)
  return unit, unit * tops[0] / tops[1]


def of_task(task: Task) -> list[Lumas]:
  """The lumas of a task's pairs."""
  return [
    Lumas(colour.luma(v), i[..., 0], jax.tree.map(lambda mask: mask[..., 0], valid))
    for v, i, valid in zip(task.visibles, task.infrareds, task.valid, strict=True)
  ]


def _window(pair: Lumas, start: Size, shape: Size) -> Lumas:
  """Both images from `start` on, mirrored where the window leaves them."""
  if start == (0, 0) and shape == pair.visible.shape:
    return pair
  rows, columns = (
    ops.mirrored(np.arange(first, first + length), n)
    for first, length, n in zip(start, shape, pair.visible.shape, strict=True)
  )
  return jax.tree.map(lambda image: image[rows][:, columns], pair)


def _batches(items: list, size: int) -> list[list]:
  return [items[first : first + size] for first in range(0, len(items), size)]


class _Part:
  """A tile along one axis: pixels `own` of the image are `inner` of the window."""

  def __init__(self, first: int, last: int, start: int, length: int):
    self.start, self.length = start, length
    self.own, self.inner = slice(first, last), slice(first - start, last - start)


def _cut(size: int, side: int, reach: int) -> list[_Part]:
  """Windows of one length, at most `side`, that give all pixels of an axis."""
  if size <= side:
    return [_Part(0, size, 0, size)]
  count = -(-size // (side - 2 * reach))
  own = -(-size // count)
  return [
    _Part(first, min(first + own, size), first - reach, own + 2 * reach)
    for first in range(0, size, own)
  ]
