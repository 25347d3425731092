"""Radiometric JPEG: temperatures, and the visible picture, that thermal cameras keep beside theirs.

FLIR's files hold, in segments APP1, a container with a directory of records: the sensor's counts,
what turns them into temperatures, and in many cameras the picture of a visible lens. The layout is
that of the tag tables of ExifTool (FLIR). DJI's files are recognised, and refused with the way on.
"""

import dataclasses
import io
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

import numpy as np
from PIL import Image

from cfi_jax.core.types import InputError

_HEAD = b"FLIR\0"  # of a segment; a byte 1, its number and the last number follow
_APP1, _APP3, _APP4 = 0xE1, 0xE3, 0xE4
_COUNTS, _VISIBLE, _CAMERA = 1, 14, 32  # types of records
_DJI = (
  "a radiometric JPEG of DJI: its picture shows a palette, and its temperatures need DJI's own "
  "thermal SDK; save them as floating-point TIFF first (DJI's dji_irp, or dji-thermal-cli), or the "
  "picture alone as PNG to fuse its colours"
)
# Constants of the camera by offset in its record, and what they must be.
_FIELDS = {
  "emissivity": 32, "reflected temperature": 40, "window temperature": 48,
  "window transmission": 52, "Planck R1": 88, "Planck B": 92, "Planck F": 96, "Planck R2": 780,
}  # fmt: skip
_PLANCK_O = 776
# Shares of the radiation and the temperature of the rest, which where there is none may be empty.
_SHARES = {
  "emissivity": "reflected temperature",
  "window transmission": "window temperature",
}
Segment = tuple[int, bytes, int]  # marker, content, and its length as it should be


@dataclasses.dataclass(frozen=True)
class Thermal:
  """Contents of a FLIR file beside its picture. found: text on its segments, for errors."""

  records: dict[int, bytes]
  found: str

  def kelvin(self, max_pixels: int) -> np.ndarray:
    """Temperatures of the scene, float32 [H, W]; NaN where the counts mean none.

    Emissivity, reflected temperature and the window before the lens are accounted for as the file
    says; the air between (distance, humidity) is not: at 1 m it changes about 0.4 K.
    """
    counts = self._counts(max_pixels).astype(np.float64)
    value = self._constants()
    r1, r2, b, f, offset = (value[f"Planck {name}"] for name in ("R1", "R2", "B", "F", "O"))

    def without(share: str, temperature: str, seen: np.ndarray) -> np.ndarray:
      """The radiation of which a share is seen, the rest being that of a temperature."""
      if value[share] == 1:
        return seen
      other = r1 / (r2 * (np.exp(b / value[temperature]) - f)) - offset
      return (seen - (1 - value[share]) * other) / value[share]

    own = counts
    for share, temperature in reversed(_SHARES.items()):
      own = without(share, temperature, own)
    with np.errstate(divide="ignore", invalid="ignore"):
      found = b / np.log(r1 / (r2 * (own + offset)) + f)
    return np.where(np.isfinite(found) & (found > 0), found, np.nan).astype(np.float32)

  def _constants(self) -> dict[str, float]:
    """The camera's constants by name; raises InputError for what they cannot be."""
    camera = self._record(_CAMERA, "the camera's constants", _FIELDS["Planck R2"] + 4)
    order = _order(camera)
    value = {n: struct.unpack_from(f"{order}f", camera, at)[0] for n, at in _FIELDS.items()}
    unused = {temperature for share, temperature in _SHARES.items() if value[share] == 1}
    for name, number in value.items():
      most = 1.0 if name in _SHARES else np.finfo(np.float32).max
      if name not in unused and not 0 < number <= most:
        allowed = "above 0, up to 1" if name in _SHARES else "above 0"
        raise InputError(f"FLIR's {name} is {number:g}; allowed: {allowed}")
    value["Planck O"] = struct.unpack_from(f"{order}i", camera, _PLANCK_O)[0]
    return value

  def visible(self) -> BinaryIO:
    """The file of the visible picture; raises InputError where there is none."""
    if _VISIBLE not in self.records:
      raise InputError("this radiometric JPEG of FLIR holds no visible picture")
    content = self._record(_VISIBLE, "the visible picture", 32)[32:]
    if content.startswith(b"\xff\xd8\xff"):
      return io.BytesIO(content)
    if not content.startswith(b"\x89PNG"):
      raise InputError("FLIR's visible picture is neither JPEG nor PNG, which are read")
    # Luma and chroma in the channels of a PNG, which knows RGB alone.
    planes = Image.open(io.BytesIO(content), formats=("PNG",)).convert("RGB").split()
    file = io.BytesIO()
    Image.merge("YCbCr", planes).convert("RGB").save(file, "PNG", compress_level=1)
    return file

  def _record(self, kind: int, name: str, least: int) -> bytes:
    record = self.records.get(kind)
    if record is None:
      raise InputError(f"FLIR's container lacks {name} (record {kind}); {self.found}")
    if len(record) < least:
      raise InputError(f"FLIR's {name} (record {kind}) is cut; {self.found}")
    return record

  def _counts(self, max_pixels: int) -> np.ndarray:
    record = self._record(_COUNTS, "the thermal picture", 32)
    order = _order(record)
    width, height = struct.unpack_from(f"{order}HH", record, 2)
    if width * height > max_pixels:
      raise InputError(f"{width}x{height} pixels exceed the limit of {max_pixels} (max_pixels)")
    data = record[32:]
    if data.startswith(b"\x89PNG"):
      try:
        picture = Image.open(io.BytesIO(data), formats=("PNG",))
        swapped = np.asarray(picture)
      except Exception as error:  # pillow's decoders raise nearly any type on damaged bytes
        raise InputError(f"FLIR's thermal picture is damaged ({error}); {self.found}") from error
      if not picture.mode.startswith("I") or picture.size != (width, height):
        raise InputError(
          f"FLIR's thermal picture is {picture.mode} of {picture.size[0]}x{picture.size[1]}; "
          f"allowed: 16 bits of {width}x{height}; {self.found}"
        )
      return swapped.astype(np.uint16).byteswap()  # FLIR's PNG has the low byte first
    if data.startswith(b"\xff\xd8"):
      raise InputError("FLIR's thermal picture is compressed as JPEG-LS; read are PNG and none")
    if len(data) < 2 * width * height:
      raise InputError(
        f"FLIR's thermal picture holds {len(data)} of {2 * width * height} bytes; {self.found}"
      )
    return np.frombuffer(data, f"{order}u2", width * height).reshape(height, width)


