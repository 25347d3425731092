"""The input pipeline: from positions in the stream of samples to batches of crops, with Grain.

For samples that stay on the device it gives the integers alone that cut them there, see
`cfi_jax.data.resident`.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import grain
import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data import augment, workers
from cfi_jax.data.listing import evenly
from cfi_jax.data.source import Source
from cfi_jax.images import ranges

# float32 in [0, 1] by image name: [crop, crop, C], of a batch [rows, crop, crop, C].
Images = dict[str, np.ndarray]


SHUFFLES = ("records", "shards")
SHARDS = 4  # whose records are shuffled among each other


@dataclasses.dataclass(frozen=True)
class Input:
  """Options of cutting and reading samples.

  device_gb: training samples of at most so many GB, decoded, are kept on each device and cut there;
    0 never. The workers, threads and prefetching are for larger sets, and for validation.
  crop: side of the square crop in pixels.
  flip: mirror at random, in both directions.
  transpose: swap rows and columns at random.
  workers: processes that read ahead; 0 reads in threads of this process.
  threads: threads (of each worker) that each make a batch; at most `prefetch` of them are used.
  prefetch: batches made ahead of the step (by each worker).
  cache_gb: size of the cache of this machine that keeps files of a bucket (`core.storage.cache`).
  shuffle: "records", all of them in an order drawn for each epoch; "shards", the records of
    `SHARDS` shards of a prepared set among each other, these shards drawn for each epoch, so that a
    set larger than the cache is fetched once an epoch.
  normalize: which values mean 0 and 1, a rule of `images.ranges` for all images or by name.
  normalize_over: whether a range is found for each "image" or for the whole "folder" of the split.
  """

  crop: int
  flip: bool
  transpose: bool
  workers: int
  threads: int
  prefetch: int
  device_gb: float
  cache_gb: float = 16.0
  shuffle: str = SHUFFLES[0]
  normalize: str = "auto"
  normalize_over: str = "image"

  def __post_init__(self):
    """Raises InputError for sizes and counts that make no sense."""
    least = {"crop": 1, "workers": 0, "threads": 1, "prefetch": 1, "device_gb": 0, "cache_gb": 0}
    for name, low in least.items():
      if getattr(self, name) < low:
        raise InputError(f"input.{name}={getattr(self, name)}: must be at least {low}")
    if self.shuffle not in SHUFFLES:
      raise InputError(f"input.shuffle={self.shuffle!r}; allowed: {', '.join(SHUFFLES)}")
    try:
      ranges.parse(self.normalize, over=self.normalize_over)
    except InputError as error:
      raise InputError(f"input.{error}") from error


@dataclasses.dataclass(frozen=True)
class Place:
  """Epoch and record index of a position in the endless stream of samples."""

  epoch: int
  index: int


def plan(seed: int, position: int, length: int, shards: tuple[int, ...] = ()) -> Place:
  """Finds the record at a position of the stream over `length` records; a pure function.

  Every epoch visits every record once, in an order that depends only on (seed, epoch, length) and
  on `shards`: number of the shard of each record, where they are shuffled by shards.
  """
  epoch, rank = divmod(position, length)
  return Place(epoch, int(_order(seed, epoch, length, shards)[rank]))


@dataclasses.dataclass(frozen=True)
class Samples:
  """The endless stream of augmented samples of a source, by position; a pure function of it."""

  source: Source
  options: Input
  seed: int

  def __post_init__(self):
    """Raises InputError for what has no samples."""
    if not len(self.source):
      raise InputError("there is no image to train on")
    if self.seed < 0:
      raise InputError(f"seed={self.seed}: must not be negative")
    if self.options.shuffle != SHUFFLES[0] and not self._shards:
      raise InputError(
        f"input.shuffle={self.options.shuffle!r}: {self.source.title} has no shards; allowed for "
        "prepared sets (python -m cfi_jax.prepare)"
      )

  @functools.cached_property
  def _shards(self) -> tuple[int, ...]:
    """Number of the shard of each record, () where all records are shuffled."""
    found = getattr(self.source, "shards", tuple)  # of sources of files
    return () if self.options.shuffle == SHUFFLES[0] else found()

  def _place(self, position: int) -> Place:
    return plan(self.seed, position, len(self.source), self._shards)

  def augmentation(self, place: Place, height: int, width: int) -> augment.Augmentation:
    """Draws the integers that make the sample at `place` out of its record of the given size."""
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
    """Returns the record at a position, and its augmentation's integers; sizes: of all, [N, 2]."""
    place = self._place(position)
    height, width = map(int, sizes[place.index])
    return place.index, *dataclasses.astuple(self.augmentation(place, height, width))

  def __call__(self, position: int) -> Images:
    """Makes the sample at a position; all its images are cut alike."""
    place = self._place(position)
    sample = self.source[place.index]
    return _cut(sample, self.augmentation(place, *_size(sample)), self.options.crop)


@dataclasses.dataclass(frozen=True)
class Centred:
  """Records of a source, by their places, as centred crops; past the end the last one again."""

  source: Source
  options: Input
  places: Sequence[int]

  def __call__(self, position: int) -> Images:
    """Cuts the centre out of a record."""
    sample = self.source[self.places[min(position, len(self.places) - 1)]]
    crop = self.options.crop
    return _cut(sample, augment.centre(*_size(sample), crop=crop), crop)


