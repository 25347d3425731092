"""The training step: pose estimator, discriminator and generator, one update each; ours.

The estimator learns from keypoints alone: to the losses of the generator it is a constant. It has
no phase of its own, which a branch of the program would be: on CPUs XLA (JAX 0.10) computes the
gradients of convolutions in a branch more than ten times slower, as measured.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import struct

from cfi_jax.core.types import Array
from cfi_jax.engine import optim, sharding
from cfi_jax.engine.procedure import Batch, Evaluation, Metrics
from cfi_jax.engine.sharding import SPLIT, WHOLE
from cfi_jax.images import ops
from cfi_jax.systems.dfcnet import objective, scores
from cfi_jax.systems.dfcnet.discriminator import Discriminator
from cfi_jax.systems.dfcnet.networks import Inputs, Networks, signed, unsigned
from cfi_jax.systems.dfcnet.objective import LossOptions
from cfi_jax.systems.dfcnet.samples import Transfer, gaussians

JOINT_DEVIATION = 1.2  # of the estimator's targets, in cells of two pixels


@struct.dataclass
class Learner:
  """Parameters and the state of their optimizer."""

  params: dict
  opt_state: optax.OptState


@struct.dataclass
class State:
  """All that a step changes and a checkpoint holds.

  step: int32 [], number of steps taken. generator: branches, amplifier and generator; average:
  their exponential moving average, {} where none is kept.
  """

  step: Array
  estimator: Learner
  generator: Learner
  discriminator: Learner
  average: dict

  @property
  def variables(self) -> dict:
    """Parameters that are validated and kept."""
    network = self.average or self.generator.params
    return {"estimator": self.estimator.params, "network": network}


class Optimizers(NamedTuple):
  """Optimizers of the three learners."""

  estimator: optax.GradientTransformation
  generator: optax.GradientTransformation
  discriminator: optax.GradientTransformation


@dataclasses.dataclass(frozen=True)
class Parts:
  """Parts of the training step.

  rate: the generator's learning rate by the steps taken. fit: parameters of the proportions and a
  key to those that the run begins with; None where it begins with the source's proportions.
  """

  networks: Networks
  discriminator: Discriminator
  loss: LossOptions
  optimizers: Optimizers
  rate: optax.Schedule
  ema_decay: float
  fit: Callable[[dict, Array], dict] | None


def train_step(parts: Parts, state: State, batch: Batch) -> tuple[State, Metrics]:
  """One update of the estimator, of the discriminator, then of branches and generator.

  The generator's terms see the new discriminator and the old estimator; nothing is drawn. "loss" is
  the generator's objective.
  """

  def of_share(state: State, batch: Batch) -> tuple[State, Metrics]:
    samples = join(batch)
    params = {"estimator": state.estimator.params, "network": state.generator.params}
    inputs = prepare(parts, params, samples)
    (made, drawn), pull = jax.vjp(
      functools.partial(_produce, parts, samples, inputs), state.generator.params
    )
    estimator, found = update_estimator(parts, state.estimator, samples)
    discriminator, judged = update_discriminator(parts, state.discriminator, samples, inputs, made)

    def objective_of(produced: tuple[Array, Array]) -> tuple[Array, Metrics]:
      made, drawn = produced
      own = inputs._replace(keypoints=drawn)
      terms = measure(parts, params, samples, own, made, discriminator.params)
      total = weigh(parts.loss, terms, samples.paired, state.step)
      return total.mean(), {name: value.mean() for name, value in terms.items()}

    (loss, terms), wanted = jax.value_and_grad(objective_of, has_aux=True)((made, drawn))
    (gradients,) = pull(wanted)
    numbers = objective.statistics(made, inputs.target, inputs.warped.base, inputs.warped.region)
    numbers = {name: value.mean() for name, value in numbers.items()} | terms | {"loss": loss}
    gradients, numbers = sharding.mean((gradients, numbers))
    for name in set(objective.PAIRED) & set(terms):
      numbers[name] /= _paired_share(samples)
    generator = update(parts.optimizers.generator, state.generator, gradients)
    average = optim.update_ema(state.average, generator.params, state.step, parts.ema_decay)
    numbers |= (
      found
      | judged
      | {
        "gradient_norm": optax.tree.norm(gradients),
        "parameter_norm": optax.tree.norm(
          (estimator.params, generator.params, discriminator.params)
        ),
        "learning_rate": jnp.asarray(parts.rate(state.step), jnp.float32),
      }
    )
    return State(state.step + 1, estimator, generator, discriminator, average), numbers

  return sharding.on_shares(of_share, (WHOLE, SPLIT), WHOLE)(state, batch)


def _produce(
  parts: Parts, samples: Transfer, inputs: Inputs, network_params: dict
) -> tuple[Array, Array]:
  """The loss of the generator's learner: of made pictures, and of the keypoints that are drawn."""
  keypoints = (samples.source_keypoints, samples.target_keypoints)
  made = parts.networks.draw(network_params, inputs)
  return made, parts.networks.adapt(network_params, *keypoints)


