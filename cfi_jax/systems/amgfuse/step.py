"""The training step: three outputs of a degraded pair, one objective, one update."""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import optax

from cfi_jax.core.types import Array
from cfi_jax.engine import optim, sharding
from cfi_jax.engine.procedure import Constants, Evaluation, Metrics
from cfi_jax.engine.sharding import SPLIT, WHOLE
from cfi_jax.engine.state import TrainState
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import PIXELS
from cfi_jax.metrics import make_scorer
from cfi_jax.systems.amgfuse import masks, objective
from cfi_jax.systems.amgfuse.model import AMGFuse, Restoration
from cfi_jax.systems.amgfuse.samples import Scene, in_colour, luma


@dataclasses.dataclass(frozen=True)
class Parts:
  """Parts of the training step.

  model: the network that is trained. frozen: the restoration network that it is trained with.
  weights: of the terms of the loss, by name. learning_rate: by the number of steps taken.
  """

  model: AMGFuse | Restoration
  frozen: Restoration
  weights: Mapping[str, float]
  optimizer: optax.GradientTransformation
  learning_rate: optax.Schedule
  ema_decay: float


def train_step(
  parts: Parts, state: TrainState, scene: Scene, constants: Constants, key: Array
) -> tuple[TrainState, Metrics]:
  """One optimizer update from a batch of scenes; nothing is drawn."""
  del key

  def of_share(params: dict, constants: Constants, scene: Scene):
    def loss_fn(params: dict):
      total, values, _ = measure(parts, {"params": params}, constants, scene)
      return total.mean(), {name: value.mean() for name, value in values.items()}

    (loss, values), gradients = jax.value_and_grad(loss_fn, has_aux=True)(params)
    return sharding.mean((gradients, {"loss": loss} | values))

  on_shares = sharding.on_shares(of_share, (WHOLE, WHOLE, SPLIT), WHOLE)
  gradients, metrics = on_shares(state.params, constants, scene)
  with jax.named_scope("optimizer"):
    updates, opt_state = parts.optimizer.update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
  metrics["gradient_norm"] = optax.tree.norm(gradients)
  metrics["learning_rate"] = jnp.asarray(parts.learning_rate(state.step), jnp.float32)
  # The losses are those of the old parameters; this one tells whether the new ones are finite.
  metrics["parameter_norm"] = optax.tree.norm(params)
  ema_params = optim.update_ema(state.ema_params, params, state.step, parts.ema_decay)
  state = state.replace(
    step=state.step + 1, params=params, opt_state=opt_state, ema_params=ema_params
  )
  return state, metrics


def measure(
  parts: Parts, variables: dict, constants: Constants, scene: Scene
) -> tuple[Array, Metrics, tuple[Array, ...]]:
  """The objective per example [B], its unweighted terms with statistics of masks, and images.

  Images [B, H, W, 3]: of fusion the fused one and the visible output, of restoration its output.
  """
  if isinstance(parts.model, Restoration):
    restored = parts.model.apply(variables, scene.visible)
    terms, images = objective.restoration_terms(restored, scene), (restored,)
  else:
    fusions = parts.model.apply(variables, scene.visible, scene.infrared)
    images = (fusions.fused, fusions.visible)
    terms = objective.fusion_terms(
      parts.weights, scene, fusions, lambda x: parts.frozen.apply(constants, x)
    )
  total = sum(parts.weights[name] * value for name, value in terms.items())
  if isinstance(parts.model, AMGFuse):
    terms = terms | masks.statistics(fusions.raw_masks, "raw_mask")
    terms = terms | masks.statistics(fusions.masks, "mask")
  return total, terms, images


def eval_step(
  parts: Parts,
  names: tuple[str, ...],
  convention: str,
  state: TrainState,
  scene: Scene,
  constants: Constants,
) -> Evaluation:
  """Validation of a batch of scenes.

  values: "loss", its terms and statistics of masks. scores: metrics of the fused degraded pair
  against the clean one, and the PSNR of the visible output, or of restoration, against the clean
  visible image. pictures: degraded visible | infrared | outputs | clean visible, uint8 RGB.
  """
  scorer = make_scorer(names, convention)

  def of_share(variables: dict, constants: Constants, scene: Scene) -> Evaluation:
    total, values, images = measure(parts, variables, constants, scene)
    images = tuple(jnp.clip(image, 0, 1) for image in images)
    clean = Pair(visible=luma(scene.clean_visible), infrared=scene.clean_infrared)
    scores = {"restored_psnr": psnr(images[-1], scene.clean_visible)}
    scores |= jax.vmap(scorer)(clean.visible, clean.infrared, luma(images[0]))
    columns = (scene.visible, in_colour(scene.infrared), *images, scene.clean_visible)
    pictures = ops.to_uint8(jnp.concatenate(columns, axis=-2))
    return Evaluation({"loss": total} | values, scores, pictures)

  on_shares = sharding.on_shares(of_share, (WHOLE, WHOLE, SPLIT), SPLIT)
  return on_shares({"params": state.ema_params or state.params}, constants, scene)


def psnr(image: Array, clean: Array) -> Array:
  """Peak signal-to-noise ratio in dB of images in [0, 1], per example; NaN of equal ones."""
  error = jnp.square(image - clean).mean(PIXELS)
  return jnp.where(error > 0, -10 * jnp.log10(jnp.where(error > 0, error, 1)), jnp.nan)
