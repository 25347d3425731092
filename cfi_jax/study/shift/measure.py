"""What a fusion rule does on the held-out scenes of every condition, counted per scene."""

import dataclasses
import functools
import io
import pathlib
import zipfile
from collections.abc import Callable, Iterable, Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.synthetic import scenes
from cfi_jax.datasets.world import corruptions
from cfi_jax.datasets.world.objects import contrast_to_noise
from cfi_jax.datasets.world.scenes import Scene
from cfi_jax.fusion.losses import TargetOptions, fusion_parts
from cfi_jax.fusion.rules import BASELINES
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.metrics import Triplet, score
from cfi_jax.study.shift.study import CONVENTION, CORRELATION, Condition, Study, conditions

CHUNK = 16  # scenes fused at once
TRIVIAL = ("average", "maximum")  # rules of `evaluate.baselines`
EITHER = "either source"  # what the better of the two given sources shows
CARRIERS = ("all", "only visible", "only infrared", "both")
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


@dataclasses.dataclass(frozen=True)
class Measured:
  """What one rule did: sums and counts [conditions, quantities, scenes] (`crossed.Tally`)."""

  sums: np.ndarray
  counts: np.ndarray


def quantities(study: Study) -> tuple[str, ...]:
  """The names of what is measured, in the order of `Measured`."""
  shown = [f"visible objects, {carrier}" for carrier in CARRIERS]
  contrast = [f"CNR, {carrier}" for carrier in CARRIERS]
  return (*shown, *contrast, LOSS, *study.tests.metrics)


def trials(study: Study) -> list[Trial]:
  """The trials of all conditions of a study, in their order."""
  tests, world = study.tests, study.world
  known: dict[float, Scene] = {}

  def scenes_of(correlation: float) -> Scene:
    if correlation not in known:
      options = dataclasses.replace(world.options, correlation=correlation)
      known[correlation] = scenes(world.seed, "test", options, range(tests.scenes))
    return known[correlation]

  key = jax.random.key(world.seed)
  made = []
  for condition in conditions(tests):
    if condition.sweep == CORRELATION:
      scene = scenes_of(condition.x)
      given = scene.pair
    else:
      scene = scenes_of(world.correlation)
      given = _corrupt(condition.sweep, key, scene.pair, condition.x)
    made.append(_trial(study, condition, scene, given))
  return made


@functools.partial(jax.jit, static_argnums=0)
def _corrupt(name: str, key: Array, batch: Pair, strength: float) -> Pair:
  return corruptions.corrupt(name, key, batch, strength)


def _trial(study: Study, condition: Condition, scene: Scene, given: Pair) -> Trial:
  given, clean = (
    jax.tree.map(lambda x: np.asarray(ops.to_uint8(x)), p) for p in (given, scene.pair)
  )
  contrast, undisturbed = (
    [_contrast(study, image, scene.objects) for image in (pair.visible, pair.infrared)]
    for pair in (given, clean)
  )
  visible, infrared = (ratio >= study.tests.objects.threshold for ratio in undisturbed)
  carriers = (visible | infrared, visible & ~infrared, infrared & ~visible, visible & infrared)
  return Trial(
    condition=condition,
    given=given,
    clean=clean,
    objects=scene.objects,
    contrast=np.maximum(*contrast),
    carriers=dict(zip(CARRIERS, carriers, strict=True)),
  )


def _contrast(study: Study, images: np.ndarray, objects: np.ndarray) -> np.ndarray:
  """CNR of every object in uint8 images [N, S, S, 1], [N, K]."""
  slots = study.world.objects[1]
  return np.asarray(
    contrast_to_noise(images.astype(np.float32) / 255, objects, slots, study.tests.objects)
  )


