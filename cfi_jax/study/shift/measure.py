"""Measures of a fusion rule on the held-out scenes of every condition, counted per scene."""

import dataclasses
import functools
import io
import pathlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from cfi_jax.core.files import write_atomically
from cfi_jax.core.progress import track
from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.synthetic import depths, scenes
from cfi_jax.datasets.world import corruptions
from cfi_jax.datasets.world.objects import contrast_to_noise
from cfi_jax.datasets.world.scenes import Scene
from cfi_jax.fusion.losses import TargetOptions, fusion_parts
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.metrics import Triplet, score
from cfi_jax.study import models
from cfi_jax.study.shift.settings import CONVENTION, CORRELATION, Condition, Study, conditions
from cfi_jax.systems.baselines import BASELINES

EITHER = "either source"  # what the better of the two given sources shows
CARRIERS = ("all", "only visible", "only infrared", "both")
SHARES = tuple(f"visible objects, {carrier}" for carrier in CARRIERS)
CONTRASTS = tuple(f"CNR, {carrier}" for carrier in CARRIERS)
LOSS = "fusion loss"

# Fuses uint8 pairs [N, S, S, 1] into uint8 [N, S, S, 1].
Rule = Callable[[Pair], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Trial:
  """One condition made ready.

  given: the pair as a camera delivers it, uint8 [N, S, S, 1], disturbed or not; clean: without.
  objects: `Scene.objects`. contrast: CNR of every object in the better of the two given sources,
    [N, K]. carriers: by name of `CARRIERS`, the objects that at least one clean source shows, by
    which, bool [N, K]. The clean sources decide, so that a sweep follows the same objects.
  """

  condition: Condition
  given: Pair
  clean: Pair
  objects: np.ndarray
  contrast: np.ndarray
  carriers: Mapping[str, np.ndarray]


class Measured(NamedTuple):
  """Sums and counts of what one rule did (`crossed.Tally`): [conditions, quantities, scenes] each,
  or those of one condition, [quantities, scenes].
  """

  sums: np.ndarray
  counts: np.ndarray


def quantities(study: Study) -> tuple[str, ...]:
  """The names of what is measured, in the order of `Measured`."""
  return (*SHARES, *CONTRASTS, LOSS, *study.tests.metrics)


def trials(study: Study) -> list[Trial]:
  """The trials of all conditions of a study, in their order."""
  world = study.world

  @functools.cache
  def scenes_of(correlation: float) -> Scene:
    options = dataclasses.replace(world.options, correlation=correlation)
    return scenes(world.seed, "test", options, range(study.tests.scenes))

  key = jax.random.key(world.seed)
  depth = depths(world.seed, "test", world.options, range(study.tests.scenes))
  made = []
  for condition in conditions(study.tests):
    if condition.sweep == CORRELATION:
      scene = scenes_of(condition.x)
      made.append(_trial(study, condition, scene, scene.pair))
    else:
      scene = scenes_of(world.correlation)
      given = _corrupt(condition.sweep, key, scene.pair, condition.x, depth)
      made.append(_trial(study, condition, scene, given))
  return made


_corrupt = jax.jit(corruptions.corrupt, static_argnums=0)


def _trial(study: Study, condition: Condition, scene: Scene, pair: Pair) -> Trial:
  given, clean = (
    jax.tree.map(lambda x: np.asarray(ops.to_uint8(x)), p) for p in (pair, scene.pair)
  )
  contrast, undisturbed = (
    [_contrast(study, image, scene.objects) for image in (pair.visible, pair.infrared)]
    for pair in (given, clean)
  )
  visible, infrared = (ratio >= study.tests.objects.threshold for ratio in undisturbed)
  shown = (visible | infrared, visible & ~infrared, infrared & ~visible, visible & infrared)
  carriers = dict(zip(CARRIERS, shown, strict=True))
  return Trial(condition, given, clean, scene.objects, np.maximum(*contrast), carriers)


def _contrast(study: Study, images: np.ndarray, objects: np.ndarray) -> np.ndarray:
  """CNR of every object in uint8 images [N, S, S, 1], [N, K]."""
  slots = study.world.objects[1]
  return np.asarray(
    contrast_to_noise(images.astype(np.float32) / 255, objects, slots, study.tests.objects)
  )


def measure_all(study: Study, trials: Sequence[Trial], name: str, rule: Rule | None) -> Measured:
  """Measures a rule in every trial, telling of the progress."""
  told = track(trials, f"measuring {name}", "condition")
  parts = [measure(study, name, rule, trial) for trial in told]
  return Measured(*map(np.stack, zip(*parts, strict=True)))


def measure(study: Study, name: str, rule: Rule | None, trial: Trial) -> Measured:
  """Measures a rule in one trial: sums and counts [quantities, scenes].

  Objects are looked for in the fused picture at their true places. Loss and metrics compare it with
  the undisturbed pair: what the scene is, not what the disturbance made of it. Without a rule it is
  the better of the two given sources for each object, which has no loss and metrics.
  """
  if rule is None:
    contrast = trial.contrast
    values = np.full((1 + len(study.tests.metrics), len(contrast)), np.nan)
  else:
    fused = rule(trial.given)
    contrast = _contrast(study, fused, trial.objects)
    values = _compare(study, name, trial.clean, fused)
  classes = np.stack([trial.carriers[carrier] for carrier in CARRIERS])
  shown = (classes & (contrast >= study.tests.objects.threshold)).sum(-1)
  ratios = np.where(classes, contrast, 0).sum(-1)
  objects = classes.sum(-1)
  finite = np.isfinite(values)
  return Measured(
    np.concatenate([shown, ratios, np.where(finite, values, 0)]).astype(float),
    np.concatenate([objects, objects, finite]).astype(float),
  )


def _compare(study: Study, name: str, clean: Pair, fused: np.ndarray) -> np.ndarray:
  """Fusion loss, then metrics, of every picture, [1 + metrics, N]; NaN where not defined."""
  images = [x.astype(np.float32) / 255 for x in (clean.visible, clean.infrared, fused)]
  recipe = study.recipes.get(study.reference)
  loss = study.train.loss if recipe is None else recipe.loss
  weights = tuple(loss.fusion.items())
  values = [np.asarray(_fusion_loss(weights, loss.target, Pair(*images[:2]), images[2]))]
  triplets = (
    Triplet(name, str(i), clean.visible[i], clean.infrared[i], fused[i]) for i in range(len(fused))
  )
  table = score(triplets, study.tests.metrics, CONVENTION, progress=False)
  return np.stack(values + [table.values(metric)[0] for metric in study.tests.metrics])


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fusion_loss(
  weights: tuple[tuple[str, float], ...], target: TargetOptions, pair: Pair, fused: Array
) -> Array:
  """The fusion loss of every picture, [N]."""
  parts = fusion_parts(dict(weights), target, fused, pair)
  return sum(weight * parts[name] for name, weight in weights)


def trivial(name: str) -> Rule:
  """The baseline of that name, which nobody trained."""
  return lambda pair: BASELINES[name](pair.visible, pair.infrared, "")


def of_weights(path: pathlib.Path, side: int) -> Rule:
  """The fuser of the weights in a file, for scenes of side x side pixels."""
  fuse = models.file_fuser(path, [(side, side)])

  def rule(pair: Pair) -> np.ndarray:
    both = zip(pair.visible[..., 0], pair.infrared[..., 0], strict=True)
    return np.stack([fuse(visible, infrared) for visible, infrared in both])[..., None]

  return rule


def save(path: pathlib.Path, measured: Measured) -> None:
  """Writes what was measured, atomically."""
  file = io.BytesIO()
  np.savez(file, **measured._asdict())
  write_atomically(path, file.getvalue())


def load(path: pathlib.Path, study: Study) -> Measured:
  """Reads what `save` wrote; InputError where it does not fit the study."""
  try:
    with np.load(io.BytesIO(path.read_bytes())) as arrays:
      measured = Measured(arrays["sums"], arrays["counts"])
  except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise InputError(f"{path}: cannot be read ({error}); remove it to measure again") from error
  shape = (len(conditions(study.tests)), len(quantities(study)), study.tests.scenes)
  if measured.sums.shape != shape or measured.counts.shape != shape:
    raise InputError(f"{path}: shape {measured.sums.shape}, expected {shape}; remove it")
  return measured
