"""Trivial transfers, which every report scores beside a network; the skeleton warp is ours.

A baseline takes samples with their exact keypoints, and what gives it the training pictures, which
few need; it gives pictures [B, S, S, 3] in [0, 1].
"""

import functools
from collections.abc import Callable

import jax
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.datasets.figures.album import Album
from cfi_jax.systems.dfcnet.samples import Transfer
from cfi_jax.systems.dfcnet.warp import warp

Training = Callable[[], Album]
Baseline = Callable[[Transfer, Training], Array]
POSE_SCALE, COLOUR_SCALE = 0.1, 0.05  # distances that count alike, in sides and in [0, 1]


def copy_target(samples: Transfer, training: Training) -> Array:
  """The target as it is: the person, in the wrong pose."""
  del training
  return samples.target


def copy_source(samples: Transfer, training: Training) -> Array:
  """The source as it is: the pose, of the wrong person."""
  del training
  return samples.source


def mean_image(samples: Transfer, training: Training) -> Array:
  """The mean of all training pictures."""
  mean = np.asarray(training().images.mean(0) / 255, np.float32)
  return np.broadcast_to(mean, samples.target.shape)


@jax.jit
def _warp(samples: Transfer) -> Array:
  warped = jax.vmap(warp)(samples.target, samples.target_keypoints, samples.source_keypoints)
  return warped.base


def skeleton_warp(samples: Transfer, training: Training) -> Array:
  """The network's input without the network (`warp.warp`)."""
  del training
  return _warp(samples)


def nearest(samples: Transfer, training: Training, colours: bool) -> Array:
  """The training picture whose joints are nearest to the source's on average.

  colours: and whose mean colour is near to the target's, a distance of 0.05 counting as much as one
  of a tenth of the side for joints.
  """
  side, shown = samples.target.shape[1], training()
  known, wanted = shown.keypoints[None, ..., :2], np.asarray(samples.source_keypoints)
  distance = np.linalg.norm(known - wanted[:, None, :, :2], axis=-1).mean(-1) / side
  if colours:
    means = shown.images.mean((1, 2)) / 255
    own = np.asarray(samples.target).mean((1, 2))
    apart = np.abs(means[None] - own[:, None]).mean(-1)
    distance = distance / POSE_SCALE + apart / COLOUR_SCALE
  return np.asarray(shown.images[distance.argmin(1)] / 255, np.float32)


def truth(samples: Transfer, training: Training) -> Array:
  """The answer itself, by which the judge of keypoints is judged."""
  del training
  return samples.truth


BASELINES: dict[str, Baseline] = {
  "skeleton warp": skeleton_warp,
  "copy target": copy_target,
  "copy source": copy_source,
  "mean image": mean_image,
  "nearest by pose": functools.partial(nearest, colours=False),
  "nearest by pose and colour": functools.partial(nearest, colours=True),
  "truth": truth,
}