def measure(study: Study, name: str, rule: Rule, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
  """What a rule does in one trial: sums and counts [quantities, scenes].

  Objects are looked for in the fused picture at their true places. Loss and metrics compare it with
  the undisturbed pair: what the scene is, not what the disturbance made of it.
  """
  fused = rule(trial.given)
  sums, counts = _objects(study, _contrast(study, fused, trial.objects), trial)
  images = [x.astype(np.float32) / 255 for x in (trial.clean.visible, trial.clean.infrared, fused)]
  loss = study.recipes[study.reference].loss
  weights = tuple(loss.fusion.items())
  values = [np.asarray(_fusion_loss(weights, loss.target, Pair(*images[:2]), images[2]))]
  triplets = (
    Triplet(name, str(i), trial.clean.visible[i], trial.clean.infrared[i], fused[i])
    for i in range(len(fused))
  )
  table = score(triplets, study.tests.metrics, CONVENTION, progress=False)
  values += [table.values(metric)[0] for metric in study.tests.metrics]
  finite = np.isfinite(values)
  return (
    np.concatenate([sums, np.where(finite, values, 0)]),
    np.concatenate([counts, finite.astype(float)]),
  )


def collect(
  tried: Callable[[Trial], tuple[np.ndarray, np.ndarray]], trials: Iterable[Trial]
) -> Measured:
  """What `tried` counts in every trial."""
  sums, counts = zip(*map(tried, trials), strict=True)
  return Measured(np.stack(sums), np.stack(counts))


def either_source(study: Study, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
  """As `measure`, of the better of the two given sources for each object; no loss or metrics."""
  sums, counts = _objects(study, trial.contrast, trial)
  empty = np.zeros((1 + len(study.tests.metrics), sums.shape[1]))
  return np.concatenate([sums, empty]), np.concatenate([counts, empty])


def _objects(study: Study, contrast: np.ndarray, trial: Trial) -> tuple[np.ndarray, np.ndarray]:
  """Visible objects, then CNR, by carrier: sums and counts [2 * carriers, scenes]."""
  classes = np.stack([trial.carriers[carrier] for carrier in CARRIERS])
  shown = contrast >= study.tests.objects.threshold
  sums = [(classes & shown).sum(-1), np.where(classes, contrast, 0).sum(-1)]
  return np.concatenate(sums).astype(float), np.tile(classes.sum(-1).astype(float), (2, 1))


@functools.partial(jax.jit, static_argnums=(0, 1))
def _fusion_loss(
  weights: tuple[tuple[str, float], ...], target: TargetOptions, pair: Pair, fused: Array
) -> Array:
  """The fusion loss of every picture, [N]."""
  parts = fusion_parts(dict(weights), target, fused, pair)
  return sum(weight * parts[name] for name, weight in weights)


def trivial(name: str) -> Rule:
  """A trivial rule of `evaluate.baselines`."""

  def rule(pair: Pair) -> np.ndarray:
    return BASELINES[name](pair.visible, pair.infrared, "")

  return rule


def network(module: nn.Module, variables: dict) -> Rule:
  """The rule of a trained network."""

  def rule(pair: Pair) -> np.ndarray:
    count = len(pair.visible)
    # The last scene fills up the last chunk: one shape, so one program.
    rows = np.minimum(np.arange(count + -count % CHUNK), count - 1).reshape(-1, CHUNK)
    parts = [_fuse(module, variables, Pair(pair.visible[r], pair.infrared[r])) for r in rows]
    return np.concatenate(parts)[:count]

  return rule


@functools.partial(jax.jit, static_argnums=0)
def _fuse(module: nn.Module, variables: dict, pair: Pair) -> Array:
  """uint8 pair -> uint8 picture; weights are arguments, so that all seeds share one program."""
  pair = jax.tree.map(lambda x: x.astype(jnp.float32) / 255, pair)
  return ops.to_uint8(module.apply(variables, pair, train=False).fused)


def save(path: pathlib.Path, measured: Measured) -> None:
  """Writes what was measured, atomically."""
  file = io.BytesIO()
  np.savez(file, sums=measured.sums, counts=measured.counts)
  write_atomically(path, file.getvalue())


def load(path: pathlib.Path, study: Study) -> Measured:
  """Reads what `save` wrote; InputError where it does not fit the study."""
  try:
    with np.load(path) as arrays:
      measured = Measured(arrays["sums"], arrays["counts"])
  except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile) as error:
    raise InputError(f"{path}: cannot be read ({error}); remove it to measure again") from error
  shape = (len(conditions(study.tests)), len(quantities(study)), study.tests.scenes)
  if measured.sums.shape != shape or measured.counts.shape != shape:
    raise InputError(f"{path}: shape {measured.sums.shape}, expected {shape}; remove it")
  return measured
