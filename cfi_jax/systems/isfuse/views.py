"""The views of a batch that the objective needs, and their fusions; shared parts computed once."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from cfi_jax.core.types import Array
from cfi_jax.engine import sharding
from cfi_jax.fusion import interventions
from cfi_jax.fusion.cameras import CameraOptions
from cfi_jax.fusion.decoys import DecoyOptions
from cfi_jax.fusion.interventions import MaskOptions, View
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.systems.isfuse.model import ISFuse
from cfi_jax.systems.isfuse.objective import LossOptions
from cfi_jax.systems.isfuse.operations import Ways
from cfi_jax.systems.isfuse.statistics import StatisticsOptions, update_running


@dataclasses.dataclass(frozen=True)
class Parts:
  """The parts of a training step.

  statistics: normalisation of the views. ema_decay: see `OptimOptions`. share_encodings: whether
  views share images, see `interventions.View`. rematerialise: whether the encodings and fusions of
  the views are computed again for the gradient instead of being kept. ways, fold_views: of
  computing; they change no result but for rounding.
  """

  model: ISFuse
  ways: Ways
  optimizer: optax.GradientTransformation
  learning_rate: optax.Schedule
  loss: LossOptions
  masks: MaskOptions
  cameras: CameraOptions
  decoys: DecoyOptions
  statistics: StatisticsOptions
  ema_decay: float
  share_encodings: bool
  rematerialise: bool
  fold_views: bool


def make_views(parts: Parts, key: Array, batch: Pair) -> dict[str, View]:
  """The views of the objective, "original" first; their order is that of the running statistics."""
  names = parts.loss.views
  views = {name: interventions.intervene(name, key, batch, parts.masks) for name in names}
  if not parts.share_encodings:
    batch_size = batch.visible.shape[0]
    views = {name: interventions.stand_alone(name, views[name], batch_size) for name in names}
  return {"original": interventions.original_view(batch)} | views


def fuse_views(
  parts: Parts, variables: dict, views: dict[str, View], train: bool
) -> tuple[dict[str, Fusion], dict]:
  """Fuses every view; returns the fusions and the new running statistics.

  In training a view is normalised with its own batch statistics or with those of the original, see
  `StatisticsOptions`. An image that several views share is encoded once, and a blank image for one
  sample only: that is exact, since both kinds of statistics are then the same for all that share.
  Running statistics are updated once per view that enters them, in the order of `views`, visible
  before infrared, shared encodings included.
  """
  apply = _passes(parts, variables, train, views["original"].pair.visible.shape[1:3])
  features: dict[str, dict] = {name: {} for name in views}
  moments: dict[str, list] = {name: [] for name in views}
  for modality in MODALITIES:
    images: dict[str, Array] = {}
    for view in views.values():
      images.setdefault(view.sources[modality], getattr(view.pair, modality))
    given = {name: (image,) for name, image in images.items()}
    encoded = apply(given, modality, method="encode")
    for name, view in views.items():
      features[name][modality], new = encoded[view.sources[modality]]
      moments[name].append(new)
  fusions = {}
  given = {name: (features[name], view.pair) for name, view in views.items()}
  for name, (fusion, new) in apply(given, method="integrate").items():
    fusions[name] = fusion
    moments[name].append(new)
  statistics, batch_stats = parts.statistics, variables["batch_stats"]
  batch_size = views["original"].pair.visible.shape[0] * sharding.count()
  for name in views:
    if name == "original" or statistics.views == "all":
      for new in moments[name]:
        batch_stats = update_running(batch_stats, new, batch_size, statistics.momentum)
  return fusions, batch_stats


def _passes(parts: Parts, variables: dict, train: bool, size: tuple[int, int]) -> Callable:
  """apply(inputs, *arguments, method=) -> {view: (what that method gives, moments)}.

  inputs: by view, the arguments that are arrays: images, or features and pairs. moments: the batch
  statistics, {} where a view was not normalised by its own. Treated views are normalised by those
  of the "original" where `StatisticsOptions.normalise` says so; the gradient follows them into the
  original, too.
  """
  model = parts.model.by(parts.ways, *size)
  run = _folded if parts.fold_views else _one_by_one

  def passes(inputs: dict, batch_stats: dict, train: bool, *arguments, method: str) -> dict:
    def compute(params: dict, batch_stats: dict, inputs: tuple):
      given = {"params": params, "batch_stats": batch_stats}
      out, new = model.apply(
        given, *inputs, *arguments, train=train, method=method, mutable=["moments"]
      )
      return out, new.get("moments", {})

    compute = jax.checkpoint(compute) if parts.rematerialise else compute
    return run(lambda one: compute(variables["params"], batch_stats, one), inputs)

  def apply(inputs: dict, *arguments, method: str) -> dict:
    if not train or parts.statistics.normalise == "own":
      return passes(inputs, variables["batch_stats"], train, *arguments, method=method)
    original = {"original": inputs["original"]}
    found = passes(original, variables["batch_stats"], True, *arguments, method=method)
    treated = {name: x for name, x in inputs.items() if name != "original"}
    return found | passes(treated, found["original"][1], False, *arguments, method=method)

  return apply


def _one_by_one(compute: Callable, inputs: dict) -> dict:
  """compute(arguments) of every view."""
  return {name: compute(arguments) for name, arguments in inputs.items()}


def _folded(compute: Callable, inputs: dict) -> dict:
  """compute(arguments) of every view, of those with equally many samples at once."""
  groups: dict[int, dict] = {}
  for name, arguments in inputs.items():
    rows = max(len(x) for x in jax.tree.leaves(arguments))
    whole = jax.tree.map(lambda x, n=rows: jnp.broadcast_to(x, (n, *x.shape[1:])), arguments)
    groups.setdefault(rows, {})[name] = whole
  found = {}
  for group in groups.values():
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *group.values())
    results = jax.vmap(compute)(stacked)
    for i, name in enumerate(group):
      found[name] = jax.tree.map(lambda x, i=i: x[i], results)
  return found
