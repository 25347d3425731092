"""Videos by PyAV: their frames and times read, and fused frames written with the sound."""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from cfi_jax.core import files, storage
from cfi_jax.core.types import InputError
from cfi_jax.images import read as images
from cfi_jax.sequences.recording import Timing, alike

try:
  import av
except ImportError as error:
  raise InputError(
    'videos need PyAV, the extra video: pip install "cfi_jax[video]" (or pip install av)'
  ) from error

_CUT = 1.5  # frames that may be missing before the end that a header says
_BT_601, _LIMITED = 6, 1  # FFmpeg's numbers: the matrix from RGB, and levels from 16 to 235
_NS = Fraction(1, 10**9)


@dataclasses.dataclass(frozen=True, eq=False)
class Video:
  """A `Recording` of a video's first picture stream."""

  title: str
  timing: Timing
  max_pixels: int
  names: tuple[str, ...] = ()

  def frames(self) -> Iterator[np.ndarray]:
    """Yields all frames; see `Recording`."""
    return alike(self._decoded(), lambda k: f"{self.title}: frame {k}")

  def _decoded(self) -> Iterator[np.ndarray]:
    count = 0
    with readable(self.title), av.open(os.fspath(storage.local(self.title))) as container:
      stream = _picture_stream(container, self.title)
      stream.thread_type = "AUTO"
      for frame in container.decode(stream):
        if frame.is_corrupt:
          raise InputError(f"frame {count} of {len(self.timing)} is damaged")
        yield _to_array(frame)
        count += 1
      if count != len(self.timing):
        raise InputError(f"{count} of {len(self.timing)} frames can be decoded")


def open_video(path: pathlib.Path, max_pixels: int = images.MAX_PIXELS) -> Video:
  """Opens a video and reads the times of its packets, decoding none.

  Raises InputError for what is no video, has no frame, or frames of more than `max_pixels`.
  """
  with readable(os.fspath(path)), av.open(os.fspath(storage.local(path))) as container:
    stream = _picture_stream(container, os.fspath(path))
    if stream.width * stream.height > max_pixels:
      size = f"{stream.width}x{stream.height}"
      raise InputError(f"{size} pixels exceed the limit of {max_pixels} (max_pixels)")
    packets = (p for p in container.demux(stream) if p.pts is not None and p.size)
    ticks = np.array(sorted(p.pts for p in packets if not p.is_discard), np.int64)
    if not len(ticks):
      raise InputError("holds no frame")
    timing = Timing(ticks, Fraction(stream.time_base))
    said = _said_seconds(container, stream)
  shown = timing.seconds[-1] + timing.step
  if said is not None and said - shown > _CUT * timing.step:
    cut = f"is cut: {len(ticks)} frames, {shown:.2f} of {float(said):.2f} s"
    timing = dataclasses.replace(timing, cut=cut)
  return Video(os.fspath(path), timing, max_pixels)


@contextlib.contextmanager
def readable(label: str) -> Iterator[None]:
  """Turns what FFmpeg raises into an InputError that names the file."""
  try:
    yield
  except InputError as error:
    raise InputError(f"{label}: {error}") from error
  except (av.FFmpegError, OSError, ValueError) as error:
    raise InputError(f"{label}: cannot be read as a video ({error})") from error


def _picture_stream(container: Any, label: str) -> Any:
  if not container.streams.video:
    raise InputError(f"{label} has no picture stream")
  return container.streams.video[0]


def _said_seconds(container: Any, stream: Any) -> Fraction | None:
  """The duration that a header says of the pictures; None where none does."""
  if stream.duration is not None:
    return stream.duration * Fraction(stream.time_base)
  match = re.fullmatch(r"(\d+):(\d+):(\d+)\.(\d{9})\d*", stream.metadata.get("DURATION", ""))
  if match is not None:
    hours, minutes, seconds, rest = map(int, match.groups())
    return 3600 * hours + 60 * minutes + seconds + rest * _NS
  if container.duration is not None and len(container.streams) == 1:
    return Fraction(container.duration, av.time_base)
  return None


