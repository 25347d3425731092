"""Reading a pair of image files: in one size, and with the meaning of its values decided."""

import dataclasses
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.data.threads import each
from cfi_jax.fuse.aligned import Aligner
from cfi_jax.fusion import arrays
from cfi_jax.fusion.inputs import Prepared, prepare
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import colour, palettes, ranges
from cfi_jax.images import read as images
from cfi_jax.images.ranges import Normalizer, Range

STRETCH = "infrared,stretch"
Done = tuple[str, np.dtype, Range]  # modality, type and range of an image that was read


@dataclasses.dataclass(frozen=True)
class Options:
  """Options of fusing and writing.

  gray: luma only. memory_mb: per device, None: see `Fuser.fuse`.
  max_pixels: larger files are refused unread.
  resize: "" refuses pairs of different sizes, "infrared" fits that image to the visible one if it
    has its aspect ratio, "infrared,stretch" whatever that is.
  normalize, normalize_over: see `images.ranges`. infrared_palette: of `images.palettes`, or "".
  align: brings infrared images of any size to the grid of the visible ones.
  """

  gray: bool
  memory_mb: float | None
  max_pixels: int
  resize: str
  normalize: str = "auto"
  normalize_over: str = "image"
  infrared_palette: str = ""
  align: Aligner | None = None


@dataclasses.dataclass(frozen=True)
class Job:
  """One pair of files, the file of its result, and the visible image's (height, width)."""

  name: str
  visible: pathlib.Path
  infrared: pathlib.Path
  output: pathlib.Path
  size: tuple[int, int] = (0, 0)


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


def make_normalizer(jobs: Sequence[Job], options: Options) -> Normalizer:
  """The rules of the options, with the ranges of all jobs' files where they are for the folder.

  Files that cannot be read are left out: fusing them says why.
  """
  normalizer = ranges.parse(options.normalize, MODALITIES, options.normalize_over)
  palettes.check(options.infrared_palette)
  named = [name for name in MODALITIES if normalizer.rule(name).kind in ("auto", "percentile")]
  named = [name for name in named if name == MODALITIES[0] or not options.infrared_palette]
  if options.normalize_over == "image":
    return normalizer

  def summarise(item: tuple[Job, str]) -> tuple[str, np.ndarray, np.dtype] | None:
    job, name = item
    path = getattr(job, name)
    try:
      with open(path, "rb") as file:
        header = images.read_header(file, os.fspath(path), options.max_pixels)
        if normalizer.rule(name).keeps(np.dtype(header.depth)):
          return None
        values = images.luma(images.decode(file, os.fspath(path), options.max_pixels))
    except (InputError, OSError):
      return None
    return name, ranges.summarise(values), values.dtype

  items = [(job, name) for job in jobs for name in named]
  found = each(summarise, items, "reading the values of all files", "file")
  return normalizer.of_folder(filter(None, found))


def read_pair(job: Job, options: Options) -> tuple[np.ndarray, np.ndarray]:
  """Both images [H, W, C]; in one size, unless they are to be aligned.

  Raises InputError when sizes differ and may not be resized.
  """
  visible, infrared = (
    images.read_image(path, options.max_pixels) for path in (job.visible, job.infrared)
  )
  for image, path in ((visible, job.visible), (infrared, job.infrared)):
    if min(image.shape[:2]) < arrays.MIN_SIDE:
      raise InputError(
        f"{path} is {_shape(image)} (width x height); allowed: height and width from "
        f"{arrays.MIN_SIDE}"
      )
  if options.align is None and visible.shape[:2] != infrared.shape[:2]:
    both = f"{job.visible} is {_shape(visible)} and {job.infrared} is {_shape(infrared)}"
    sizes = f"{both} (width x height)"
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


def read_ready(job: Job, options: Options, normalizer: Normalizer) -> Ready:
  """Reads a pair, and decides what its values mean."""
  visible, infrared = read_pair(job, options)
  # Grey is judged by content: a grey picture stored as RGB is written as grey.
  if visible.shape[-1] == 3 and colour.is_grey(visible):
    visible = visible[..., :1]
  palette = options.infrared_palette
  first, second = prepare(visible, infrared, normalizer, palette=palette, label=job.name)
  if options.align is None:
    return Ready(first, second)
  return Ready(first, *options.align.bring(first, second))


def _shape(image: np.ndarray) -> str:
  return f"{image.shape[1]}x{image.shape[0]}"


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Bilinear, smoothed where it shrinks, in the image's own type."""
  channels = [
    Image.fromarray(image[..., c].astype(np.float32)).resize(size[::-1], Image.Resampling.BILINEAR)
    for c in range(image.shape[-1])
  ]
  return ranges.to_type(np.stack([np.asarray(c) for c in channels], -1), image.dtype)