@dataclasses.dataclass(frozen=True)
class Stretch:
  """One process's rows of the global batches start .. stop - 1 of a stream of samples.

  batch_size: global; process p of `process_count` holds the p-th block of every batch's rows.
  Row r of batch s is the sample at position s * batch_size + r, wherever the stretch begins.
  """

  batch_size: int
  start: int
  stop: int
  process_index: int = 0
  process_count: int = 1

  def __post_init__(self):
    """Raises InputError for a batch that the processes cannot share."""
    if self.batch_size < 1 or self.batch_size % self.process_count:
      raise InputError(
        f"batch size {self.batch_size} cannot be shared by {self.process_count} processes"
      )

  @property
  def rows(self) -> int:
    """Number of this process's rows of a batch."""
    return self.batch_size // self.process_count

  @property
  def items(self) -> range:
    """Numbers for all rows of this process, batch after batch."""
    return range((self.stop - self.start) * self.rows)

  def position(self, item: int) -> int:
    """Returns the stream position of one of `items`."""
    step, row = divmod(item, self.rows)
    return (self.start + step) * self.batch_size + self.process_index * self.rows + row


def train_batches(source: Source, options: Input, seed: int, stretch: Stretch) -> Iterator[Images]:
  """Yields batches of augmented samples, [stretch.rows, crop, crop, C] by image name.

  Raises InputError for an empty source.
  """
  return _batches(Samples(source, options, seed), stretch, options)


def train_cuts(
  source: Source, sizes: np.ndarray, options: Input, seed: int, stretch: Stretch
) -> Iterator[np.ndarray]:
  """Yields the integers that cut the samples of `train_batches` out of their records.

  sizes: height and width of every record, [N, 2]. Yields int32 [stretch.rows, 6]: record, top,
  left, flip_horizontal, flip_vertical, transpose (see `augment.Augmentation`).
  """
  samples = Samples(source, options, seed)

  def rows(first: int) -> np.ndarray:
    items = range(first, first + stretch.rows)
    return np.array([samples.cut(stretch.position(item), sizes) for item in items], np.int32)

  return map(rows, stretch.items[:: stretch.rows])


def validation_batches(
  source: Source,
  options: Input,
  *,
  batch_size: int,
  most: int | None = None,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[tuple[tuple[str, ...], Images]]:
  """Yields records once, in order, centred: names of the global batch, this process's rows.

  most: so many records at most, evenly spread, so that kinds whose names lie together are met in
    about their shares; None: every record.
  Batches have one shape: the last is filled up with the last record, so rows from len(names) on
  (counted over the global batch) are repeats that must not be scored.
  """
  count = len(source.names)
  places = evenly(count, count if most is None else most)
  names = tuple(source.names[place] for place in places)
  steps = -(-len(names) // batch_size)
  stretch = Stretch(batch_size, 0, steps, process_index, process_count)
  batches = _batches(Centred(source, options, places), stretch, options)
  for step, batch in enumerate(batches):
    yield names[step * batch_size : (step + 1) * batch_size], batch


def _batches(
  samples: Callable[[int], Images], stretch: Stretch, options: Input
) -> Iterator[Images]:
  # A thread makes a whole batch, so more threads than batches wanted ahead would idle.
  threads = min(options.threads, options.prefetch)
  read_ahead = grain.ReadOptions(threads, prefetch_buffer_size=options.prefetch)
  stream = (
    grain.MapDataset.range(len(stretch.items))
    .map(stretch.position)
    .map(samples)
    .batch(stretch.rows, batch_fn=_stack)  # before workers, which share out elements in turn
    .to_iter_dataset(read_ahead)
  )
  return workers.read_ahead(stream, options.workers) if options.workers else iter(stream)


def _size(sample: Mapping[str, np.ndarray]) -> tuple[int, int]:
  """Returns the height and width that all images of a sample have."""
  return next(iter(sample.values())).shape[:2]


def _cut(sample: Mapping[str, np.ndarray], chosen: augment.Augmentation, crop: int) -> Images:
  return {name: _to_float(augment.apply(chosen, image, crop)) for name, image in sample.items()}


def _to_float(image: np.ndarray) -> np.ndarray:
  """Scales integers of the file's depth to float32: 255 or 65535 becomes 1."""
  return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def _stack(samples: Sequence[Images]) -> Images:
  return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


@functools.lru_cache(maxsize=4)
def _order(seed: int, epoch: int, length: int, shards: tuple[int, ...] = ()) -> np.ndarray:
  """Permutes range(length) for an epoch by sorting random bits, which is stable across numpys.

  shards: see `plan`; their order is drawn likewise, and records stay with theirs.
  """
  bits = augment.raw_bits(seed, (epoch,), length)
  if not shards:
    return np.argsort(bits, kind="stable")
  drawn = augment.raw_bits(seed, (epoch, 0), max(shards) + 1)
  turn = np.argsort(np.argsort(drawn, kind="stable"))[np.array(shards)] // SHARDS
  return np.lexsort((bits, turn))
