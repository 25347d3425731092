"""Writing fused frames: as numbered files, as pages of a TIFF, or as a video."""

import contextlib
import pathlib
from fractions import Fraction
from typing import Any, Protocol

import numpy as np

from cfi_jax.core import files, storage
from cfi_jax.core.files import accident, require_folder
from cfi_jax.core.types import InputError
from cfi_jax.images import write as pictures
from cfi_jax.sequences import opening
from cfi_jax.sequences.recording import Recording

TIFFS = (".tif", ".tiff")
VIDEOS = (".mkv", ".mp4")


class Writer(Protocol):
  """A place for the frames of a sequence, in order."""

  @property
  def description(self) -> str:
    """The way frames are stored, as it is said."""

  def type_for(self, dtype: np.dtype, channels: int) -> np.dtype:
    """The type that frames are given in, for values of a type; raises InputError for none."""

  def write(self, image: np.ndarray, tick: int, name: str = "") -> None:
    """Writes a frame [H, W, C]; tick: its time. name: of its file, where it gets one."""

  def finish(self) -> None:
    """Gives the whole its name."""

  def discard(self) -> None:
    """Removes what is not whole."""


class Folder:
  """Writes a file per frame, each whole or not at all."""

  def __init__(self, path: pathlib.Path, extension: str):
    """Begins a folder; extension: of the files, with its dot."""
    pictures.check_extension(extension)
    self._path, self._extension, self._count = path, extension, 0

  @property
  def description(self) -> str:
    """The kind of the files."""
    return f"{self._extension[1:]} files"

  def type_for(self, dtype: np.dtype, channels: int) -> np.dtype:
    """The type for values of a type; see `write.type_for`."""
    return pictures.type_for(f"x{self._extension}", dtype, channels)

  def write(self, image: np.ndarray, tick: int, name: str = "") -> None:
    """Writes a frame under its name, or its number."""
    stem = name or f"{self._count:06d}"
    pictures.write_image(self._path / (stem + self._extension), image)
    self._count += 1

  def finish(self) -> None:
    """Does nothing: every file is whole."""

  def discard(self) -> None:
    """Does nothing: every file is whole."""


class Pages:
  """Writes the pages of a TIFF, deflated, which gets its name when it is whole."""

  description = "pages of a TIFF, lossless"

  def __init__(self, path: pathlib.Path):
    """Begins a TIFF."""
    self._path = path
    self._unfinished = files.unfinished(path)
    self._file: Any = None

  def type_for(self, dtype: np.dtype, channels: int) -> np.dtype:
    """The type for values of a type; see `write.type_for`."""
    kind = pictures.type_for(self._path, dtype, channels)
    if kind == np.uint16 and channels > 1:
      raise InputError(f"{self._path}: colours of 16 bits; write a folder of PNG, or .mkv")
    return kind

  def write(self, image: np.ndarray, tick: int, name: str = "") -> None:
    """Writes a page."""
    import tifffile  # here, as few need it

    with self._writing():
      if self._file is None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = tifffile.TiffWriter(self._unfinished, bigtiff=True)
      grey = image.shape[-1] == 1
      self._file.write(
        image[..., 0] if grey else image,
        photometric="minisblack" if grey else "rgb",
        compression="zlib",
        contiguous=False,
        metadata=None,
      )

  def finish(self) -> None:
    """Closes the file and gives it its name."""
    with self._writing():
      self._file.close()
      files.finish(self._unfinished, self._path)

  def discard(self) -> None:
    """Removes what was written."""
    with contextlib.suppress(OSError, ValueError):
      if self._file is not None:
        self._file.close()
    with contextlib.suppress(OSError):
      self._unfinished.unlink()

  @contextlib.contextmanager
  def _writing(self) -> Any:
    try:
      yield
    except OSError as error:
      reason = f"{self._path}: cannot be written: {error.strerror or error}"
      raise accident(error, self._path) or InputError(reason) from error


def open_writer(output: pathlib.Path, visible: Recording, extension: str, last: int) -> Writer:
  """A writer of what a path names: .mkv, .mp4, .tif, else a folder of files of an extension.

  visible: whose times, and sound, a video gets. last: tick of the last frame that will be written.
  Raises InputError for other videos, for a video without times, and where nothing can be written.
  """
  suffix, timing = output.suffix.lower(), visible.timing
  require_folder(output.parent if suffix in (*TIFFS, *VIDEOS) else output)
  if suffix in TIFFS:
    return Pages(output)
  if suffix not in VIDEOS:
    if suffix in (*opening.VIDEOS, *pictures.FORMATS):
      allowed = ", ".join((*VIDEOS, *TIFFS))
      raise InputError(f"--output={output}: a sequence becomes {allowed} or a folder")
    return Folder(output, extension)
  if timing.base is None:
    raise InputError(f"--output={output}: {visible.title} has no times; --rate=FRAMES_PER_SECOND")
  from cfi_jax.sequences import video  # here, as it needs an extra

  is_video = opening.is_video(storage.path(visible.title))
  rate = timing.rate or 1 / timing.base
  end = last + round(timing.step / float(timing.base))
  return video.VideoWriter(
    output,
    timing.base,
    Fraction(rate).limit_denominator(1001),
    visible.title if is_video else "",
    end,
  )
