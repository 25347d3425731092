"""Samples of pose transfer, and keypoints as heat maps; all of it is ours."""

import chex
import jax.numpy as jnp
from flax import struct

from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.figures import joints

ROLES = ("source", "target")


@struct.dataclass
class Transfer:
  """A request to show the person of one picture in the pose of another.

  source: picture whose pose is taken; target: of the person, clothes and room; truth: the answer.
    RGB [..., S, S, 3] in [0, 1].
  source_keypoints, target_keypoints, truth_keypoints: [..., K, 3], x and y in pixels and a flag, 0
    where a joint is missing, 1 where it is hidden, 2 where it is seen.
  paired: bool [...]; False where there is no answer: `truth` is the source then, a real picture in
    that pose, of another person.
  source_parts, truth_parts: int32 [..., S, S], part maps (`datasets.figures.skeleton.PARTS`), of
    held-out samples of rendered people; else None.
  """

  source: Array
  target: Array
  truth: Array
  source_keypoints: Array
  target_keypoints: Array
  truth_keypoints: Array
  paired: Array
  source_parts: Array | None = None
  truth_parts: Array | None = None


def require_images(names: tuple[str, ...], where: str) -> None:
  """Raises InputError unless records have the images that a `Transfer` is made of."""
  needed = [*ROLES, *(f"{role}_joints" for role in ROLES)]
  if missing := [name for name in needed if name not in names]:
    raise InputError(
      f"{where} has no images {', '.join(missing)}, of which pose transfer is made; it has "
      f"{', '.join(names) or 'none'}; data.name allowed: figures, characters, "
      "pose_pairs, pose_frames"
    )


def make_transfer(images: dict[str, Array], key: Array) -> Transfer:
  """The sample of the images [S, S, C] of a record; nothing is drawn."""
  del key
  paired = "truth" in images
  answer = "truth" if paired else "source"
  parts = {
    name: jnp.round(images[name][..., 0] * 255).astype(jnp.int32)
    for name in ("source_parts", "truth_parts")
    if name in images
  }
  return Transfer(
    source=images["source"],
    target=images["target"],
    truth=images[answer],
    source_keypoints=joints.decode(images["source_joints"]),
    target_keypoints=joints.decode(images["target_joints"]),
    truth_keypoints=joints.decode(images[f"{answer}_joints"]),
    paired=jnp.array(paired),
    **parts,
  )


def gaussians(keypoints: Array, side: int, cells: int, deviation: float) -> Array:
  """Heat maps [cells, cells, K] of keypoints [K, 3]: Gaussians with a peak of 1.

  side: of the picture in pixels. deviation: in cells. The map of a missing joint is 0.
  """
  chex.assert_shape(keypoints, (None, 3))
  place = keypoints[:, :2] * (cells / side)
  centres = (jnp.arange(cells) + 0.5).reshape(cells, 1)
  # Separable: a product of one factor per axis.
  across, down = (
    jnp.exp(-jnp.square(centres - place[None, :, axis]) / (2 * deviation**2)) for axis in (0, 1)
  )
  across = across * (keypoints[None, :, 2] > 0)
  return down[:, None] * across[None]


def read_keypoints(maps: Array, peaks: Array, side: int, least: float) -> Array:
  """Keypoints [K, 3] in pixels: the mean place of each map [cells, cells, K].

  peaks: [K], of the maps before they were amplified; a joint with at most `least` is missing.
  side: of the picture in pixels.
  """
  chex.assert_rank(maps, 3)
  cells = maps.shape[0]
  maps = jnp.maximum(maps, 0)
  mass = jnp.maximum(maps.sum((0, 1)), 1e-6)
  centres = ((jnp.arange(cells) + 0.5) * (side / cells)).reshape(cells, 1)
  x, y = ((maps.sum(axis) * centres).sum(0) / mass for axis in (0, 1))
  there = (peaks > least).astype(x.dtype)
  return jnp.stack([x * there, y * there, 2 * there], axis=-1)
