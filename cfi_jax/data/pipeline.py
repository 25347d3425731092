"""The input pipeline: positions in the stream of samples -> batches of crops, with Grain, or only
the integers that cut them (`cfi_jax.data.resident` does the rest on the device)."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence

import grain
import numpy as np
from absl import flags

from cfi_jax.data import augment
from cfi_jax.data.source import Sample, Source
from cfi_jax.types import InputError, Pair


@dataclasses.dataclass(frozen=True)
class Input:
  """How samples are cut and read.

  device_gb: training pairs of at most so many GB, decoded, are kept on each device and cut there;
    0 never. All else is for what is larger, and for validation.
  crop: side of the square crop in pixels.
  flip: mirror at random, in both directions.
  transpose: swap rows and columns at random.
  workers: processes that read ahead; 0 reads in threads of this process.
  threads: threads (of each worker) that each make a batch; at most `prefetch` of them are used.
  prefetch: batches made ahead of the step (by each worker).
  """

  crop: int
  flip: bool
  transpose: bool
  workers: int
  threads: int
  prefetch: int
  device_gb: float

  def __post_init__(self):
    """Raises InputError for sizes and counts that make no sense."""
    least = {"crop": 1, "workers": 0, "threads": 1, "prefetch": 1, "device_gb": 0}
    for name, low in least.items():
      if getattr(self, name) < low:
        raise InputError(f"input.{name}={getattr(self, name)}: must be at least {low}")


@dataclasses.dataclass(frozen=True)
class Place:
  """Where a position of the endless sample stream falls: its epoch and record index."""

  epoch: int
  index: int


def plan(seed: int, position: int, length: int) -> Place:
  """The record at a position of the stream over `length` records; a pure function.

  Every epoch visits every record once, in an order that depends only on (seed, epoch, length).
  """
  epoch, rank = divmod(position, length)
  return Place(epoch, int(_order(seed, epoch, length)[rank]))


@dataclasses.dataclass(frozen=True)
class Samples:
  """The endless stream of augmented samples of a source, by position; a pure function of it."""

  source: Source
  options: Input
  seed: int

  def augmentation(self, place: Place, height: int, width: int) -> augment.Augmentation:
    """The integers that make the sample at `place` out of its record of the given size."""
    options = self.options
    return augment.draw(
      self.seed,
      place.epoch,
      place.index,
      height,
      width,
      crop=options.crop,
      flip=options.flip,
      transpose=options.transpose,
    )

  def cut(self, position: int, sizes: np.ndarray) -> tuple[int, ...]:
    """The record at a position, of N of the given sizes [N, 2], and its augmentation's integers."""
    place = plan(self.seed, position, len(self.source))
    height, width = map(int, sizes[place.index])
    return place.index, *dataclasses.astuple(self.augmentation(place, height, width))

  def __call__(self, position: int) -> Pair:
    """The sample at a position, float32 [crop, crop, 1]."""
    place = plan(self.seed, position, len(self.source))
    sample = self.source[place.index]
    chosen = self.augmentation(place, *sample.visible.shape[:2])
    return _cut(sample, chosen, self.options.crop)


@dataclasses.dataclass(frozen=True)
class Centred:
  """The records of a source in order, as centred crops; past the end the last one again."""

  source: Source
  options: Input

  def __call__(self, position: int) -> Pair:
    """The centred crop of a record, float32 [crop, crop, 1]."""
    sample = self.source[min(position, len(self.source) - 1)]
    crop = self.options.crop
    return _cut(sample, augment.centre(*sample.visible.shape[:2], crop=crop), crop)


