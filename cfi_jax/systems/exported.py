"""Files of exported graphs (`fusion.graphs`): StableHLO by `jax.export`, for cpu, cuda and tpu.

A file is a zip archive: manifest.json, and for every frame HEIGHTxWIDTH a serialised program with
the weights in it, of any batch size, which JAX runs without this package.
"""

import dataclasses
import functools
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.fusion.fuser import Fuser, Size
from cfi_jax.fusion.graphs import FusionGraph

FORMAT = "cfi_jax export 1"
PLATFORMS = ("cpu", "cuda", "tpu")
MANIFEST = "manifest.json"
SEED = 20260101  # of the images that a comparison makes


@dataclasses.dataclass(frozen=True)
class Entry:
  """Manifest of one frame: fields of its `FusionGraph`, and the file's name in the archive."""

  frame: Size
  channels: int
  smallest: int | None
  file: str

  def takes(self, size: Size) -> bool:
    """Whether images of a size have this frame's program."""
    if self.smallest is None:
      return tuple(size) == self.frame
    return min(size) >= self.smallest and all(n <= m for n, m in zip(size, self.frame, strict=True))


Run = Callable[..., Any]  # of a program: (visible, infrared[, size]) -> fused, arrays


class Exported:
  """Programs of a file, by frame; fuses images as a `Fuser` does, from floats to floats."""

  def __init__(self, entries: Sequence[Entry], programs: Mapping[str, Run], about: Mapping):
    """programs: by `Entry.file`. about: the rest of the manifest."""
    self.entries = tuple(sorted(entries, key=lambda e: e.frame[0] * e.frame[1]))
    self.programs = programs
    self.about = dict(about)

  def entry(self, size: Size) -> Entry:
    """The smallest frame that takes images of a size; InputError where none does."""
    for entry in self.entries:
      if entry.takes(size):
        return entry
    raise InputError(
      f"images of {size[0]}x{size[1]} (height x width): no program takes them; there are: "
      f"{', '.join(map(_describe, self.entries))}"
    )

  def fuse(self, visible: np.ndarray, infrared: np.ndarray) -> np.ndarray:
    """Fuses float32 [B, H, W, C] and [B, H, W, 1] in [0, 1] to float32 [B, H, W, C]."""
    height, width = visible.shape[1:3]
    entry = self.entry((height, width))
    if visible.shape[-1] != entry.channels or infrared.shape != (*visible.shape[:3], 1):
      raise InputError(
        f"visible has shape {visible.shape} and infrared {infrared.shape}; allowed: [B, H, W, "
        f"{entry.channels}] and [B, H, W, 1]"
      )
    short = [(0, m - n) for n, m in zip((height, width), entry.frame, strict=True)]
    images = [
      np.pad(np.asarray(x, np.float32), [(0, 0), *short, (0, 0)]) for x in (visible, infrared)
    ]
    size = () if entry.smallest is None else (np.array([height, width], np.int32),)
    fused = np.asarray(self.programs[entry.file](*images, *size))
    return fused[:, :height, :width]


def _describe(entry: Entry) -> str:
  least = "exactly" if entry.smallest is None else f"from {entry.smallest}x{entry.smallest} to"
  return f"{least} {entry.frame[0]}x{entry.frame[1]}"


def arguments(graph: FusionGraph, batch: Any) -> list[jax.ShapeDtypeStruct]:
  """Shapes of a graph's arguments; batch: a number, or a symbolic dimension."""
  shapes = [(batch, *graph.frame, c) for c in (graph.channels, 1)]
  taken = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  return taken if graph.smallest is None else [*taken, jax.ShapeDtypeStruct((2,), jnp.int32)]


