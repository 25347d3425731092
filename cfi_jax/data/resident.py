"""A split that stays on the device: decoded once, and cut there into the samples of each step."""

import dataclasses
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import numpy as np
import tqdm
from jax import lax

from cfi_jax.core.types import Array, InputError
from cfi_jax.data import augment
from cfi_jax.data.source import Headers, Source
from cfi_jax.fusion.types import MODALITIES, Pair


@dataclasses.dataclass(frozen=True)
class Layout:
  """One canvas [N, height, width] per modality that holds every image of a split.

  crop: smaller images are padded to it by reflection, as `augment.pad_to` does.
  sizes: int [N, 2], height and width of each record as stored; its place is the upper left corner.
  depths: dtype of each modality's canvas: uint8, or uint16 if any of its files is.
  """

  crop: int
  sizes: np.ndarray
  depths: dict[str, type[np.unsignedinteger]]

  @property
  def shape(self) -> tuple[int, int, int]:
    """Of a canvas: N, and the greatest height and width."""
    return len(self.sizes), *(max(int(side), self.crop) for side in self.sizes.max(0))

  @property
  def bytes(self) -> int:
    """Of both canvases."""
    return math.prod(self.shape) * sum(np.dtype(depth).itemsize for depth in self.depths.values())


def lay_out(headers: Sequence[Headers], crop: int) -> Layout:
  """The layout of a split (one pair or more) by its files' headers alone."""
  sizes = np.array([(pair.visible.height, pair.visible.width) for pair in headers])
  depths = {}
  for modality in MODALITIES:
    found = {getattr(pair, modality).depth for pair in headers}
    depths[modality] = np.uint16 if np.uint16 in found else np.uint8
  return Layout(crop, sizes, depths)


def read(source: Source, layout: Layout) -> Pair:
  """Decodes every pair of the split into canvases [N, height, width] in this machine's memory.

  Raises InputError naming a file that cannot be decoded, or is not what its header said. 8-bit
  images among 16-bit ones are multiplied by 257: both then mean the same fraction of the largest.
  """
  canvases = {m: np.zeros(layout.shape, layout.depths[m]) for m in MODALITIES}

  def fill(index: int) -> None:
    sample = source[index]
    for modality, canvas in canvases.items():
      image = getattr(sample, modality)
      if image.shape[:2] != tuple(layout.sizes[index]) or image.itemsize > canvas.itemsize:
        raise InputError(f"{source.title}: {sample.name} has changed since its header was read")
      if image.itemsize < canvas.itemsize:
        image = image.astype(canvas.dtype) * 257
      image = augment.pad_to(image, layout.crop)[..., 0]
      canvas[index, : image.shape[0], : image.shape[1]] = image

  pool = ThreadPoolExecutor(min(16, 2 * (os.cpu_count() or 1)))
  try:
    filled = pool.map(fill, range(len(source)))
    for _ in tqdm.tqdm(filled, f"reading {source.title}", len(source), unit="pair", delay=2):
      pass
  finally:
    pool.shutdown(cancel_futures=True)  # after a bad file the rest need not be read
  return Pair(**canvases)


def cut(canvases: Pair, integers: Array, crop: int) -> Pair:
  """One sample, float32 [crop, crop, 1], cut as `augment.apply` does; a pure function, for jit.

  canvases: [N, H, W] of `read`. integers: a row [6] of `pipeline.train_cuts`.
  """
  record, top, left, flip_horizontal, flip_vertical, transpose = integers

  def one(canvas: Array) -> Array:
    image = lax.dynamic_slice(canvas, (record, top, left), (1, crop, crop))[0]
    image = jnp.where(flip_horizontal, image[:, ::-1], image)
    image = jnp.where(flip_vertical, image[::-1], image)
    image = jnp.where(transpose, image.T, image)
    return to_float(image)[..., None]

  return Pair(visible=one(canvases.visible), infrared=one(canvases.infrared))


def to_float(levels: Array) -> Array:
  """uint8 or uint16 to float32 in [0, 1]: the quotient by 255 or 65535, rounded exactly.

  Compilers replace a division by a constant, or approximate it, and samples would then depend on
  the device. With M the largest level, x / M = s + s / M where s = x / (M + 1) has no rounding
  error, so that only the last addition rounds what is seen (tested for every level).
  """
  largest = float(jnp.iinfo(levels.dtype).max)
  share = levels.astype(jnp.float32) * np.float32(1 / (largest + 1))
  return share + share * np.float32(1 / largest)
