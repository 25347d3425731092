"""Scores of a rule on the held-out pairs of every set, as they are and varied."""

import pathlib
from collections.abc import Iterator, Mapping

import jax
import numpy as np

from cfi_jax.core import keys
from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import evenly
from cfi_jax.data.source import Source
from cfi_jax.fusion import cameras, rule_options
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images import read as images
from cfi_jax.metrics import Scores, Triplet, read_scores, score
from cfi_jax.study.options.settings import Study
from cfi_jax.systems.rules import RuleFuser

SCORES = "scores"  # folder of the workdir

_vary = jax.jit(cameras.vary, static_argnums=2)


def make_pairs(study: Study, name: str, source: Source) -> dict[str, Pair]:
  """The pairs of a set by name, uint8 [crop, crop] each: every one as it is, then varied.

  Raises InputError where no pair is as large as the crop.
  """
  found: dict[str, Pair] = {}
  for index in evenly(len(source), study.pairs or len(source)):
    sample = source.read(index)
    whole = [images.luma(sample[modality]) for modality in ("visible", "infrared")]
    height, width = whole[0].shape[:2]
    if min(height, width) < study.crop:
      continue
    top, left = (height - study.crop) // 2, (width - study.crop) // 2
    pair = Pair(*(x[top : top + study.crop, left : left + study.crop] for x in whole))
    found[source.names[index]] = jax.tree.map(lambda x: x[..., 0], pair)
    unit = jax.tree.map(lambda x: np.float32(x) / 255, pair)
    for view in range(study.views):
      key = keys.fold(jax.random.key(study.seed), name, source.names[index], view)
      varied = jax.tree.map(ops.to_uint8, _vary(key, unit, study.cameras))
      label = f"{source.names[index]}, view {view + 1}"
      found[label] = jax.tree.map(lambda x: np.asarray(x)[..., 0], varied)
  if not found:
    raise InputError(
      f"config.sets.{name}: no held-out pair has {study.crop}x{study.crop} pixels or more, which "
      f"config.crop={study.crop} needs"
    )
  return found


def file(workdir: pathlib.Path, name: str, rule: str) -> pathlib.Path:
  """The file of a rule's scores on a set."""
  return workdir / SCORES / name / f"{rule.replace(':', '_')}.csv"


def measure(
  study: Study, workdir: pathlib.Path, rule: str, made: Mapping[str, Mapping[str, Pair]]
) -> None:
  """Scores a rule on the sets that it has no file of, and writes one for each."""
  fuser = RuleFuser(rule_options.parse(rule))
  for name, own in made.items():

    def fused(own: Mapping[str, Pair] = own) -> Iterator[Triplet]:
      for label, pair in own.items():
        result = fuser.fuse(pair.visible, pair.infrared, gray=True)
        yield Triplet(rule, label, pair.visible, pair.infrared, result)

    path = file(workdir, name, rule)
    if not path.exists():
      scores = score(fused(), study.metrics, study.convention, total=len(own), progress=False)
      write_atomically(path, scores.to_csv().encode(errors="replace"))


def clipped(rule: str, own: Mapping[str, Pair]) -> float:
  """The share of pixels that a rule makes black or white and that are neither in both sources."""
  fuser = RuleFuser(rule_options.parse(rule))
  shares = []
  for pair in own.values():
    fused = fuser.fuse(pair.visible, pair.infrared, gray=True)
    ends = [(fused == end) & (pair.visible != end) & (pair.infrared != end) for end in (0, 255)]
    shares.append(float(np.mean(ends[0] | ends[1])))
  return float(np.mean(shares))


def means(study: Study, workdir: pathlib.Path, name: str, rule: str) -> dict[str, float]:
  """The means of a rule's scores on a set, by metric."""
  path = file(workdir, name, rule)
  scores: Scores = read_scores(path)
  if scores.methods != (rule,) or set(scores.metrics) != set(study.metrics):
    raise InputError(f"{path}: does not hold {', '.join(study.metrics)} of {rule}; remove it")
  return {metric: scores.mean(metric, rule) for metric in study.metrics}
