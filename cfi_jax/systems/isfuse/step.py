"""The training step: five views of a batch, one objective, one update."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from cfi_jax.core.types import Array
from cfi_jax.engine import optim
from cfi_jax.engine.procedure import Evaluation, Metrics
from cfi_jax.engine.state import TrainState
from cfi_jax.fusion.interventions import View
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.images import ops
from cfi_jax.metrics import find_metrics, quantise
from cfi_jax.systems.isfuse.objective import objective
from cfi_jax.systems.isfuse.views import Parts, fuse_views, make_views


def train_step(
  parts: Parts, state: TrainState, batch: Pair, key: Array
) -> tuple[TrainState, Metrics]:
  """One step on pairs [B, H, W, 1]; interventions depend on (key, sample) only."""
  return update(parts, state, batch, make_views(parts, key, batch))


def update(
  parts: Parts, state: TrainState, batch: Pair, views: dict[str, View]
) -> tuple[TrainState, Metrics]:
  """One optimizer update from given views."""

  def loss_fn(params: dict):
    variables = {"params": params, "batch_stats": state.batch_stats}
    fusions, batch_stats = fuse_views(parts, variables, views, train=True)
    original = fusions.pop("original")
    treated = {name: views[name].pair for name in fusions}
    total, terms = objective(parts.loss, batch, original, fusions, treated)
    means = {"loss": total.mean()} | {name: term.mean() for name, term in terms.items()}
    return means["loss"], (means | gate_statistics(original), batch_stats)

  (_, (metrics, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
  updates, opt_state = parts.optimizer.update(grads, state.opt_state, state.params)
  metrics["gradient_norm"] = optax.tree.norm(grads)
  metrics["learning_rate"] = jnp.asarray(parts.learning_rate(state.step), jnp.float32)
  params = optax.apply_updates(state.params, updates)
  # The losses are those of the old parameters; this one tells whether the new ones are finite.
  metrics["parameter_norm"] = optax.tree.norm(params)
  state = TrainState(
    step=state.step + 1,
    params=params,
    batch_stats=batch_stats,
    opt_state=opt_state,
    ema_params=optim.update_ema(state.ema_params, params, state.step, parts.ema_decay),
  )
  return state, metrics


def gate_statistics(fusion: Fusion) -> Metrics:
  """Mean and standard deviation of every level's gate over the batch."""
  metrics = {}
  for level, gate in enumerate(fusion.gates, start=1):
    metrics[f"gate{level}/mean"] = gate.mean()
    metrics[f"gate{level}/std"] = gate.std()
  return metrics


def make_eval_step(
  parts: Parts, metric_names: tuple[str, ...], convention: str
) -> Callable[[TrainState, Pair, Array], Evaluation]:
  """Validation as eval_step(state, batch, key) -> `Evaluation`.

  values: "loss" and the parts of the objective. scores: fusion metrics of that convention on 8-bit
  levels. pictures: visible | infrared | fused | gate, uint8 [B, H, 4 W]. Running statistics are
  used and interventions depend on (key, row) only.
  """
  chosen = find_metrics(metric_names, convention) if metric_names else ()

  def measure(visible: Array, infrared: Array, fused: Array) -> Metrics:
    levels = [quantise(image) for image in (visible, infrared, fused)]
    scores = {metric.name: metric(*levels, convention=convention) for metric in chosen}
    return {k: jnp.where(s.degenerate, jnp.nan, s.value) for k, s in scores.items()}

  def eval_step(state: TrainState, batch: Pair, key: Array) -> Evaluation:
    views = make_views(parts, key, batch)
    fusions, _ = fuse_views(parts, state.variables, views, train=False)
    original = fusions.pop("original")
    treated = {name: views[name].pair for name in fusions}
    total, terms = objective(parts.loss, batch, original, fusions, treated)
    scores = jax.vmap(measure)(batch.visible, batch.infrared, original.fused)
    return Evaluation({"loss": total} | terms, scores, panels(batch, original))

  return eval_step


def panels(pair: Pair, fusion: Fusion) -> Array:
  """visible | infrared | fused | mean gate side by side, uint8 [..., H, 4 W]."""
  columns = (pair.visible, pair.infrared, fusion.fused, ops.mean_map(fusion.gates))
  return ops.to_uint8(jnp.concatenate([column[..., 0] for column in columns], axis=-1))
