"""The source's pose with the proportions of the target's person, told by keypoints alone; ours.

The source shows another person, of another height and with other limbs: moved onto its keypoints as
they are, the target's person would get that body.
"""

from collections.abc import Callable

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.systems.dfcnet import objective

# Bones of a tree with the neck as its root: the joint at the end of each, and at its beginning.
BONES = {
  "nose": "neck", "right shoulder": "neck", "right elbow": "right shoulder",
  "right wrist": "right elbow", "left shoulder": "neck", "left elbow": "left shoulder",
  "left wrist": "left elbow", "right hip": "neck", "right knee": "right hip",
  "right ankle": "right knee", "left hip": "neck", "left knee": "left hip",
  "left ankle": "left knee", "right eye": "nose", "left eye": "nose", "right ear": "right eye",
  "left ear": "left eye",
}  # fmt: skip
_ENDS, _STARTS = np.array([[JOINTS.index(name) for name in bone] for bone in BONES.items()]).T
HIPS = [JOINTS.index(f"{side} hip") for side in ("right", "left")]
LONGEST, FARTHEST = 0.5, 0.1  # log of the greatest factor on a bone; of a shift, in sides
FIT_BATCH, FIT_RATE = 64, 3e-3
_USUAL, _LEAST = 0.05, 0.01  # lengths of bones in sides: one to compare with, and one added


def _way(joint: str) -> list[str]:
  """The bones between the neck and a joint, by the joints at their ends."""
  return [joint, *_way(BONES[joint])] if joint in BONES else []


# [joints, bones]: 1 where a bone lies between the neck and a joint.
_WAYS = np.array([[end in _way(joint) for end in BONES] for joint in JOINTS], np.float32)


class Proportions(nn.Module):
  """Factors on the lengths of the source's bones and a shift, which begin with none.

  side: of the pictures in pixels. width: of the two hidden layers.
  """

  side: int
  width: int = 64

  @nn.compact
  def __call__(self, source: Array, target: Array) -> Array:
    """The source's keypoints [B, K, 3] on the target's body; target: its keypoints [B, K, 3].

    The middle of the hips stays at its place across, and the lowest joint at its height, but for
    the shift. Missing joints stay missing, and bones that end in one keep their length.
    """
    chex.assert_equal_shape((source, target))
    ways, known = bones(source, self.side)
    parts = []
    for vectors, there in ((ways, known), bones(target, self.side)):
      length = jnp.sqrt(jnp.square(vectors).sum(-1) + _LEAST**2)
      flat = vectors.reshape(len(vectors), -1) / (2 * _USUAL)
      parts += [flat, jnp.log(length / _USUAL) * there, there]
    x = jnp.concatenate(parts, axis=-1)
    for _ in range(2):
      x = nn.silu(nn.Dense(self.width)(x))
    x = nn.Dense(len(BONES) + 2, kernel_init=nn.initializers.zeros)(x)
    factor = jnp.exp(LONGEST * jnp.tanh(x[:, :-2] / LONGEST))
    shift = FARTHEST * jnp.tanh(x[:, None, -2:])
    longer = jnp.einsum("kn,bnc->bkc", _WAYS, (factor[..., None] - 1) * ways)
    there = (source[..., 2:] > 0).astype(longer.dtype)
    moved = source[..., :2] + self.side * (longer + _anchor(source, longer) + shift)
    return jnp.concatenate([moved * there, source[..., 2:]], axis=-1)


def fit(
  module: Proportions,
  params: dict,
  draw: Callable[[Array], tuple[Array, Array, Array]],
  key: Array,
  steps: int,
) -> dict:
  """The parameters after `steps` updates by Adam, each on triples drawn from a key of its own.

  draw: keypoints [K, 3] of source, target and truth of one triple. A pure function of the key.
  """
  optimizer = optax.adam(optax.cosine_decay_schedule(FIT_RATE, steps, alpha=0.01))

  def error(params: dict, key: Array) -> Array:
    source, target, truth = jax.vmap(draw)(jax.random.split(key, FIT_BATCH))
    made = module.apply({"params": params}, source, target)
    return objective.proportions(made, truth, module.side).mean()

  def update(carry: tuple, step: Array) -> tuple[tuple, None]:
    params, state = carry
    gradients = jax.grad(error)(params, jax.random.fold_in(key, step))
    updates, state = optimizer.update(gradients, state, params)
    return (optax.apply_updates(params, updates), state), None

  carry = (params, optimizer.init(params))
  return jax.lax.scan(update, carry, jnp.arange(steps))[0][0]


def bones(keypoints: Array, side: int) -> tuple[Array, Array]:
  """Bones of keypoints [B, K, 3] as vectors [B, 17, 2] in sides, and whether both ends are known.

  An unknown bone is 0.
  """
  there = (keypoints[..., 2] > 0).astype(keypoints.dtype)
  known = there[:, _ENDS] * there[:, _STARTS]
  places = keypoints[..., :2] / side
  return (places[:, _ENDS] - places[:, _STARTS]) * known[..., None], known


def _anchor(source: Array, moves: Array) -> Array:
  """The shift [B, 1, 2] that undoes moves [B, K, 2], across of the hips, down of the lowest."""
  there = source[..., 2] > 0
  lowest = jnp.where(there, source[..., 1], -1).argmax(1)
  down = jnp.take_along_axis(moves[..., 1], lowest[:, None], axis=1)
  hips = there[:, HIPS].astype(moves.dtype)
  across = (moves[:, HIPS, 0] * hips).sum(1, keepdims=True) / jnp.maximum(
    hips.sum(1, keepdims=True), 1
  )
  return -jnp.stack([across, down], axis=-1)