def update_estimator(parts: Parts, learner: Learner, samples: Transfer) -> tuple[Learner, Metrics]:
  """One update of the pose estimator from the targets and their keypoints.

  From these, as the static term reads their maps anyway.
  """
  side, pictures = samples.target.shape[1], signed(samples.target)
  maps_of = functools.partial(gaussians, side=side, cells=side // 2, deviation=JOINT_DEVIATION)
  wanted = jax.vmap(maps_of)(samples.target_keypoints)

  def loss_fn(params: dict) -> Array:
    maps = parts.networks.estimate({"estimator": params}, pictures)
    return objective.estimation(maps, wanted).mean()

  loss, gradients = sharding.mean(jax.value_and_grad(loss_fn)(learner.params))
  return update(parts.optimizers.estimator, learner, gradients), {"estimation": loss}


def update_discriminator(
  parts: Parts, learner: Learner, samples: Transfer, inputs: Inputs, made: Array
) -> tuple[Learner, Metrics]:
  """One update of the discriminator; none where the adversary has no weight."""
  if not parts.loss.adversary:
    return learner, {}
  by_maps = parts.networks.architecture.pose_input == "estimator"
  own = inputs.pose if by_maps else _maps_of_truth(parts, samples)
  real, fake = (signed(samples.truth), own), (jax.lax.stop_gradient(made), inputs.pose)

  def loss_fn(params: dict) -> tuple[Array, Metrics]:
    judged = [parts.discriminator.apply({"params": params}, *given) for given in (real, fake)]
    loss = sum(
      objective.adversary(maps, wanted) for maps, wanted in zip(judged, (1.0, 0.0), strict=True)
    )
    return loss.mean(), {n: value.mean() for n, value in objective.margins(*judged).items()}

  found = jax.value_and_grad(loss_fn, has_aux=True)(learner.params)
  (loss, margins), gradients = sharding.mean(found)
  learner = update(parts.optimizers.discriminator, learner, gradients)
  return learner, {"discriminator": loss} | margins


def prepare(parts: Parts, params: dict, samples: Transfer) -> Inputs:
  """Arguments of the network for samples with their keypoints."""
  keypoints = (samples.source_keypoints, samples.target_keypoints)
  source, target = signed(samples.source), signed(samples.target)
  return parts.networks.prepare(params, source, target, keypoints)


def measure(
  parts: Parts,
  params: dict,
  samples: Transfer,
  inputs: Inputs,
  made: Array,
  discriminator_params: dict | None = None,
) -> Metrics:
  """The unweighted terms that have a weight, per example [B], of made pictures.

  Gradients pass to `made` and `inputs.keypoints` alone: the static term could else shrink its own
  features. The
  reconstruction is 0 where there is no truth; "adversary" is left out without a discriminator.
  """
  networks, weights = parts.networks, parts.loss
  params = jax.lax.stop_gradient(params)
  terms = {
    "reconstruction": samples.paired
    * objective.reconstruction(made, signed(samples.truth), inputs.warped.region)
  }
  if networks.architecture.proportions == "learned":
    side = made.shape[1]
    terms["proportions"] = samples.paired * objective.proportions(
      inputs.keypoints, samples.truth_keypoints, side
    )
  if weights.adversary and discriminator_params is not None:
    judged = parts.discriminator.apply({"params": discriminator_params}, made, inputs.pose)
    terms["adversary"] = objective.adversary(judged, 1.0)
  if weights.pose or weights.static:
    clipped = jnp.clip(made, -1, 1)
    amplified = networks.amplify(params, networks.estimate(params, clipped))
  if weights.pose:
    reference = _reference(parts, params, samples, inputs)
    terms["pose"] = objective.pose_consistency(amplified, reference)
  if weights.static:
    own = networks.amplify(params, networks.estimate(params, inputs.target))
    features = (networks.look(params, clipped).half, networks.look(params, inputs.target).half)
    terms["static"] = objective.static_consistency(features, (amplified, own))
  return terms


def _reference(parts: Parts, params: dict, samples: Transfer, inputs: Inputs) -> Array:
  """Maps that the pose term compares with."""
  if parts.loss.pose_reference == "source":
    return inputs.pose
  if parts.networks.architecture.pose_input == "estimator":
    return jax.lax.stop_gradient(parts.networks.read(params, signed(samples.truth)).amplified)
  paired = samples.paired.reshape(-1, 1, 1, 1)
  return jnp.where(paired, _maps_of_truth(parts, samples), inputs.pose)


def _maps_of_truth(parts: Parts, samples: Transfer) -> Array:
  """Maps [B, S / 2, S / 2, K] of the truth's keypoints."""
  return parts.networks.maps_of(samples.truth_keypoints, samples.truth.shape[1])


def weigh(weights: LossOptions, terms: Metrics, paired: Array, step: Array) -> Array:
  """The objective per example [B]; the mean reconstruction is that of the paired ones."""
  share = jnp.maximum(sharding.mean(paired.mean()), 1e-6)
  shares = {name: share if name in objective.PAIRED else 1.0 for name in terms}
  return sum(
    getattr(weights, name) * weights.ramp(name, step) * value / shares[name]
    for name, value in terms.items()
  )


def _paired_share(samples: Transfer) -> Array:
  """Share of paired examples in the batch of all devices."""
  return jnp.maximum(sharding.mean(samples.paired.mean()), 1e-6)


def eval_step(parts: Parts, state: State, samples: Transfer) -> Evaluation:
  """Validation of a batch of paired samples with the moving average.

  values: "loss", the reconstruction; the consistency terms; statistics. scores: of `scores`, PCK by
  our own estimator; those of the person are NaN without part maps. pictures: target | source | made
  | truth, uint8 RGB.
  """

  def of_share(variables: dict, samples: Transfer) -> Evaluation:
    inputs = prepare(parts, variables, samples)
    made = parts.networks.draw(variables["network"], inputs)
    values = measure(parts, variables, samples, inputs, made)
    values["loss"] = values.pop("reconstruction")
    base, region = inputs.warped.base, inputs.warped.region
    values |= objective.statistics(made, inputs.target, base, region)
    shown = unsigned(made)
    found = parts.networks.read(variables, signed(shown)).keypoints
    side = shown.shape[1]
    scored = _of_person(shown, samples) | {
      "psnr": scores.psnr(shown, samples.truth),
      "ssim": scores.ssim(shown, samples.truth),
      "pck": scores.joint_scores(found, samples.truth_keypoints, side)["PCK"],
    }
    columns = (samples.target, samples.source, shown, samples.truth)
    return Evaluation(values, scored, ops.to_uint8(jnp.concatenate(columns, axis=-2)))

  return sharding.on_shares(of_share, (WHOLE, SPLIT), SPLIT)(state.variables, samples)


def _of_person(shown: Array, samples: Transfer) -> Metrics:
  """Scores [B] of the person in made pictures [B, S, S, 3], NaN without part maps."""
  parts = samples.truth_parts
  if parts is None:
    return dict.fromkeys(("foreground_psnr", "identity_error"), jnp.full(len(shown), jnp.nan))
  return {
    "foreground_psnr": scores.foreground_psnr(shown, samples.truth, parts),
    "identity_error": scores.identity_error(shown, samples.truth, parts, parts),
  }


def join(batch: Batch) -> Transfer:
  """The samples of all streams, one after the other."""
  return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *batch.values())


def update(optimizer: optax.GradientTransformation, learner: Learner, gradients: dict) -> Learner:
  """The learner after one step of its optimizer."""
  with jax.named_scope("optimizer"):
    updates, opt_state = optimizer.update(gradients, learner.opt_state, learner.params)
    return Learner(optax.apply_updates(learner.params, updates), opt_state)