def to_bytes(made: Sequence[FusionGraph], about: Mapping[str, Any]) -> bytes:
  """The content of a file with the programs of graphs; about: put into its manifest."""
  (batch,) = export.symbolic_shape("b")
  content, entries = io.BytesIO(), []
  with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
    for graph in made:
      entry = Entry(graph.frame, graph.channels, graph.smallest, f"{name_of(graph.frame)}.jax")
      lowered = export.export(jax.jit(graph.function), platforms=PLATFORMS)
      program = lowered(*arguments(graph, batch))
      archive.writestr(entry.file, bytes(program.serialize()))
      entries.append(dataclasses.asdict(entry))
    manifest = {"format": FORMAT, **about, "platforms": PLATFORMS, "programs": entries}
    archive.writestr(MANIFEST, json.dumps(manifest, indent=1))
  return content.getvalue()


def load(path: str | os.PathLike) -> Exported:
  """The programs of a file, for the device that JAX takes."""
  try:
    return from_bytes(storage.path(path).read_bytes())
  except OSError as error:
    raise InputError(f"{path}: {error.strerror or error}") from error
  except InputError as error:
    raise InputError(f"{path}: {error}") from error


def from_bytes(content: bytes) -> Exported:
  """The programs of a file's content; InputError where it is none of this format."""
  require_serialisation()
  try:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
      about = json.loads(archive.read(MANIFEST))
      if about.get("format") != FORMAT:
        raise InputError(f"format {about.get('format')!r}, expected {FORMAT!r}")
      entries = [Entry(**{**e, "frame": tuple(e["frame"])}) for e in about.pop("programs")]
      programs = {
        e.file: jax.jit(export.deserialize(bytearray(archive.read(e.file))).call) for e in entries
      }
  except (zipfile.BadZipFile, KeyError, TypeError, ValueError) as error:
    raise InputError(f"no file of exported programs ({error})") from error
  return Exported(entries, programs, about)


def require_serialisation() -> None:
  """Raises InputError, which names the extra, where JAX cannot write and read programs."""
  try:
    import flatbuffers  # noqa: F401
  except ImportError as error:
    raise InputError(
      "flatbuffers is not installed, by which JAX writes and reads programs: "
      'pip install "cfi_jax[export]"'
    ) from error


def name_of(frame: Size) -> str:
  """HEIGHTxWIDTH."""
  return f"{frame[0]}x{frame[1]}"


@dataclasses.dataclass(frozen=True)
class Compared:
  """The largest and the mean difference of a pixel of one frame, over images of these sizes."""

  frame: Size
  sizes: tuple[Size, ...]
  largest: float
  mean: float


def compare(loaded: Exported, fuser: Fuser, entry: Entry, batch: int = 2) -> Compared:
  """The programs of a frame beside `fuser.fuse`, on made images of up to three sizes."""
  sizes = (entry.frame,)
  if entry.smallest is not None:
    middle = tuple((entry.smallest + n) // 2 for n in entry.frame)
    sizes = tuple(dict.fromkeys((entry.frame, middle, (entry.smallest, entry.smallest))))
  only = Exported([entry], loaded.programs, loaded.about)
  differences = []
  for size in sizes:
    visible, infrared = make_images(size, entry.channels, batch)
    fused = only.fuse(visible, infrared[..., None])
    ours = fuser.fuse(visible, infrared[..., None], normalize="full", gray=entry.channels == 1)
    differences.append(np.abs(np.asarray(fused, np.float64) - ours))
  flat = np.concatenate([d.reshape(-1) for d in differences])
  return Compared(entry.frame, sizes, float(flat.max()), float(flat.mean()))


@functools.lru_cache(maxsize=8)
def make_images(size: Size, channels: int, batch: int) -> tuple[np.ndarray, np.ndarray]:
  """Made visible images [B, H, W, C] and infrared ones [B, H, W], float32 in [0, 1]."""
  random = np.random.default_rng(SEED)
  rows, columns = np.mgrid[: size[0], : size[1]]
  waves = [
    np.sin(random.uniform(0.02, 0.6) * rows + random.uniform(0.02, 0.6) * columns + k)
    for k in range(batch * (channels + 1))
  ]
  pictures = 0.5 + 0.35 * np.stack(waves) + random.normal(0, 0.05, (len(waves), *size))
  pictures = np.clip(pictures, 0, 1).astype(np.float32).reshape(batch, channels + 1, *size)
  return np.moveaxis(pictures[:, :channels], 1, -1), pictures[:, channels]
