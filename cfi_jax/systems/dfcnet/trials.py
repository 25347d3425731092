"""Held-out transfers between people whose answers are known, on which methods are scored; ours."""

import functools
import pathlib
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax import datasets
from cfi_jax.core.progress import track
from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.figures.transfers import Figures, FigureSource
from cfi_jax.images import ops
from cfi_jax.images.write import write_image
from cfi_jax.systems.dfcnet import scores
from cfi_jax.systems.dfcnet.baselines import BASELINES, Training
from cfi_jax.systems.dfcnet.inference import Transferrer
from cfi_jax.systems.dfcnet.judges import Judge
from cfi_jax.systems.dfcnet.samples import Transfer, make_transfer

HELD_OUT = ("test", "known", "validation")
ROWS = 20  # records of a batch, and pictures that are written

Draw = Callable[[Transfer], Array]  # pictures [B, S, S, 3] in [0, 1] of samples
Compare = Callable[[Array, Array], Array]  # a score [B] of pictures against the truth


# Here, so that methods that are scored one after the other share the programs.
_measure = jax.jit(scores.every)
_finish = jax.jit(jax.vmap(lambda images: make_transfer(images, None)))


def open_people(settings: Mapping[str, Any], where: str) -> Figures:
  """The people of a data set's settings; raises InputError, naming `where`, for other data."""
  dataset = datasets.load(settings)
  if not isinstance(dataset, Figures):
    raise InputError(
      f"{where}.name is {settings['name']!r}: transfers are scored on rendered people, whose "
      "answers are known; allowed: figures, characters"
    )
  return dataset


def require_held_out(split: str, where: str) -> None:
  """Raises InputError, naming `where`, for a split whose transfers are not scored."""
  if split not in HELD_OUT:
    raise InputError(f"{where}={split}; allowed: {', '.join(HELD_OUT)}")


def require_side(transferring: Transferrer, dataset: Figures, label: str, where: str) -> None:
  """Raises InputError unless weights were trained at the size of the people's pictures."""
  if transferring.side != dataset.size:
    raise InputError(
      f"{label} was trained at {transferring.side} pixels and {where}.size is {dataset.size}; "
      "allowed: the same"
    )


def baseline(name: str, training: Training) -> Draw:
  """The trivial transfer of that name, see `baselines`."""
  return functools.partial(_apply, name, training)


def _apply(name: str, training: Training, samples: Transfer) -> Array:
  return BASELINES[name](samples, training)


def score(
  source: FigureSource,
  methods: Mapping[str, Draw],
  judge: Judge,
  pictures: pathlib.Path | None = None,
  more: Mapping[str, Compare] = types.MappingProxyType({}),
  watch: Callable[[str, Array], None] = lambda method, made: None,
) -> dict[tuple[str, str], np.ndarray]:
  """Scores [records] by method and score, NaN where a picture has nothing to measure.

  judge: reads the keypoints off what every method made. pictures: folder for pictures of the first
  `ROWS` records: target | source | every method. more: scores beside those of `scores.every`.
  watch: is given a method's pictures, each once, in the order of the records.
  """
  found: dict[tuple[str, str], list[np.ndarray]] = {}
  for names, samples in track(batches(source), "scoring", "chunk", -(-len(source) // ROWS)):
    made = {name: jnp.asarray(draw(samples)) for name, draw in methods.items()}
    for method, picture in made.items():
      values = _measure(picture, samples, judge.read(picture))
      values |= {name: compare(picture, samples.truth) for name, compare in more.items()}
      for name in (*scores.DIRECTIONS, *more):
        found.setdefault((method, name), []).append(np.asarray(values[name])[: len(names)])
      watch(method, picture[: len(names)])
    if pictures is not None and names[0] == source.names[0]:
      columns = jnp.concatenate([samples.target, samples.source, *made.values()], axis=-2)
      pictures.mkdir(parents=True, exist_ok=True)
      for name, row in zip(names, np.asarray(ops.to_uint8(columns)), strict=False):
        write_image(pictures / f"{name}.png", row)
  return {key: np.concatenate(parts) for key, parts in found.items()}


def batches(source: FigureSource) -> Iterator[tuple[tuple[str, ...], Transfer]]:
  """Names and samples of `ROWS` records at a time; the last record fills the last batch."""
  for start in range(0, len(source), ROWS):
    indices = [min(i, len(source) - 1) for i in range(start, start + ROWS)]
    records = [source[i] for i in indices]
    images = {n: np.stack([r[n] for r in records]).astype(np.float32) / 255 for n in records[0]}
    yield source.names[start : start + ROWS], _finish(images)
