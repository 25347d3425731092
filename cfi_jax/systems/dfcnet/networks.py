"""The networks applied to pictures: maps and keypoints, the skeleton warp, the drawing; ours."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.systems.dfcnet.estimator import Estimator
from cfi_jax.systems.dfcnet.model import Architecture, Features, Network
from cfi_jax.systems.dfcnet.samples import gaussians, read_keypoints
from cfi_jax.systems.dfcnet.warp import Warped, warp

DEVIATION = 1.0  # of keypoints as maps, in cells of two pixels
CONFIDENT = 0.2  # peak of a map from which on a joint counts as found


class Reading(NamedTuple):
  """The pose of pictures: maps of the estimator, amplified ones, and keypoints [B, K, 3]."""

  maps: Array
  amplified: Array
  keypoints: Array


class Inputs(NamedTuple):
  """Arguments of the network, the source's pose as maps [B, S / 2, S / 2, K], and as keypoints.

  keypoints: [B, K, 3], with the proportions that are drawn.
  """

  source_maps: Array
  target_maps: Array
  target: Array
  warped: Warped
  pose: Array
  keypoints: Array


@dataclasses.dataclass(frozen=True)
class Networks:
  """Estimator and network of an architecture; params: {"estimator": ..., "network": ...}.

  Pictures are [B, S, S, 3] in [-1, 1].
  """

  architecture: Architecture
  dtype: jnp.dtype = jnp.float32

  @functools.cached_property
  def network(self) -> Network:
    """Branches, amplifier and generator."""
    return Network(self.architecture, self.dtype)

  @functools.cached_property
  def estimator(self) -> Estimator:
    """The pose estimator."""
    return Estimator(self.architecture.estimator_width, dtype=self.dtype)

  def estimate(self, params: Mapping[str, Any], pictures: Array) -> Array:
    """Heat maps [B, S / 2, S / 2, K]."""
    return self.estimator.apply({"params": params["estimator"]}, pictures)

  def amplify(self, params: Mapping[str, Any], maps: Array) -> Array:
    """Amplified maps."""
    return self.network.apply({"params": params["network"]}, maps, method=Network.amplify)

  def look(self, params: Mapping[str, Any], pictures: Array) -> Features:
    """The static branch's features."""
    return self.network.apply({"params": params["network"]}, pictures, method=Network.look)

  def adapt(self, network_params: Mapping[str, Any], source: Array, target: Array) -> Array:
    """The source's keypoints [B, K, 3] with the proportions that are drawn."""
    variables = {"params": network_params}
    return self.network.apply(variables, source, target, method=Network.adapt)

  def read(self, params: Mapping[str, Any], pictures: Array) -> Reading:
    """The pose of pictures, by the estimator."""
    maps = self.estimate(params, pictures)
    amplified = self.amplify(params, maps)
    read = functools.partial(read_keypoints, side=pictures.shape[1], least=CONFIDENT)
    return Reading(maps, amplified, jax.vmap(read)(amplified, maps.max((1, 2))))

  def prepare(
    self,
    params: Mapping[str, Any],
    source: Array,
    target: Array,
    keypoints: tuple[Array, Array] | None = None,
  ) -> Inputs:
    """Arguments of the network; no gradient passes.

    keypoints: of source and target [B, K, 3], where they are known; else they are read off the
    pictures. With the pose input "estimator" they are always read off.
    """
    params, source, target, keypoints = jax.lax.stop_gradient((params, source, target, keypoints))
    by_maps = self.architecture.pose_input == "estimator"
    if keypoints is None or by_maps:
      readings = [self.read(params, pictures) for pictures in (source, target)]
      keypoints = tuple(reading.keypoints for reading in readings)
    keypoints = (self.adapt(params["network"], *keypoints), keypoints[1])
    warped = jax.vmap(warp)(target, keypoints[1], keypoints[0])
    if by_maps:
      maps, pose = [reading.maps for reading in readings], readings[0].amplified
    else:
      maps = [self.maps_of(points, target.shape[1]) for points in keypoints]
      pose = maps[0]
    return jax.lax.stop_gradient(Inputs(*maps, target, warped, pose, keypoints[0]))

  def maps_of(self, keypoints: Array, side: int) -> Array:
    """Keypoints [B, K, 3] of pictures of a side as maps [B, S / 2, S / 2, K]."""
    return jax.vmap(lambda own: gaussians(own, side, side // 2, DEVIATION))(keypoints)

  def draw(self, network_params: Mapping[str, Any], inputs: Inputs) -> Array:
    """The target's person in the source's pose, [B, S, S, 3], about [-1, 1]."""
    return self.network.apply({"params": network_params}, *inputs[:4])


def signed(pictures: Array) -> Array:
  """[-1, 1] of [0, 1]."""
  return 2 * pictures - 1


def unsigned(pictures: Array) -> Array:
  """[0, 1] of about [-1, 1], clipped."""
  return jnp.clip((pictures + 1) / 2, 0, 1)
