"""Recordings: the frames of a scene in their order, with the times that they were taken at."""

import dataclasses
import os
import pathlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Protocol

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.images import read as images

_GAP = 1.5  # of the usual step, from which on frames are missing between two


@dataclasses.dataclass(frozen=True, eq=False)
class Timing:
  """The times of all frames.

  ticks: int64 [N], ascending. base: seconds of a tick; None where ticks are mere numbers.
  cut: sentence on an end that is missing, "" for none.
  """

  ticks: np.ndarray
  base: Fraction | None
  cut: str = ""

  def __len__(self) -> int:
    return len(self.ticks)

  @property
  def seconds(self) -> np.ndarray:
    """Seconds since the first frame, float64 [N]; numbers since it without a base."""
    return (self.ticks - self.ticks[0]) * float(self.base or 1)

  @property
  def rate(self) -> Fraction | None:
    """Frames a second, on the mean of all steps but gaps; None without times."""
    if self.base is None or len(self) < 2:
      return None
    steps = np.diff(self.ticks)
    usual = steps[steps <= _GAP * np.median(steps)]
    return len(usual) / (int(usual.sum()) * self.base)

  @property
  def step(self) -> float:
    """Seconds from frame to frame; of numbers 1, of a single frame 0."""
    if len(self) < 2:
      return 0.0
    return 1.0 if self.rate is None else float(1 / self.rate)


class Recording(Protocol):
  """The frames of a folder, a TIFF or a video."""

  @property
  def title(self) -> str:
    """Name in messages."""

  @property
  def timing(self) -> Timing:
    """The times of all frames; for a video its packets were read."""

  @property
  def names(self) -> tuple[str, ...]:
    """Names of the frames, () where they have none."""

  def frames(self) -> Iterator[np.ndarray]:
    """Yields all frames [H, W, C] as stored, of one size and type, one at a time.

    Raises InputError that names the frame that cannot be read, differs, or is missing.
    """


@dataclasses.dataclass(frozen=True, eq=False)
class Files:
  """A `Recording` of numbered image files."""

  title: str
  paths: tuple[pathlib.Path, ...]
  names: tuple[str, ...]
  timing: Timing
  max_pixels: int

  def frames(self) -> Iterator[np.ndarray]:
    """Yields all frames; see `Recording`."""
    read = (images.read_image(path, self.max_pixels) for path in self.paths)
    return alike(read, lambda k: os.fspath(self.paths[k]))


@dataclasses.dataclass(frozen=True, eq=False)
class Pages:
  """A `Recording` of the pages of a TIFF."""

  title: str
  timing: Timing
  max_pixels: int
  names: tuple[str, ...] = ()

  def frames(self) -> Iterator[np.ndarray]:
    """Yields all frames; see `Recording`."""
    with images.open_picture(self.title) as file:
      read = images.decode_pages(file, self.title, self.max_pixels)
      yield from alike(read, lambda k: f"{self.title}: page {k}")


def alike(frames: Iterator[np.ndarray], label: Callable[[int], str]) -> Iterator[np.ndarray]:
  """Yields frames; raises InputError, which the label begins, for one unlike the first."""
  first: np.ndarray | None = None
  for k, frame in enumerate(frames):
    first = frame if first is None else first
    if frame.shape != first.shape or frame.dtype != first.dtype:
      raise InputError(
        f"{label(k)} is {_kind(frame)} and {label(0)} is {_kind(first)} (width x height x "
        "channels); the frames of a sequence must be alike"
      )
    yield frame


def _kind(frame: np.ndarray) -> str:
  height, width, channels = frame.shape
  return f"{width}x{height}x{channels} of {frame.dtype}"
