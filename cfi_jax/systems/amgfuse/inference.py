"""Trained networks, ready to fuse or to restore images of any size that memory holds."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cfi_jax.core.types import Array, InputError
from cfi_jax.engine import memory, sharding
from cfi_jax.fusion import arrays, masks
from cfi_jax.fusion.array_fuser import ArrayFuser, Task
from cfi_jax.fusion.fuser import Size
from cfi_jax.fusion.graphs import COLOUR, FusionGraph, require_frame
from cfi_jax.fusion.types import Fusion
from cfi_jax.images import colour, validity
from cfi_jax.images.given import to_array
from cfi_jax.systems.amgfuse.model import AMGFuse, Fusions, Restoration, from_architecture
from cfi_jax.systems.amgfuse.samples import luma


@dataclasses.dataclass
class Programs:
  """Owns a network's variables on the devices, and one compiled program per kind and size."""

  module: AMGFuse | Restoration
  variables: Mapping
  devices: tuple[jax.Device, ...]
  compiled: dict[tuple, jax.stages.Compiled] = dataclasses.field(default_factory=dict)

  def __post_init__(self):
    """Puts the variables on all devices."""
    self.mesh = Mesh(np.array(self.devices), (sharding.AXIS,))
    kept = jax.tree.map(lambda x: np.asarray(x, self.module.ways.param_dtype), self.variables)
    self.variables = jax.device_put(kept, sharding.replicated(self.mesh))

  def bucket(self, size: Size) -> Size:
    """The size with both sides rounded up to what the network takes."""
    height, width = (-(-side // self.module.step) * self.module.step for side in size)
    return height, width

  def run(self, function: Callable, images: Sequence[tuple], memory_mb: float | None) -> list:
    """function(module, variables, *batches) of images [H, W, C] of one size, one per device.

    images: at most as many as devices. Results are one per image, of the padded size. Raises
    InputError where memory does not hold the program.
    """
    count = len(images)
    full = [*images, *[images[-1]] * (len(self.devices) - count)]
    shape = self.bucket(images[0][0].shape[:2])
    stacked = [np.stack([pad(x, shape) for x in part]) for part in zip(*full, strict=True)]
    batches = jax.device_put(stacked, sharding.split(self.mesh))
    key = (function, *(batch.shape for batch in batches))
    if key not in self.compiled:
      self.compiled[key] = self._compile(function, batches)
    self._check(self.compiled[key], shape, memory_mb)
    result = jax.device_get(self.compiled[key](self.variables, *batches))
    return [jax.tree.map(lambda x, i=i: x[i], result) for i in range(count)]

  def _compile(self, function: Callable, batches: list) -> jax.stages.Compiled:
    takes = (sharding.WHOLE, *[sharding.SPLIT] * len(batches))

    def program(*arguments):
      own = functools.partial(function, self.module)
      return sharding.on_shares(own, takes, sharding.SPLIT)(*arguments)

    with jax.set_mesh(self.mesh):
      where = sharding.split(self.mesh)
      return jax.jit(program, out_shardings=where).lower(self.variables, *batches).compile()

  def _check(self, compiled: jax.stages.Compiled, size: Size, memory_mb: float | None) -> None:
    limit = memory.available() if memory_mb is None else memory.budget_mb(memory_mb) * 1e6
    if limit is not None and memory.needed(compiled) > limit:
      raise InputError(
        f"images of {size[0]}x{size[1]} (height x width) need {memory.needed(compiled) / 1e6:.0f} "
        f"MB per device and {limit / 1e6:.0f} MB are "
        f"{'available' if memory_mb is None else 'allowed by memory_mb'}; this network sorts whole "
        "images, so that tiles would give another result: make the images smaller"
      )


def make_programs(
  variables: Mapping, module: AMGFuse | Restoration, devices: Sequence[jax.Device] | None
) -> Programs:
  """The programs of a network; devices: default one."""
  return Programs(module, variables, tuple(jax.local_devices()[:1] if devices is None else devices))


def load(
  variables: Mapping,
  architecture: Mapping[str, Any],
  *,
  dtype: str = "float32",
  devices: Sequence[jax.Device] | None = None,
) -> "Model | Restorer":
  """Inference with the variables of a weights file, of either network."""
  module = from_architecture(architecture, dtype)
  programs = make_programs(variables, module, devices)
  return Model(programs) if isinstance(module, AMGFuse) else Restorer(programs)


def pad(image: np.ndarray, shape: Size) -> np.ndarray:
  """Mirrors [H, W, C] beyond its lower and right border, without the edge, to `shape`."""
  short = [(0, n - m) for n, m in zip(shape, image.shape, strict=False)]
  return np.pad(image, [*short, (0, 0)], mode="reflect") if any(b for _, b in short) else image


def to_float(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """[H, W, C] in [0, 1] of integers of full range, or of floating point."""
  image = image.astype(dtype) if image.dtype.kind == "f" else image
  scale = np.iinfo(image.dtype).max if image.dtype.kind == "u" else 1
  return image.astype(dtype) / np.asarray(scale, dtype)


def in_colour(image: np.ndarray) -> np.ndarray:
  """RGB [H, W, 3] of an image [H, W, C]; alpha is dropped."""
  return np.repeat(image, 3, -1) if image.shape[-1] == 1 else image[..., :3]


class Model(ArrayFuser):
  """Fuses degraded images with one set of weights (`fusion.fuser.Fuser`).

  Every image is computed whole: sorting makes every pixel depend on all others. Each padded size
  has a program of its own; one that needs more than `memory_mb`, or than there is, is refused.
  The network fuses in colour, from grey images too; where the result is grey it is the luma. A
  visible image whose values are not taken as 0 to the largest of their type is fused by its luma.
  Details: gates are the couplings' masks on the way up, averaged over channels; features are those
  of both modalities on the way down, levels those of the fused stream on the way up. The finest
  maps have the padded size over the network's `fold`.
  """

  def __init__(self, programs: Programs):
    """programs: of the fusion network."""
    self.programs = programs

  @property
  def devices(self) -> tuple[jax.Device, ...]:
    """The devices that share the work."""
    return self.programs.devices

  def reserve(self, sizes: Iterable[Size], *, memory_mb: float | None = None) -> None:
    """Plans nothing: a program for larger images would give another result."""

  def bucket(self, size: Size) -> Size:
    """The size that an image is padded to, a multiple of the network's step."""
    return self.programs.bucket(size)

  def fusion_graph(
    self, frame: Size, *, channels: int = COLOUR, dtype: str = "float32", plain: bool = False
  ) -> FusionGraph:
    """See `graphs.HasGraph`: of images that fill the frame, as sorting takes the whole image."""
    del plain  # there are no branches by the device
    require_frame(frame, max(arrays.MIN_SIDE, self.programs.module.step))
    ways = dataclasses.replace(self.programs.module.ways, dtype=jnp.dtype(dtype), sorting="pairs")
    module = self.programs.module.clone(ways=ways)
    variables = jax.device_get(self.programs.variables)
    short = [(0, m - n) for m, n in zip(self.bucket(frame), frame, strict=True)]
    around = [(0, 0), *short, (0, 0)]

    def fuse(visible: Array, infrared: Array) -> Array:
      colours = jnp.concatenate([visible] * (COLOUR // channels), -1)
      given = (jnp.pad(x, around, mode="reflect") for x in (colours, infrared))
      fused = _fused(module, variables, *given)[:, : frame[0], : frame[1]]
      fused = jnp.clip(fused.astype(visible.dtype), 0, 1)
      return fused if channels == COLOUR else luma(fused)

    return FusionGraph(fuse, frame, channels, None)

  def restore_pair(
    self, visible: Any, infrared: Any, *, memory_mb: float | None = None
  ) -> tuple[np.ndarray, np.ndarray]:
    """Restores both images of one degraded pair [H, W, C], in their types and channels.

    visible, infrared: whatever `images.given.to_array` takes; uint8, uint16 or floating point in
      [0, 1]. The infrared result has one channel.
    """
    images, ready = self._as_both(visible, infrared)
    (found,) = self.programs.run(_heads, [ready], memory_mb)
    return _finish(images[0], found[0], gray=False), _finish(images[1], found[1], gray=True)

  def fuse_and_restore(
    self, visible: Any, infrared: Any, *, memory_mb: float | None = None
  ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gives the fused luma [H, W, 1] and what `restore_pair` does, by one pass of the network."""
    images, ready = self._as_both(visible, infrared)
    ((fused, *found),) = self.programs.run(_outputs, [ready], memory_mb)
    return (
      _finish(images[0], fused, gray=True),
      _finish(images[0], found[0], gray=False),
      _finish(images[1], found[1], gray=True),
    )

  def _as_both(self, visible: Any, infrared: Any) -> tuple[tuple, tuple]:
    """One pair as [H, W, C] with the luma of the infrared image, and as the network takes it."""
    images = [_whole(visible, "visible"), _whole(infrared, "infrared")]
    self._check(images[:1], images[1:])
    plain, luma_of_infrared = images[0], colour.luma(images[1])[..., None]
    dtype = self.programs.module.ways.exact
    ready = (in_colour(to_float(plain, dtype)), to_float(luma_of_infrared, dtype))
    return (plain, luma_of_infrared), ready

  def _fuse_ready(self, task: Task) -> list[np.ndarray]:
    """Fuses the pairs, one per device at once."""
    fused = self._run(_fused, task)
    return [_finish(v, f, task.gray) for v, f in zip(task.visibles, fused, strict=True)]

  def _fuse_with_details(self, task: Task) -> tuple[list[np.ndarray], Fusion]:
    """Fuses pairs of one size, and gives what the class calls details."""
    results = self._run(_details, task)
    pictures = [
      _finish(v, r.pop("picture"), task.gray) for v, r in zip(task.visibles, results, strict=True)
    ]
    parts = [Fusion(**result) for result in results]
    details = jax.tree.map(lambda *images: np.stack(images), *parts)
    height, width = task.visibles[0].shape[:2]
    return pictures, details.replace(fused=details.fused[:, :height, :width])

  def _run(self, function: Callable, task: Task) -> list:
    """Results of all pairs in order, computed in groups of one size, one pair per device."""
    visibles, infrareds = task.visibles, task.infrareds
    dtype, results = self.programs.module.ways.exact, [None] * len(visibles)
    by_size: dict[Size, list[int]] = {}
    for i, visible in enumerate(visibles):
      by_size.setdefault(self.bucket(visible.shape[:2]), []).append(i)
    for members in by_size.values():
      for first in range(0, len(members), len(self.devices)):
        group = members[first : first + len(self.devices)]
        images = [
          (in_colour(to_float(visibles[i], dtype)), to_float(infrareds[i], dtype)) for i in group
        ]
        found = self.programs.run(function, images, task.memory_mb)
        for i, result in zip(group, found, strict=True):
          results[i] = result
    return results


class Restorer:
  """Restores degraded visible images with the weights of a restoration network."""

  def __init__(self, programs: Programs):
    """programs: of the restoration network."""
    self.programs = programs

  def restore(self, visible: Any, *, memory_mb: float | None = None) -> np.ndarray:
    """Restores one image [H, W, C], uint8, uint16 or floating point in [0, 1], of its dtype.

    visible: whatever `images.given.to_array` takes.
    """
    image = _whole(visible, "visible")
    prepared = in_colour(to_float(image, self.programs.module.ways.exact))
    (restored,) = self.programs.run(_restored, [(prepared,)], memory_mb)
    return _finish(image, restored, gray=False)


def _whole(image: Any, name: str) -> np.ndarray:
  """An image that a user gave as [H, W, C]; InputError where pixels have no value."""
  array = arrays.as_image(to_array(image, name), name)
  masks.require_values(validity.of(array), name)
  return array


def _fused(module: AMGFuse, variables: Mapping, visible: Array, infrared: Array) -> Array:
  return module.apply(variables, visible, infrared, only_fused=True).fused


def _heads(module: AMGFuse, variables: Mapping, visible: Array, infrared: Array) -> tuple:
  fusions = module.apply(variables, visible, infrared)
  return fusions.visible, fusions.infrared


def _outputs(module: AMGFuse, variables: Mapping, visible: Array, infrared: Array) -> tuple:
  fusions = module.apply(variables, visible, infrared)
  return fusions.fused, fusions.visible, fusions.infrared


def _restored(module: Restoration, variables: Mapping, visible: Array) -> Array:
  return module.apply(variables, visible)


def _details(module: AMGFuse, variables: Mapping, visible: Array, infrared: Array) -> dict:
  fusions: Fusions = module.apply(variables, visible, infrared, only_fused=True)
  levels = len(module.blocks)
  down, up = fusions.after[:levels], fusions.after[levels - 1 :][::-1]
  return {
    "picture": fusions.fused,
    "fused": jnp.clip(luma(fusions.fused), 0, 1),
    "gates": tuple(mask.mean(-1, keepdims=True) for mask in fusions.masks[levels - 1 :][::-1]),
    "features": {
      "visible": tuple(streams.visible for streams in down),
      "infrared": tuple(streams.infrared for streams in down),
    },
    "levels": tuple(streams.fused for streams in up),
  }


def _finish(visible: np.ndarray, picture: np.ndarray, gray: bool) -> np.ndarray:
  """The picture [H, W, 3], cut to the size, channels and dtype of the visible image [H, W, C]."""
  height, width, channels = visible.shape
  picture = np.clip(picture[:height, :width], 0, 1)
  if gray or channels == 1:
    picture = colour.luma(picture)[..., None]
  picture = arrays.quantize(picture, visible.dtype)
  return np.concatenate([picture, visible[..., 3:]], -1) if channels == 4 and not gray else picture
