"""A split that stays on the device: decoded once, and cut there into the samples of each step."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from cfi_jax.core.types import Array, InputError
from cfi_jax.data import augment
from cfi_jax.data.source import Source
from cfi_jax.data.threads import each
from cfi_jax.images.read import Header


@dataclasses.dataclass(frozen=True)
class Layout:
  """One canvas per image name that holds this image of every record of a split.

  crop: smaller images are padded to it by reflection, as `augment.pad_to` does.
  sizes: int [N, 2], height and width of each record as stored; its place is the upper left corner.
  shapes: [N, height, width] of a canvas of luma, [N, 3, height, width] of RGB, whose planes lie
    apart, since a last axis of 3 would be padded to 128 on some accelerators.
  depths: dtype of each canvas: uint8, or uint16 if any of its files is.
  """

  crop: int
  sizes: np.ndarray
  shapes: dict[str, tuple[int, ...]]
  depths: dict[str, type[np.unsignedinteger]]

  @property
  def bytes(self) -> int:
    """Size of all canvases."""
    return sum(math.prod(self.shapes[n]) * np.dtype(d).itemsize for n, d in self.depths.items())


def lay_out(headers: Sequence[Mapping[str, Header]], crop: int) -> Layout:
  """Plans the canvases of a split (one record or more) by its files' headers alone."""
  firsts = [next(iter(record.values())) for record in headers]
  sizes = np.array([(header.height, header.width) for header in firsts])
  height, width = (max(int(side), crop) for side in sizes.max(0))
  shapes, depths = {}, {}
  for name, header in headers[0].items():
    planes = (header.channels,) * (header.channels > 1)
    shapes[name] = (len(sizes), *planes, height, width)
    wide = any(record[name].depth == np.uint16 for record in headers)
    depths[name] = np.uint16 if wide else np.uint8
  return Layout(crop, sizes, shapes, depths)


def read(source: Source, layout: Layout) -> dict[str, np.ndarray]:
  """Decodes every record of the split into canvases, by image name, in this machine's memory.

  Raises InputError naming a file that cannot be decoded, or is not what its header said. 8-bit
  images among 16-bit ones are multiplied by 257: both then mean the same fraction of the largest.
  """
  canvases = {name: np.zeros(shape, layout.depths[name]) for name, shape in layout.shapes.items()}

  def fill(index: int) -> None:
    for name, image in source[index].items():
      canvas = canvases[name]
      channels = canvas.shape[1] if canvas.ndim == 4 else 1
      if image.shape != (*layout.sizes[index], channels) or image.itemsize > canvas.itemsize:
        raise InputError(
          f"{source.title}: {source.names[index]} has changed since its header was read"
        )
      if image.itemsize < canvas.itemsize:
        image = image.astype(canvas.dtype) * 257
      image = augment.pad_to(image, layout.crop)
      height, width, _ = image.shape
      planes = np.moveaxis(image, -1, 0) if canvas.ndim == 4 else image[..., 0]
      canvas[index, ..., :height, :width] = planes

  each(fill, range(len(source)), f"reading {source.title}", "record")
  return canvases


def cut(canvases: Mapping[str, Array], integers: Array, crop: int) -> dict[str, Array]:
  """Cuts one sample, float32 [crop, crop, C] by image name, as `augment.apply` does; for jit.

  canvases: those of `read`. integers: a row [6] of `pipeline.train_cuts`.
  """
  record, top, left, flip_horizontal, flip_vertical, transpose = integers

  def one(canvas: Array) -> Array:
    planes = canvas.shape[1:-2]
    at = (record, *(0 for _ in planes), top, left)
    image = lax.dynamic_slice(canvas, at, (1, *planes, crop, crop))[0]
    image = jnp.where(flip_horizontal, image[..., ::-1], image)
    image = jnp.where(flip_vertical, image[..., ::-1, :], image)
    image = to_float(jnp.where(transpose, image.swapaxes(-1, -2), image))
    return jnp.moveaxis(image, 0, -1) if planes else image[..., None]

  return {name: one(canvas) for name, canvas in canvases.items()}


def to_float(levels: Array) -> Array:
  """Converts uint8 or uint16 to float32 in [0, 1]: the exactly rounded quotient by the largest.

  Compilers replace a division by a constant, or approximate it, and samples would then depend on
  the device. With M the largest level, x / M = s + s / M where s = x / (M + 1) has no rounding
  error, so that only the last addition rounds what is seen (tested for every level).
  """
  largest = float(jnp.iinfo(levels.dtype).max)
  share = levels.astype(jnp.float32) * np.float32(1 / (largest + 1))
  return share + share * np.float32(1 / largest)