def find(file: BinaryIO) -> Thermal | None:
  """The thermal data of an open file; None where it is no radiometric JPEG.

  Raises InputError where a segment is missing or cut, with those found, and for DJI's files.
  """
  return of_segments(_segments(file))


def of_pillow(picture: Image.Image) -> Thermal | None:
  """The thermal data of a pillow image that was opened from a JPEG; see `find`."""
  parts = getattr(picture, "applist", [])
  return of_segments(
    (0xE0 + int(name[3:]), content, len(content)) for name, content in parts if name[:3] == "APP"
  )


def of_segments(segments: Iterable[Segment]) -> Thermal | None:
  """The thermal data in the segments of a JPEG; see `find`."""
  parts: dict[int, tuple[bytes, int]] = {}
  last, by_dji, raw = 0, False, False
  for marker, content, length in segments:
    if marker == _APP1 and content.startswith(_HEAD) and len(content) >= 8:
      last = max(last, content[7])
      parts.setdefault(content[6], (content[8:], length - 8))
    elif marker == _APP1:
      by_dji |= b"drone-dji" in content or b"DJI" in content[:2048]
    else:
      raw |= content[:2] == b"\xaa\x55" or (marker == _APP3 and length > 1024)
  if not parts:
    if by_dji and raw:
      raise InputError(_DJI)
    return None
  cut = [f"{k + 1} ({len(p)} of {size} bytes)" for k, (p, size) in parts.items() if len(p) < size]
  lacking = [str(k + 1) for k in range(last + 1) if k not in parts]
  found = f"found {len(parts)} of {last + 1} segments of thermal data"
  if cut or lacking:
    found += f", cut: {', '.join(cut)}" if cut else ""
    found += f", missing: {', '.join(lacking)}" if lacking else ""
    raise InputError(f"a damaged radiometric JPEG of FLIR: {found}")
  return Thermal(_records(b"".join(parts[k][0] for k in range(last + 1)), found), found)


def _segments(file: BinaryIO) -> Iterator[Segment]:
  """The segments APP1, APP3 and APP4 of a JPEG, none of other files."""
  file.seek(0)
  if file.read(2) != b"\xff\xd8":
    return
  head = file.read(4)
  while len(head) == 4 and head[0] == 0xFF and head[1] not in (0xDA, 0xD9):
    marker, length = head[1], max(int.from_bytes(head[2:], "big") - 2, 0)
    if marker in (_APP1, _APP3, _APP4):
      yield marker, file.read(length), length
    else:
      file.seek(length, io.SEEK_CUR)
    head = file.read(4)


def _records(container: bytes, found: str) -> dict[int, bytes]:
  """The first record of each type in a container."""
  if container[:4] not in (b"FFF\0", b"AFF\0") or len(container) < 32:
    raise InputError(f"the thermal data of FLIR begin with {container[:4]!r}, not FFF; {found}")
  order = ">" if 100 <= int.from_bytes(container[20:24], "big") < 200 else "<"
  start, count = struct.unpack_from(f"{order}II", container, 24)
  records: dict[int, bytes] = {}
  for place in range(start, start + 32 * count, 32):
    if place + 32 > len(container):
      raise InputError(f"the directory of FLIR's records is cut at byte {len(container)}; {found}")
    (kind,) = struct.unpack_from(f"{order}H", container, place)
    offset, length = struct.unpack_from(f"{order}II", container, place + 12)
    if kind in (_COUNTS, _VISIBLE, _CAMERA) and offset + length > len(container):
      raise InputError(
        f"FLIR's record {kind} ends at byte {offset + length} of {len(container)}; {found}"
      )
    if kind:
      records.setdefault(kind, container[offset : offset + length])
  return records


def _order(record: bytes) -> str:
  """The byte order of a record, which begins with a small number of 16 bits."""
  return "<" if record[0] else ">"
