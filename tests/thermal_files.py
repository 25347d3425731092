"""Radiometric JPEGs as thermal cameras write them, small and synthetic, of no camera's data."""

import io
import struct

import numpy as np
from PIL import Image

PLANCK = {"R1": 17096.453, "R2": 0.046642166, "B": 1428.0, "F": 1.0, "O": -342}
SIZE = (40, 60)


def scene(seed=0, size=SIZE):
  """Degrees Celsius [H, W] of a slope with a warm person and a hot engine."""
  y, x = np.mgrid[: size[0], : size[1]].astype(float)
  celsius = 15 + 8 * y / size[0] + 3 * np.sin(x / 9) * np.cos(y / 13)
  celsius[10:24, 15:22] = 34
  celsius[28:34, 40:52] = 70
  return celsius + np.random.default_rng(seed).normal(0, 0.05, size)


def radiation(kelvin):
  """Counts that a temperature gives by Planck's law with these constants."""
  planck = PLANCK["R1"] / (PLANCK["R2"] * (np.exp(PLANCK["B"] / kelvin) - PLANCK["F"]))
  return planck - PLANCK["O"]


def counts(celsius, emissivity=1.0, reflected=293.15, window=1.0):
  """Counts, uint16, of a scene that reflects a temperature, behind a window of 20 degrees."""
  own = emissivity * radiation(celsius + 273.15) + (1 - emissivity) * radiation(reflected)
  return np.round(window * own + (1 - window) * radiation(293.15)).astype(np.uint16)


def camera(order="<", emissivity=1.0, reflected=293.15, window=1.0, **changes):
  """The record of the camera's constants; changes: offset as "at_32" and its value."""
  record = bytearray(1000)
  struct.pack_into(f"{order}H", record, 0, 2)
  floats = {32: emissivity, 36: 1.0, 40: reflected, 44: 293.15, 48: 293.15, 52: window, 60: 0.5}
  floats |= {88: PLANCK["R1"], 92: PLANCK["B"], 96: PLANCK["F"], 780: PLANCK["R2"]}
  floats |= {int(name.removeprefix("at_")): value for name, value in changes.items()}
  for at, value in floats.items():
    struct.pack_into(f"{order}f", record, at, value)
  struct.pack_into(f"{order}i", record, 776, PLANCK["O"])
  return bytes(record)


def thermal_record(raw, way="png"):
  """The record of the counts: a PNG of swapped bytes, or the numbers in an order, "<" or ">"."""
  order = "<" if way == "png" else way
  head = struct.pack(f"{order}HHH", 2, raw.shape[1], raw.shape[0]) + bytes(26)
  if way != "png":
    return head + raw.astype(f"{order}u2").tobytes()
  file = io.BytesIO()
  Image.fromarray(raw.byteswap()).save(file, "PNG")
  return head + file.getvalue()


def visible_record(picture, kind="JPEG"):
  """The record of the visible picture; a PNG has its luma and chroma for colours."""
  file = io.BytesIO()
  image = Image.fromarray(picture)
  if kind == "PNG":
    image = Image.merge("RGB", image.convert("YCbCr").split())
  image.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))
  return struct.pack("<HHH", 4, picture.shape[1], picture.shape[0]) + bytes(26) + file.getvalue()


def container(records, order=">"):
  """FLIR's container of {type: record}, its directory in a byte order."""
  start = 64 + 32 * len(records)
  entries = body = b""
  for index, (kind, record) in enumerate(records.items()):
    entry = struct.pack(f"{order}HHIIII", kind, 1, 100, index, start + len(body), len(record))
    entries += entry.ljust(32, b"\0")
    body += record
  head = struct.pack(f"{order}III", 100, 64, len(records))
  return b"FFF\0" + b"synthetic".ljust(16, b"\0") + head + bytes(32) + entries + body


def jpeg(segments=(), size=SIZE):
  """A JPEG of a grey palette picture with segments (marker, content) before it."""
  file = io.BytesIO()
  Image.new("RGB", size[::-1], (90, 90, 90)).save(file, "JPEG")
  packed = [bytes([0xFF, mark]) + struct.pack(">H", len(s) + 2) + s for mark, s in segments]
  return b"\xff\xd8" + b"".join(packed) + file.getvalue()[2:]


def segments(content, chunk=65_000):
  """The segments APP1 that carry a container."""
  parts = [content[k : k + chunk] for k in range(0, len(content), chunk)]
  last = len(parts) - 1
  return [(0xE1, b"FLIR\0\x01" + bytes([k, last]) + part) for k, part in enumerate(parts)]


def flir(celsius, visible=None, way="png", kind="JPEG", chunk=65_000, order=">", **seen):
  """The bytes of a radiometric JPEG; seen: emissivity, reflected, window."""
  records = {1: thermal_record(counts(celsius, **seen), way)}
  records[32] = camera(way if way != "png" else "<", **seen)
  if visible is not None:
    records[14] = visible_record(visible, kind)
  return jpeg(segments(container(records, order), chunk), celsius.shape)
