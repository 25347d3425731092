"""The training step: five views of a batch, one objective, one update."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from cfi_jax.core.types import Array
from cfi_jax.engine import optim
from cfi_jax.engine.state import TrainState
from cfi_jax.fusion import interventions
from cfi_jax.fusion.interventions import MaskOptions, View
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.images import ops
from cfi_jax.metrics import find_metrics, quantise
from cfi_jax.systems.isfuse.layers import StatisticsOptions, update_running
from cfi_jax.systems.isfuse.objective import LossOptions, objective

Metrics = dict[str, Array]


@dataclasses.dataclass(frozen=True)
class Procedure:
  """What a training step is made of.

  seed: of the interventions; where it is traced, one program serves every seed. statistics: what
  normalises the views. ema_decay: see `OptimOptions`. share_encodings: whether views share images,
  see `interventions.View`. rematerialise: whether the encodings and fusions of the views are
  computed again for the gradient instead of being kept.
  """

  model: nn.Module
  optimizer: optax.GradientTransformation
  learning_rate: optax.Schedule
  loss: LossOptions
  masks: MaskOptions
  seed: int | Array
  statistics: StatisticsOptions
  ema_decay: float
  share_encodings: bool
  rematerialise: bool


def make_train_step(
  procedure: Procedure,
) -> Callable[[TrainState, Pair], tuple[TrainState, Metrics]]:
  """The training procedure as train_step(state, batch) -> (state, metrics), to be jitted.

  batch: pairs [B, H, W, 1]. Interventions depend on (seed, step, sample) only.
  """

  def train_step(state: TrainState, batch: Pair) -> tuple[TrainState, Metrics]:
    key = jax.random.fold_in(jax.random.key(procedure.seed), state.step)
    views = make_views(procedure, key, batch)
    return update(procedure, state, batch, views)

  return train_step


def make_views(procedure: Procedure, key: Array, batch: Pair) -> dict[str, View]:
  """The views of the objective, "original" first; their order is that of the running statistics."""
  names = procedure.loss.views
  views = {name: interventions.intervene(name, key, batch, procedure.masks) for name in names}
  if not procedure.share_encodings:
    batch_size = batch.visible.shape[0]
    views = {name: interventions.stand_alone(name, views[name], batch_size) for name in names}
  return {"original": interventions.original_view(batch)} | views


def update(
  procedure: Procedure, state: TrainState, batch: Pair, views: dict[str, View]
) -> tuple[TrainState, Metrics]:
  """One optimizer update from given views."""

  def loss_fn(params: dict):
    variables = {"params": params, "batch_stats": state.batch_stats}
    fusions, batch_stats = fuse_views(procedure, variables, views, train=True)
    original = fusions.pop("original")
    treated = {name: views[name].pair for name in fusions}
    total, parts = objective(procedure.loss, batch, original, fusions, treated)
    means = {"loss": total.mean()} | {name: part.mean() for name, part in parts.items()}
    return means["loss"], (means | gate_statistics(original), batch_stats)

  (_, (metrics, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
  updates, opt_state = procedure.optimizer.update(grads, state.opt_state, state.params)
  metrics["gradient_norm"] = optax.tree.norm(grads)
  metrics["learning_rate"] = jnp.asarray(procedure.learning_rate(state.step), jnp.float32)
  params = optax.apply_updates(state.params, updates)
  # The losses are those of the old parameters; this one tells whether the new ones are finite.
  metrics["parameter_norm"] = optax.tree.norm(params)
  state = TrainState(
    step=state.step + 1,
    params=params,
    batch_stats=batch_stats,
    opt_state=opt_state,
    ema_params=optim.update_ema(state.ema_params, params, state.step, procedure.ema_decay),
  )
  return state, metrics


def fuse_views(
  procedure: Procedure, variables: dict, views: dict[str, View], train: bool
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
  statistics, apply = procedure.statistics, _forward(procedure, variables, train)

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


def _forward(procedure: Procedure, variables: dict, train: bool) -> Callable:
  """apply(view, images, *arguments, method=) -> (what that method of the model gives, moments).

  moments: the batch statistics, {} where the images were not normalised by their own. Treated views
  are normalised by those of the "original", which must come first, where
  `StatisticsOptions.normalise` says so; the gradient follows them into the original, too.
  """
  own = train and procedure.statistics.normalise == "own"
  of_original: dict[tuple, dict] = {}

  def apply(view: str, images, *arguments, method: str):
    part = (method, *arguments)
    by_batch = own or (train and view == "original")
    batch_stats = variables["batch_stats"] if by_batch or not train else of_original[part]

    def compute(params: dict, batch_stats: dict, images):
      given = {"params": params, "batch_stats": batch_stats}
      return procedure.model.apply(
        given, images, *arguments, train=by_batch, method=method, mutable=["moments"]
      )

    compute = jax.checkpoint(compute) if procedure.rematerialise else compute
    out, new = compute(variables["params"], batch_stats, images)
    moments = new.get("moments", {})
    if view == "original":
      of_original[part] = moments
    return out, moments

  return apply


def gate_statistics(fusion: Fusion) -> Metrics:
  """Mean and standard deviation of every level's gate over the batch."""
  metrics = {}
  for level, gate in enumerate(fusion.gates, start=1):
    metrics[f"gate{level}/mean"] = gate.mean()
    metrics[f"gate{level}/std"] = gate.std()
  return metrics


def make_eval_step(
  procedure: Procedure, metric_names: tuple[str, ...], convention: str
) -> Callable[[dict, Pair], tuple[Metrics, Array]]:
  """Validation as eval_step(variables, batch) -> (values [B] by name, pictures).

  values: "loss", the parts of the objective, and the fusion metrics of that convention on 8-bit
    levels, NaN where the images hold nothing to measure.
  pictures: visible | infrared | fused | gate of every example, uint8 [B, H, 4 W].
  Running statistics are used and interventions depend on (seed, row) only, so that values of
  different steps compare.
  """
  chosen = find_metrics(metric_names, convention) if metric_names else ()

  def measure(visible: Array, infrared: Array, fused: Array) -> Metrics:
    levels = [quantise(image) for image in (visible, infrared, fused)]
    scores = {metric.name: metric(*levels, convention=convention) for metric in chosen}
    return {k: jnp.where(s.degenerate, jnp.nan, s.value) for k, s in scores.items()}

  def eval_step(variables: dict, batch: Pair) -> tuple[Metrics, Array]:
    views = make_views(procedure, jax.random.key(procedure.seed), batch)
    fusions, _ = fuse_views(procedure, variables, views, train=False)
    original = fusions.pop("original")
    treated = {name: views[name].pair for name in fusions}
    total, parts = objective(procedure.loss, batch, original, fusions, treated)
    scores = jax.vmap(measure)(batch.visible, batch.infrared, original.fused)
    return {"loss": total} | parts | scores, panels(batch, original)

  return eval_step


def panels(pair: Pair, fusion: Fusion) -> Array:
  """visible | infrared | fused | mean gate side by side, uint8 [..., H, 4 W]."""
  columns = (pair.visible, pair.infrared, fusion.fused, ops.mean_map(fusion.gates))
  return ops.to_uint8(jnp.concatenate([column[..., 0] for column in columns], axis=-1))
