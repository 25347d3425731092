"""Several recordings read together, ahead, and one meaning of the values for all their frames."""

from collections.abc import Generator, Mapping, Sequence

import numpy as np

from cfi_jax.core.progress import Progress
from cfi_jax.data.threads import ahead
from cfi_jax.images import read as images
from cfi_jax.images import validity
from cfi_jax.images.pooling import Pool
from cfi_jax.images.ranges import Normalizer
from cfi_jax.sequences.recording import Recording

AHEAD = 2  # frames of each that are read before they are asked for


def together(
  recordings: Sequence[Recording], numbers: Sequence[np.ndarray]
) -> Generator[list[np.ndarray], None, None]:
  """Yields the frames that belong together, [H, W, C] of each recording.

  numbers: of the frames of each, int64 [N], ascending. Each recording is read once, in a thread.
  """
  streams = [
    _chosen(ahead(recording.frames(), AHEAD), own)
    for recording, own in zip(recordings, numbers, strict=True)
  ]
  try:
    for frames in zip(*streams, strict=True):
      yield list(frames)
  finally:
    for stream in streams:
      stream.close()


def _chosen(
  frames: Generator[np.ndarray, None, None], numbers: np.ndarray
) -> Generator[np.ndarray, None, None]:
  """Yields the frames of ascending numbers, some of them again and again."""
  frame, at = None, -1
  try:
    for number in numbers:
      while at < number:
        frame, at = next(frames), at + 1
      yield frame
  finally:
    frames.close()


def with_ranges(
  normalizer: Normalizer, recordings: Mapping[str, Recording], numbers: Mapping[str, np.ndarray]
) -> Normalizer:
  """The rules with one range for each recording, for which its frames are read.

  recordings: those on whose ranges their frames decide, by image name; 8 bits are left as they are.
  numbers: of the frames that count. Raises InputError where none has a value.
  """
  summaries = []
  for name, recording in recordings.items():
    pool, dtype, wanted = Pool(), None, set(numbers[name].tolist())
    frames = ahead(recording.frames(), AHEAD)
    title = f"reading the values of {name} frames"
    with Progress(title, "frame", len(recording.timing)) as progress:
      for k, frame in enumerate(frames):
        if normalizer.rule(name).keeps(frame.dtype):
          frames.close()
          break
        dtype = frame.dtype
        if k in wanted:
          pool.add(images.luma(frame), validity.of(frame))
        progress.update()
      else:
        summaries.append((name, pool.values, dtype))
  return normalizer.of_folder(summaries)
