"""The training step: five views of a batch, one objective, one update."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from cfi_jax.core.types import Array
from cfi_jax.engine import optim, sharding
from cfi_jax.engine.procedure import Evaluation, Metrics
from cfi_jax.engine.sharding import SPLIT, WHOLE
from cfi_jax.engine.state import TrainState
from cfi_jax.fusion import cameras, decoys
from cfi_jax.fusion.interventions import View
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.images import ops
from cfi_jax.metrics import make_scorer
from cfi_jax.systems.isfuse.objective import objective
from cfi_jax.systems.isfuse.views import Parts, fuse_views, make_views


def train_step(
  parts: Parts, state: TrainState, batch: Pair, key: Array
) -> tuple[TrainState, Metrics]:
  """One step on pairs [B, H, W, 1]; all that is drawn depends on (key, sample) only."""
  with jax.named_scope("views"):
    if parts.cameras.probability:
      batch = cameras.vary_batch(key, batch, parts.cameras)
    if parts.decoys.probability:
      batch = decoys.add_to_batch(key, batch, parts.decoys)
    views = make_views(parts, key, batch)
  return update(parts, state, views)


def update(parts: Parts, state: TrainState, views: dict[str, View]) -> tuple[TrainState, Metrics]:
  """One optimizer update from given views."""
  pairs, places = shares(views)

  def of_share(params: dict, batch_stats: dict, pairs: dict[str, Pair]):
    def loss_fn(params: dict):
      variables = {"params": params, "batch_stats": batch_stats}
      fusions, new_stats = fuse_views(parts, variables, show(views, pairs), train=True)
      original = fusions.pop("original")
      with jax.named_scope("objective"):
        total, terms = objective(parts.loss, pairs["original"], original, fusions, pairs)
      means = {"loss": total.mean()} | {name: term.mean() for name, term in terms.items()}
      return means["loss"], (means | gate_moments(original), new_stats)

    grads, (metrics, new_stats) = jax.grad(loss_fn, has_aux=True)(params)
    return *sharding.mean((grads, metrics)), new_stats

  on_shares = sharding.on_shares(of_share, (WHOLE, WHOLE, places), WHOLE)
  grads, metrics, batch_stats = on_shares(state.params, state.batch_stats, pairs)
  with jax.named_scope("optimizer"):
    updates, opt_state = parts.optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
  metrics = gate_statistics(metrics)
  metrics["gradient_norm"] = optax.tree.norm(grads)
  metrics["learning_rate"] = jnp.asarray(parts.learning_rate(state.step), jnp.float32)
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


def shares(views: dict[str, View]) -> tuple[dict[str, Pair], dict[str, Pair]]:
  """The views' pairs, and which of their images are divided among the devices.

  A blank image is a batch of one, everybody's.
  """
  pairs = {name: view.pair for name, view in views.items()}
  rows = len(pairs["original"].visible)
  return pairs, jax.tree.map(lambda x: SPLIT if len(x) == rows else WHOLE, pairs)


def show(views: dict[str, View], pairs: dict[str, Pair]) -> dict[str, View]:
  """The views with other pairs."""
  return {name: dataclasses.replace(view, pair=pairs[name]) for name, view in views.items()}


def gate_moments(fusion: Fusion) -> Metrics:
  """Mean, its square and variance of every level's gate, of which devices take means."""
  moments = {}
  for level, gate in enumerate(fusion.gates, start=1):
    mean = gate.mean()
    kinds = {"mean": mean, "square": jnp.square(mean), "var": gate.var()}
    moments |= {f"gate{level}/{kind}": value for kind, value in kinds.items()}
  return moments


def gate_statistics(metrics: Metrics) -> Metrics:
  """The metrics with every gate's standard deviation over the batch for its `gate_moments`."""
  found = {}
  for name, value in metrics.items():
    gate, _, kind = name.rpartition("/")
    if kind == "var":
      between = metrics[f"{gate}/square"] - jnp.square(metrics[f"{gate}/mean"])
      found[f"{gate}/std"] = jnp.sqrt(value + jnp.maximum(between, 0))
    elif kind != "square":
      found[name] = value
  return found


def make_eval_step(
  parts: Parts, metric_names: tuple[str, ...], convention: str
) -> Callable[[TrainState, Pair, Array], Evaluation]:
  """Validation as eval_step(state, batch, key) -> `Evaluation`.

  values: "loss" and the parts of the objective. scores: fusion metrics of that convention on 8-bit
  levels. pictures: visible | infrared | fused | gate, uint8 [B, H, 4 W]. Running statistics are
  used and interventions depend on (key, row) only.
  """
  measure = make_scorer(metric_names, convention)

  def eval_step(state: TrainState, batch: Pair, key: Array) -> Evaluation:
    views = make_views(parts, key, batch)
    pairs, places = shares(views)

    def of_share(variables: dict, pairs: dict[str, Pair]) -> Evaluation:
      fusions, _ = fuse_views(parts, variables, show(views, pairs), train=False)
      original, batch = fusions.pop("original"), pairs["original"]
      total, terms = objective(parts.loss, batch, original, fusions, pairs)
      scores = jax.vmap(measure)(batch.visible, batch.infrared, original.fused)
      return Evaluation({"loss": total} | terms, scores, panels(batch, original))

    return sharding.on_shares(of_share, (WHOLE, places), SPLIT)(state.variables, pairs)

  return eval_step


def panels(pair: Pair, fusion: Fusion) -> Array:
  """visible | infrared | fused | mean gate side by side, uint8 [..., H, 4 W]."""
  columns = (pair.visible, pair.infrared, fusion.fused, ops.mean_map(fusion.gates))
  return ops.to_uint8(jnp.concatenate([column[..., 0] for column in columns], axis=-1))
