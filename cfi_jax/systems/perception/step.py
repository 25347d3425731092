"""The training step, and validation."""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from cfi_jax.core.types import Array
from cfi_jax.datasets.labelled.classes import IGNORED, Classes
from cfi_jax.engine import optim, sharding
from cfi_jax.engine.procedure import Evaluation, Metrics
from cfi_jax.engine.sharding import SPLIT, WHOLE
from cfi_jax.engine.state import TrainState
from cfi_jax.images import ops
from cfi_jax.systems.perception import objective
from cfi_jax.systems.perception.model import Perceived, Perception
from cfi_jax.systems.perception.objective import LossOptions
from cfi_jax.systems.perception.samples import Labelled


@dataclasses.dataclass(frozen=True)
class Parts:
  """Parts of the training step; rate: the learning rate by the steps taken."""

  network: Perception
  classes: Classes
  loss: LossOptions
  optimizer: optax.GradientTransformation
  rate: optax.Schedule
  ema_decay: float


def train_step(parts: Parts, state: TrainState, batch: Labelled) -> tuple[TrainState, Metrics]:
  """One update from labelled samples [B]; nothing is drawn."""

  def of_share(params: dict, samples: Labelled) -> tuple[dict, Metrics]:
    def loss_fn(params: dict) -> tuple[Array, Metrics]:
      _, found = perceive(parts, params, samples)
      return found["loss"].mean(), {name: value.mean() for name, value in found.items()}

    return sharding.mean(jax.grad(loss_fn, has_aux=True)(params))

  on_shares = sharding.on_shares(of_share, (WHOLE, SPLIT), WHOLE)
  gradients, metrics = on_shares(state.params, batch)
  with jax.named_scope("optimizer"):
    updates, opt_state = parts.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
  metrics |= {
    "gradient_norm": optax.tree.norm(gradients),
    "parameter_norm": optax.tree.norm(params),
    "learning_rate": jnp.asarray(parts.rate(state.step), jnp.float32),
  }
  state = state.replace(
    step=state.step + 1,
    params=params,
    opt_state=opt_state,
    ema_params=optim.update_ema(state.ema_params, params, state.step, parts.ema_decay),
  )
  return state, metrics


def perceive(parts: Parts, params: dict, samples: Labelled) -> tuple[Perceived, Metrics]:
  """Perceptions of samples by the network, and its terms [B] with "loss", the objective."""
  perceived = parts.network.apply({"params": params}, samples.visible, samples.infrared)
  found = objective.terms(perceived, samples, parts.loss.balance)
  return perceived, found | {"loss": objective.weigh(parts.loss, found)}


def eval_step(parts: Parts, state: TrainState, samples: Labelled) -> Evaluation:
  """Validation of a batch.

  values: "loss" and its unweighted terms. scores, with segmentation: "miou", the mean IoU of each
  image, and "accuracy", the share of its judged pixels. pictures: visible | infrared | truth |
  perceived, uint8 RGB; without segmentation the two images.
  """

  def of_share(params: dict, samples: Labelled) -> Evaluation:
    perceived, values = perceive(parts, params, samples)
    columns = [grey_to_rgb(x) for x in (samples.visible, samples.infrared)]
    if perceived.logits is None:
      return Evaluation(values, {}, ops.to_uint8(jnp.concatenate(columns, axis=-2)))
    predicted = perceived.logits.argmax(-1)
    scores = jax.vmap(lambda t, p: agreement(t, p, len(parts.classes.names)))(
      samples.labels, predicted
    )
    painted = [paint(parts.classes, x) for x in (samples.labels, predicted)]
    return Evaluation(values, scores, ops.to_uint8(jnp.concatenate(columns + painted, axis=-2)))

  params = state.variables["params"]
  return sharding.on_shares(of_share, (WHOLE, SPLIT), SPLIT)(params, samples)


def agreement(truth: Array, predicted: Array, classes: int) -> Metrics:
  """Mean IoU over the classes that either has, and accuracy, of labels [H, W]; NaN for no pixel.

  As `metrics.segmentation` computes them on the host from the confusion matrix.
  """
  judged = truth != IGNORED
  true, found = (
    (x[..., None] == jnp.arange(classes).reshape(1, 1, -1)) & judged[..., None]
    for x in (truth, predicted)
  )
  inside, union = (true & found).sum((0, 1)), (true | found).sum((0, 1))
  present = union > 0
  iou = jnp.where(present, inside / jnp.maximum(union, 1), 0).sum() / present.sum()
  return {"miou": iou, "accuracy": inside.sum() / judged.sum()}


def grey_to_rgb(image: Array) -> Array:
  """An image [..., 1 or 3] as RGB."""
  return jnp.broadcast_to(image, (*image.shape[:-1], 3))


def paint(classes: Classes, labels: Array) -> Array:
  """Colours in [0, 1] of labels [B, H, W]."""
  table = jnp.asarray(classes.palette, jnp.float32) / 255
  return table[labels]
