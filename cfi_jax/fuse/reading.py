"""Reading a pair of image files: in one size, and with the meaning of its values decided."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.data.threads import each
from cfi_jax.fuse.aligned import Aligner
from cfi_jax.fusion import arrays, masks
from cfi_jax.fusion.inputs import Prepared, prepare
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import colour, palettes, ranges, validity
from cfi_jax.images import read as images
from cfi_jax.images.range_lines import Done
from cfi_jax.images.ranges import Normalizer

STRETCH = "infrared,stretch"


@dataclasses.dataclass(frozen=True)
class Options:
  """Options of fusing and writing.

  gray: luma only. memory_mb: per device, None: see `Fuser.fuse`.
  max_pixels: larger files are refused unread.
  resize: "" refuses pairs of different sizes, "infrared" fits that image to the visible one if it
    has its aspect ratio, "infrared,stretch" whatever that is.
  normalize, normalize_over: see `images.ranges`. infrared_palette: of `images.palettes`, or "".
  window: "LOW:HIGH" of infrared images, a rule of theirs beside `normalize`.
  align: brings infrared images of any size to the grid of the visible ones.
  """

  gray: bool
  memory_mb: float | None
  max_pixels: int
  resize: str
  normalize: str = "auto"
  normalize_over: str = "image"
  infrared_palette: str = ""
  window: str = ""
  align: Aligner | None = None


@dataclasses.dataclass(frozen=True)
class Job:
  """One pair of files, the file of its result, and the visible image's (height, width).

  valid: files of masks by modality, of those that have one. embedded: the visible image is inside
  the infrared one, a radiometric JPEG.
  """

  name: str
  visible: pathlib.Path
  infrared: pathlib.Path
  output: pathlib.Path
  size: tuple[int, int] = (0, 0)
  valid: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
  embedded: bool = False

  def open(self, name: str) -> BinaryIO:
    """Opens the file of an image; raises InputError for a visible one that is not there."""
    return images.open_picture(getattr(self, name), self.embedded and name == "visible")

  def label(self, name: str) -> str:
    """The name of an image in messages."""
    inside = " (the visible picture inside)" if self.embedded and name == "visible" else ""
    return f"{getattr(self, name)}{inside}"


@dataclasses.dataclass(frozen=True)
class Ready:
  """A pair that was read: the visible image, and the infrared one as luma with its range.

  mask: [H, W], where an infrared image that was aligned has values; None for all of it.
  """

  visible: Prepared
  infrared: Prepared
  mask: np.ndarray | None = None

  @property
  def done(self) -> list[Done]:
    """Type and range of both images, as their values were taken."""
    both = zip(MODALITIES, (self.visible, self.infrared), strict=True)
    return [(name, image.stored.dtype, image.range) for name, image in both]


def make_rules(options: Options) -> Normalizer:
  """The rules of the options, with no range of a folder."""
  palettes.check(options.infrared_palette)
  normalizer = ranges.parse(options.normalize, MODALITIES, options.normalize_over)
  return normalizer.with_window("infrared", options.window)


def open_names(options: Options, normalizer: Normalizer) -> list[str]:
  """The modalities on whose ranges their images decide, but for those of 8 bits."""
  named = [name for name in MODALITIES if normalizer.rule(name).is_open(np.dtype(np.float32))]
  return [name for name in named if name == "visible" or not options.infrared_palette]


def make_normalizer(jobs: Sequence[Job], options: Options) -> Normalizer:
  """The rules of the options, with the ranges of all jobs' files where they are for the folder.

  Files that cannot be read are left out: fusing them says why.
  """
  normalizer = make_rules(options)
  named = open_names(options, normalizer)
  if options.normalize_over == "image":
    return normalizer

  def summarise(item: tuple[Job, str]) -> tuple[str, np.ndarray, np.dtype] | None:
    job, name = item
    try:
      with job.open(name) as file:
        header = images.read_header(file, job.label(name), options.max_pixels)
        if normalizer.rule(name).keeps(np.dtype(header.depth)):
          return None
      image = read_masked(job, name, options)
    except (InputError, OSError):
      return None
    values = images.luma(np.ma.getdata(image))
    return name, ranges.summarise(values, validity.of(image)), values.dtype

  items = [(job, name) for job in jobs for name in named]
  found = each(summarise, items, "reading the values of all files", "file")
  return normalizer.of_folder(filter(None, found))


def read_masked(job: Job, name: str, options: Options) -> np.ndarray:
  """An image [H, W, C] of a pair, masked where by itself or by its mask it has no value."""
  with job.open(name) as file:
    if name == "visible" and not job.embedded:
      images.require_visible(file, job.label(name))
    image = images.decode(file, job.label(name), options.max_pixels)
  path = job.valid.get(name)
  if path is None:
    return validity.apply(image)
  mask = validity.of_mask(images.read_image(path, options.max_pixels))
  return validity.apply(image, mask, os.fspath(path))


def read_pair(job: Job, options: Options) -> tuple[np.ndarray, np.ndarray]:
  """Both images [H, W, C], masked where they have no value; in one size, unless to be aligned.

  Raises InputError when their sizes differ and they may not be resized.
  """
  visible, infrared = (read_masked(job, name, options) for name in MODALITIES)
  return fit(visible, infrared, options, [job.label(name) for name in MODALITIES])


def fit(
  visible: np.ndarray, infrared: np.ndarray, options: Options, labels: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
  """Both images in one size, unless they are to be aligned; labels: of both, in messages.

  Raises InputError when their sizes differ and they may not be resized.
  """
  for image, label in zip((visible, infrared), labels, strict=True):
    if min(image.shape[:2]) < arrays.MIN_SIDE:
      raise InputError(
        f"{label} is {_shape(image)} (width x height); allowed: height and width from "
        f"{arrays.MIN_SIDE}"
      )
  if options.align is None and visible.shape[:2] != infrared.shape[:2]:
    ours, theirs = labels
    sizes = f"{ours} is {_shape(visible)} and {theirs} is {_shape(infrared)} (width x height)"
    if options.resize != STRETCH and not _same_aspect(visible.shape, infrared.shape):
      raise InputError(
        f"{sizes}: their aspect ratios differ, so they do not show the same part of a scene; crop "
        f"them alike, or --resize={STRETCH} stretches the second to the first; two cameras are "
        "aligned by python -m cfi_jax.align and --align"
      )
    if not options.resize:
      raise InputError(
        f"{sizes}; --resize=infrared fits the second to the first if they show the same scene"
      )
    infrared = _resize(infrared, visible.shape[:2])
  return visible, infrared


def _same_aspect(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
  """Whether sizes have one aspect ratio, up to a pixel of the smaller one by rounding."""
  (height, width), (low, narrow) = shape[:2], other[:2]
  apart = abs(height * narrow - width * low)
  return apart <= max(height, width, low, narrow)


def read_ready(
  job: Job, options: Options, normalizer: Normalizer, takes_valid: bool = True
) -> Ready:
  """Reads a pair, and decides what its values mean.

  takes_valid: whether pixels without a value can be left out; else they are refused.
  """
  visible, infrared = read_pair(job, options)
  # Grey is judged by content: a grey picture stored as RGB is written as grey.
  if visible.shape[-1] == 3 and colour.is_grey(np.ma.getdata(visible)):
    visible = visible[..., :1]
  labels = [job.label(name) for name in MODALITIES]
  return make_ready(visible, infrared, options, normalizer, labels, job.name, takes_valid)


def make_ready(
  visible: np.ndarray,
  infrared: np.ndarray,
  options: Options,
  normalizer: Normalizer,
  labels: Sequence[str],
  name: str = "",
  takes_valid: bool = True,
) -> Ready:
  """Decides what the values of a pair that fits mean, and aligns it.

  labels: of both images in messages. name: of the pair. takes_valid: see `read_ready`.
  """
  palette = options.infrared_palette
  first, second = prepare(visible, infrared, normalizer, palette=palette, label=name)
  if not takes_valid:
    masks.require_values(first.valid, labels[0])
    if options.align is None:  # else the result is the visible image there
      masks.require_values(second.valid, labels[1])
  if options.align is None:
    return Ready(first, second)
  return Ready(first, *options.align.bring(first, second))


def _shape(image: np.ndarray) -> str:
  return f"{image.shape[1]}x{image.shape[0]}"


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Bilinear, smoothed where it shrinks, in the image's own type.

  What has no value, 0 in a masked array, has no weight; a pixel has a value where half of the
  weight has one.
  """
  valid, values = validity.of(image), _bilinear(np.ma.getdata(image), size)
  if valid is None:
    return ranges.to_type(values, image.dtype)
  weight = _bilinear(valid, size)
  values = ranges.to_type(values / np.maximum(weight, 0.5), image.dtype)
  return validity.apply(values, weight >= 0.5)


def _bilinear(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """[H, W, C] of any type in float32, in another size."""
  channels = [
    Image.fromarray(image[..., c].astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    for c in range(image.shape[-1])
  ]
  return np.stack([np.asarray(c) for c in channels], -1)