def _to_array(frame: Any) -> np.ndarray:
  """The values of a frame [H, W, C]: grey of any type and 8-bit colours as they are stored.

  Colours of more bits become uint16 RGB of the full range; alpha is dropped.
  """
  kind = frame.format.name
  if kind == "gray":
    array = frame.to_ndarray(format="gray")[..., None]
  elif kind.startswith("grayf"):
    array = frame.to_ndarray(format="grayf32le")[..., None]
  elif kind.startswith("gray"):
    if kind.endswith("be"):
      frame = frame.reformat(format=kind[:-2] + "le")
    plane = frame.planes[0]
    rows = np.frombuffer(plane, "<u2").reshape(-1, plane.line_size // 2)
    array = rows[: frame.height, : frame.width, None].astype(np.uint16)
  elif max(part.bits for part in frame.format.components) > 8:
    array = frame.to_ndarray(format="rgb48le").astype(np.uint16)
  else:
    array = frame.to_ndarray(format="rgb24")
  return np.rot90(array, frame.rotation // 90) if frame.rotation else array


# Extension -> container, codec, its options, and by depth and channels the format of its pixels.
_CODECS = {
  ".mkv": (
    "matroska",
    "ffv1",
    {"level": "3", "slicecrc": "1"},
    {(8, 1): "gray", (8, 3): "bgr0", (16, 1): "gray16le", (16, 3): "gbrp16le"},
  ),
  ".mp4": ("mp4", "libx264", {"crf": "18"}, {(8, 1): "yuv420p", (8, 3): "yuv420p"}),
}
_GIVEN = {(8, 1): "gray", (8, 3): "rgb24", (16, 1): "gray16le", (16, 3): "rgb48le"}


class VideoWriter:
  """Writes frames, and the sound of another file, to a video that gets its name when it is whole.

  Frames are lossless in .mkv (FFV1, 8 or 16 bits), and for looking in .mp4 (H.264, 8 bits: 16 are
  rounded to them, sides made even by repeating the border).
  """

  def __init__(
    self, path: pathlib.Path, base: Fraction, rate: Fraction, sound: str = "", end: int = 0
  ):
    """Begins a video.

    base: seconds of a tick. rate: frames a second, for the header. sound: file whose first sound
    stream is copied up to the tick `end`, "" for none.
    """
    self._path, self._base, self._rate = path, base, rate
    self._unfinished = files.unfinished(path)
    self._format, self._codec, self._options, self._pixels = _CODECS[path.suffix.lower()]
    self._container: Any = None
    self._stream: Any = None
    self._sound, self._end = sound, end
    self._packets: Iterator[Any] = iter(())
    self._next: Any = None
    self._input: Any = None

  @property
  def description(self) -> str:
    """The codec and the pixels, as they are said."""
    lossy = "lossy, for looking" if self._codec == "libx264" else "lossless"
    return f"{self._codec}, {self._stream.pix_fmt if self._stream else 'no frame'}, {lossy}"

  def type_for(self, dtype: np.dtype, channels: int) -> np.dtype:
    """The type that frames are given in: 8 bits as they are, others as uint16."""
    if channels == 4:
      raise InputError(f"{self._path}: a video holds no alpha; write a folder of PNG")
    return np.dtype(np.uint8 if np.dtype(dtype) == np.uint8 else np.uint16)

  def write(self, image: np.ndarray, tick: int, name: str = "") -> None:
    """Writes a frame [H, W, C] of `type_for`, shown at a tick, and the sound before it."""
    if (8, image.shape[-1]) in self._pixels and (16, image.shape[-1]) not in self._pixels:
      image = _eight_bits(image)
      even = [(0, side % 2) for side in image.shape[:2]]
      image = np.pad(image, [*even, (0, 0)], mode="edge")
    kind = 8 * image.dtype.itemsize, image.shape[-1]
    with self._writing():
      if self._container is None:
        self._open(image, self._pixels[kind])
      plain = np.ascontiguousarray(image[..., 0] if image.shape[-1] == 1 else image)
      frame = av.VideoFrame.from_ndarray(plain, format=_GIVEN[kind])
      frame.pts, frame.time_base = tick, self._base
      self._copy_sound(tick)
      for packet in self._stream.encode(frame):
        self._container.mux(packet)

  def finish(self) -> None:
    """Writes what is left, and gives the file its name."""
    with self._writing():
      for packet in self._stream.encode():
        self._container.mux(packet)
      self._copy_sound(self._end)
      self._close()
      files.finish(self._unfinished, self._path)

  def discard(self) -> None:
    """Removes what was written."""
    with contextlib.suppress(av.FFmpegError, OSError):
      self._close()
    with contextlib.suppress(OSError):
      self._unfinished.unlink()

  def _open(self, image: np.ndarray, pixels: str) -> None:
    self._path.parent.mkdir(parents=True, exist_ok=True)
    self._container = av.open(os.fspath(self._unfinished), "w", format=self._format)
    self._stream = self._container.add_stream(self._codec, rate=self._rate, options=self._options)
    self._stream.height, self._stream.width = image.shape[:2]
    self._stream.pix_fmt = pixels
    context = self._stream.codec_context
    context.time_base = self._base
    if pixels.startswith("yuv"):  # which players would else guess by the size
      context.colorspace, context.color_range = _BT_601, _LIMITED
    if self._sound:
      self._input = av.open(os.fspath(storage.local(self._sound)))
      if self._input.streams.audio:
        source = self._input.streams.audio[0]
        copied = self._container.add_stream_from_template(source)
        self._packets = _copied(self._input.demux(source), copied)
        self._next = next(self._packets, None)

  def _copy_sound(self, tick: int) -> None:
    """Copies the packets of sound before a tick."""
    while self._next is not None and self._next.pts * self._next.time_base < tick * self._base:
      self._container.mux(self._next)
      self._next = next(self._packets, None)

  def _close(self) -> None:
    for opened in (self._container, self._input):
      if opened is not None:
        opened.close()
    self._container = self._input = None

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    try:
      yield
    except (av.FFmpegError, OSError, ValueError) as error:
      known = files.accident(error, self._path) if isinstance(error, OSError) else None
      raise known or InputError(
        f"{self._path}: cannot be written as {self._codec} ({error}); .mkv holds any size, 8 and "
        "16 bits, and any sound"
      ) from error


def _copied(packets: Iterator[Any], stream: Any) -> Iterator[Any]:
  for packet in packets:
    if packet.dts is not None and packet.pts is not None:
      packet.stream = stream
      yield packet


def _eight_bits(image: np.ndarray) -> np.ndarray:
  if image.dtype == np.uint8:
    return image
  return ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