def train_batches(
  source: Source,
  options: Input,
  *,
  seed: int,
  batch_size: int,
  start: int,
  stop: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[Pair]:
  """This process's rows of the global batches start .. stop - 1, float32 in [0, 1].

  Yields Pairs [batch_size / process_count, crop, crop, 1]; process p holds the p-th block of rows.
  Row r of step s is the sample at position s * batch_size + r, so batches do not depend on where
  the run started. Raises InputError for an empty source or a batch that processes cannot share.
  """
  block = _block(source, seed, start, batch_size, process_index, process_count)
  return _batches(Samples(source, options, seed), block, stop - start, options)


def train_cuts(
  source: Source,
  sizes: np.ndarray,
  options: Input,
  *,
  seed: int,
  batch_size: int,
  start: int,
  stop: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[np.ndarray]:
  """What cuts the samples of `train_batches`, of equal arguments, out of their records.

  sizes: height and width of every record, [N, 2]. Yields int32 [batch_size / process_count, 6]:
  record, top, left, flip_horizontal, flip_vertical, transpose (see `Augmentation`).
  """
  block = _block(source, seed, start, batch_size, process_index, process_count)
  samples = Samples(source, options, seed)

  def rows(first: int) -> np.ndarray:
    items = range(first, first + block.rows)
    return np.array([samples.cut(block.position(item), sizes) for item in items], np.int32)

  return map(rows, range(0, (stop - start) * block.rows, block.rows))


def validation_batches(
  source: Source,
  options: Input,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[tuple[tuple[str, ...], Pair]]:
  """Every pair once, in order, as centred crops: (names of the global batch, this process's rows).

  Batches have one shape: the last is filled up with the last pair, so rows from len(names) on
  (counted over the global batch) are repeats that must not be scored.
  """
  rows = _rows_per_process(batch_size, process_count)
  names = source.names
  steps = -(-len(names) // batch_size)
  block = _Block(0, batch_size, process_index * rows, rows)
  batches = _batches(Centred(source, options), block, steps, options)
  for step, pair in enumerate(batches):
    yield names[step * batch_size : (step + 1) * batch_size], pair


@dataclasses.dataclass(frozen=True)
class _Block:
  """One process's share of the stream: its rows of the batches from `start` on."""

  start: int
  batch_size: int
  first_row: int
  rows: int

  def position(self, item: int) -> int:
    """The stream position of this process's item 0, 1, ..."""
    step, row = divmod(item, self.rows)
    return (self.start + step) * self.batch_size + self.first_row + row


def _batches(
  samples: Callable[[int], Pair], block: _Block, steps: int, options: Input
) -> Iterator[Pair]:
  # A thread makes a whole batch, so more threads than batches wanted ahead would idle.
  threads = min(options.threads, options.prefetch)
  read_ahead = grain.ReadOptions(threads, prefetch_buffer_size=options.prefetch)
  stream = (
    grain.MapDataset.range(steps * block.rows)
    .map(block.position)
    .map(samples)
    .batch(block.rows, batch_fn=_stack)  # before workers, which share out elements in turn
    .to_iter_dataset(read_ahead)
  )
  if options.workers:
    if not flags.FLAGS.is_parsed():  # Grain reads absl flags; a notebook or a test parsed none
      flags.FLAGS.mark_as_parsed()
    stream = stream.mp_prefetch(grain.MultiprocessingOptions(num_workers=options.workers))
  return iter(stream)


def _cut(sample: Sample, chosen: augment.Augmentation, crop: int) -> Pair:
  return Pair(
    visible=_to_float(augment.apply(chosen, sample.visible, crop)),
    infrared=_to_float(augment.apply(chosen, sample.infrared, crop)),
  )


def _to_float(image: np.ndarray) -> np.ndarray:
  """Integers of the file's depth to float32: 255 or 65535 becomes 1."""
  return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def _stack(pairs: Sequence[Pair]) -> Pair:
  return Pair(
    visible=np.stack([pair.visible for pair in pairs]),
    infrared=np.stack([pair.infrared for pair in pairs]),
  )


def _block(
  source: Source, seed: int, start: int, batch_size: int, process_index: int, process_count: int
) -> _Block:
  """The share of process `process_index`; InputError for what has no batches."""
  rows = _rows_per_process(batch_size, process_count)
  if not len(source):
    raise InputError("there is no image pair to train on")
  if seed < 0:
    raise InputError(f"seed={seed}: must not be negative")
  return _Block(start, batch_size, process_index * rows, rows)


def _rows_per_process(batch_size: int, process_count: int) -> int:
  if batch_size < 1 or batch_size % process_count:
    raise InputError(f"batch size {batch_size} cannot be shared by {process_count} processes")
  return batch_size // process_count


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, length: int) -> np.ndarray:
  """The epoch's permutation of range(length), by sorting random bits: stable across numpys."""
  return np.argsort(augment.raw_bits(seed, (epoch,), length), kind="stable")
