"""Batches of a stream: cut from records kept on the devices, or made by Grain on the host."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cfi_jax.core import keys
from cfi_jax.core.types import Array
from cfi_jax.data import pipeline, resident
from cfi_jax.data.normalised import Normalised
from cfi_jax.data.normalised import normalise as normalise_source
from cfi_jax.engine import sharding
from cfi_jax.engine.memory import GB
from cfi_jax.engine.procedure import Batch, Sample, Stream
from cfi_jax.images.read import Header

Item = Any  # arrays that one step takes from the host, their first axis the rows of the batch


@dataclasses.dataclass(frozen=True)
class Streamed:
  """Batches that Grain makes on the host.

  channels: of every image. gigabytes: size of all records, decoded.
  """

  stream: Stream
  channels: dict[str, int]
  seed: int
  gigabytes: float

  canvases = ()  # shapes of the arrays that stay on every device
  advice = ""  # on freeing memory, beside smaller batches

  @property
  def description(self) -> str:
    """Sentence on the way of the records."""
    return (
      f"decoded pairs of {self.gigabytes:.3f} GB, more than input.device_gb = "
      f"{self.stream.input.device_gb:g}, are read anew for every batch"
    )

  @property
  def item(self) -> Item:
    """Shapes of the images {name: float32 [rows, crop, crop, C]} of one step."""
    rows, crop = self.stream.rows, self.stream.input.crop
    return {
      name: jax.ShapeDtypeStruct((rows, crop, crop, channels), jnp.float32)
      for name, channels in self.channels.items()
    }

  def load(self, mesh: Mesh) -> tuple[()]:
    """Nothing stays on the devices."""
    del mesh
    return ()

  def cut(self, canvases: tuple[()], item: Item) -> dict[str, Array]:
    """The images of one step; traced."""
    del canvases
    return item

  def items(self, start: int, stop: int) -> Iterator[Item]:
    """This process's rows of the steps after `start`, up to `stop`."""
    stream = self.stream
    stretch = _stretch(stream, start, stop)
    return pipeline.train_batches(stream.source, stream.input, self.seed, stretch)


@dataclasses.dataclass(frozen=True)
class Resident:
  """All records, decoded, on every device; a step takes six integers per sample from the host.

  Every process reads all records, since shuffling is global.
  """

  stream: Stream
  seed: int
  gigabytes: float
  layout: resident.Layout

  advice = ", or --config.input.device_gb=0, which keeps no pairs there"

  @property
  def description(self) -> str:
    """Sentence on the way of the records."""
    return f"decoded pairs of {self.gigabytes:.3f} GB stay on each device"

  @property
  def canvases(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the arrays that stay on every device."""
    depths, shapes = self.layout.depths, self.layout.shapes
    return {name: jax.ShapeDtypeStruct(shapes[name], depth) for name, depth in depths.items()}

  @property
  def item(self) -> Item:
    """Shape of the integers of one step, see `pipeline.train_cuts`."""
    return jax.ShapeDtypeStruct((self.stream.rows, 6), jnp.int32)

  def load(self, mesh: Mesh) -> dict[str, jax.Array]:
    """Reads all records and puts them on every device of this process."""
    canvases = resident.read(self.stream.source, self.layout)
    # Not device_put, which compares what all processes give: hundreds of megabytes.
    return sharding.to_devices(sharding.replicated(mesh), canvases)

  def cut(self, canvases: dict[str, Array], item: Item) -> dict[str, Array]:
    """The images of one step, float32 {name: [rows, crop, crop, C]}; traced."""
    return jax.vmap(functools.partial(resident.cut, canvases, crop=self.stream.input.crop))(item)

  def items(self, start: int, stop: int) -> Iterator[np.ndarray]:
    """This process's rows of the steps after `start`, up to `stop`."""
    stream = self.stream
    stretch = _stretch(stream, start, stop)
    return pipeline.train_cuts(stream.source, self.layout.sizes, stream.input, self.seed, stretch)


Feed = Streamed | Resident


def normalise(
  streams: Mapping[str, Stream], held_out: Stream | None
) -> tuple[dict[str, Stream], Stream | None]:
  """The streams with images that mean 0 to the largest of their type, by `input.normalize`.

  Over a folder, the ranges are those of the first stream for the held-out samples too.
  """

  def replace(stream: Stream, like: Normalised | None = None) -> Stream:
    options = stream.input
    source = normalise_source(stream.source, options.normalize, options.normalize_over, like)
    return dataclasses.replace(stream, source=source)

  normalised = {name: replace(stream) for name, stream in streams.items()}
  first = next(iter(normalised.values()))
  return normalised, None if held_out is None else replace(held_out, first.source)


def choose(stream: Stream, seed: int) -> Feed:
  """`Resident` if all records, decoded, are at most `input.device_gb`; told from headers alone."""
  headers = stream.source.check_headers()
  layout = resident.lay_out(headers, stream.input.crop)
  gigabytes = layout.bytes / GB
  if gigabytes > stream.input.device_gb:
    return Streamed(stream, _channels(headers), seed, gigabytes)
  return Resident(stream, seed, gigabytes, layout)


def held_out(stream: Stream) -> Streamed:
  """The held-out samples, which are read anew for every validation."""
  return Streamed(stream, _channels(stream.source.check_headers()), seed=0, gigabytes=0.0)


def _channels(headers: Sequence[Mapping[str, Header]]) -> dict[str, int]:
  return {name: header.channels for name, header in headers[0].items()} if headers else {}


def seeds(seed: int, names: Iterable[str]) -> dict[str, int]:
  """The seed of each stream: the run's own for the first, for others one that their name draws."""
  first, *others = names
  drawn = {
    n: np.random.SeedSequence((seed, keys.name_number(n))).generate_state(1)[0] for n in others
  }
  return {first: seed} | {name: int(value) % 2**31 for name, value in drawn.items()}


def items(feeds: dict[str, Feed], start: int, stop: int) -> Iterator[dict[str, Item]]:
  """The items of all streams, by stream, of the steps after `start`, up to `stop`."""
  each = {name: feed.items(start, stop) for name, feed in feeds.items()}
  for _ in range(start, stop):
    yield {name: next(own) for name, own in each.items()}


def cutter(feeds: dict[str, Feed]) -> Callable[[Any, dict[str, Item], Array], Batch]:
  """cut(canvases, items, key) -> the batch of one step, finished samples by stream; traced."""

  def cut(canvases: dict[str, Any], items: dict[str, Item], key: Array) -> Batch:
    return {
      name: finish(feed.stream, feed.cut(canvases[name], items[name]), key, name)
      for name, feed in feeds.items()
    }

  return cut


def finish(stream: Stream, images: dict[str, Array], key: Array, name: str) -> Sample:
  """Samples of images {name: [B, crop, crop, C]}; row i has the key folded from (key, name, i)."""
  rows = len(next(iter(images.values())))
  own = keys.per_sample(keys.fold(key, f"finish {name}"), rows)
  return jax.vmap(stream.finish)(images, own)


def _stretch(stream: Stream, start: int, stop: int) -> pipeline.Stretch:
  return pipeline.Stretch(stream.rows, start, stop, jax.process_index(), jax.process_count())
