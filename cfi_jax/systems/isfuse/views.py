"""The views of a batch that the objective needs, and their fusions; shared parts computed once."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import optax

from cfi_jax.core.types import Array
from cfi_jax.fusion import interventions
from cfi_jax.fusion.interventions import MaskOptions, View
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.systems.isfuse.objective import LossOptions
from cfi_jax.systems.isfuse.statistics import StatisticsOptions, update_running


@dataclasses.dataclass(frozen=True)
class Parts:
  """The parts of a training step.

  statistics: normalisation of the views. ema_decay: see `OptimOptions`. share_encodings: whether
  views share images, see `interventions.View`. rematerialise: whether the encodings and fusions of
  the views are computed again for the gradient instead of being kept.
  """

  model: nn.Module
  optimizer: optax.GradientTransformation
  learning_rate: optax.Schedule
  loss: LossOptions
  masks: MaskOptions
  statistics: StatisticsOptions
  ema_decay: float
  share_encodings: bool
  rematerialise: bool


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
  batch_size = views["original"].pair.visible.shape[0]
  encoded, fusions, batch_stats = {}, {}, variables["batch_stats"]
  statistics, apply = parts.statistics, _forward(parts, variables, train)

  def fold(batch_stats, moments, name: str):
    if name != "original" and statistics.views == "original":
      return batch_stats
    return update_running(batch_stats, moments, batch_size, statistics.momentum)

  for name, view in views.items():
    features = {}
    for modality in MODALITIES:
      source = (modality, view.sources[modality])
      if source not in encoded:
        encoded[source] = apply(name, getattr(view.pair, modality), modality, method="encode")
      features[modality], moments = encoded[source]
      batch_stats = fold(batch_stats, moments, name)
    fusions[name], moments = apply(name, features, method="integrate")
    batch_stats = fold(batch_stats, moments, name)
  return fusions, batch_stats


def _forward(parts: Parts, variables: dict, train: bool) -> Callable:
  """apply(view, images, *arguments, method=) -> (what that method of the model gives, moments).

  moments: the batch statistics, {} where the images were not normalised by their own. Treated views
  are normalised by those of the "original", which must come first, where
  `StatisticsOptions.normalise` says so; the gradient follows them into the original, too.
  """
  own = train and parts.statistics.normalise == "own"
  of_original: dict[tuple, dict] = {}

  def apply(view: str, images, *arguments, method: str):
    part = (method, *arguments)
    by_batch = own or (train and view == "original")
    batch_stats = variables["batch_stats"] if by_batch or not train else of_original[part]

    def compute(params: dict, batch_stats: dict, images):
      given = {"params": params, "batch_stats": batch_stats}
      return parts.model.apply(
        given, images, *arguments, train=by_batch, method=method, mutable=["moments"]
      )

    compute = jax.checkpoint(compute) if parts.rematerialise else compute
    out, new = compute(variables["params"], batch_stats, images)
    moments = new.get("moments", {})
    if view == "original":
      of_original[part] = moments
    return out, moments

  return apply
