"""The networks: pose estimator, pose and static branch, and generator.

The paper's abstract names a pose branch with a keypoint amplifier, a static branch and a generator;
every layer below is ours.
"""

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.systems.dfcnet.estimator import Amplifier, Estimator
from cfi_jax.systems.dfcnet.layers import (
  Residual,
  double,
  everywhere,
  positions,
  scaled,
)
from cfi_jax.systems.dfcnet.proportions import Proportions
from cfi_jax.systems.dfcnet.warp import LIMBS, Warped

STRIDE = 8  # pictures have a multiple of so many pixels
# Bounds on what a learned blend adds to colours from -1 to 1, and on the log of a brightness.
MOST_CHANGED, BRIGHTEST = 0.5, 0.5
CHOICES = {
  "amplifier": ("softmax", "learned", "power", "none"),
  "pose_input": ("keypoints", "estimator"),
  "transport": ("warp", "attend", "concat"),
  "proportions": ("source", "learned"),
  "blend": ("fixed", "learned"),
}


@dataclasses.dataclass(frozen=True)
class Architecture:
  """Fields that decide what a set of variables means.

  name: "dfcnet". side: of the pictures that it was trained on, in pixels.
  width, estimator_width: factors on the channels of the branches and generator, and the estimator.
  amplifier: "softmax", exp((h - max h) / temperature) times the peak; "learned", the same with a
    temperature per joint that begins there; "power", h^4 / (h^4 + 0.5^4); "none".
  pose_input: the pose branch reads "keypoints" as Gaussians, or the amplified maps of the
    "estimator". Keypoints that are not given are read off those maps.
  transport: how the person is moved: "warp" refines the skeleton warp; "attend" draws from features
    that the source's pose looks up among the target's; "concat" from both branches side by side.
  proportions: of the pose that is drawn: the "source"'s, or "learned" ones of the target's person
    (`proportions.Proportions`).
  blend: of the warp's limbs: "fixed", by their distances; "learned", corrected by the generator.
  keep_background: pixels far from both poses are the target's.
  """

  name: str
  side: int
  width: int
  estimator_width: int
  amplifier: str
  temperature: float
  pose_input: str
  transport: str
  proportions: str
  blend: str
  keep_background: bool

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    for name, valid in CHOICES.items():
      if getattr(self, name) not in valid:
        value = getattr(self, name)
        raise InputError(f"model.{name} is {value!r}; valid: {', '.join(valid)}")
    for name in ("width", "estimator_width"):
      if getattr(self, name) < 1:
        raise InputError(f"model.{name} is {getattr(self, name)}; allowed: 1 or more")
    if self.name != "dfcnet":
      raise InputError(f"no model {self.name!r}; valid: dfcnet")
    if self.side % STRIDE or self.side < 2 * STRIDE:
      raise InputError(f"model.side is {self.side}; allowed: multiples of {STRIDE} from 16")
    if self.blend == "learned" and self.transport != "warp":
      raise InputError(
        f"model.blend is 'learned' and model.transport {self.transport!r}, which blends no limbs; "
        "allowed: fixed"
      )
    if not self.temperature > 0:
      raise InputError(f"model.temperature is {self.temperature}; allowed: more than 0")


class Features(NamedTuple):
  """Features of a branch at half and at a quarter of the picture's side."""

  half: Array
  quarter: Array


class Encoder(nn.Module):
  """A branch: features of a map at S / 2 (stride 1, kernel 3) or a picture (stride 2, kernel 5)."""

  kernel: int
  stride: int
  width: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: Array) -> Features:
    """[B, H, W, C] to features at half and a quarter of the picture's side."""
    size = (self.kernel, self.kernel)
    half = nn.relu(nn.Conv(32 * self.width, size, self.stride, dtype=self.dtype)(x))
    quarter = nn.relu(nn.Conv(64 * self.width, (3, 3), 2, dtype=self.dtype)(half))
    return Features(half, Residual(64 * self.width, self.dtype)(quarter))


class Refiner(nn.Module):
  """The generator of the transport "warp": base + region x change, the change beginning at 0.

  blends: it corrects the base, too, by corrections that begin at 0: which limb a pixel shows, how
  far the person covers it, whether the person before did, and the brightness. So colours are the
  target's where the change is small, which it is by its bound.
  """

  blends: bool
  width: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, pose: Features, static: Features, warped: Warped, region: Array) -> Array:
    """The picture [B, S, S, 3]."""
    conv = partial(scaled, self)
    parts = [warped.person, warped.background, warped.cover, warped.old]
    if self.blends:
      near = jnp.exp(warped.order / 6)  # of each limb, wider than its share of the person
      parts += [warped.target, jnp.moveaxis(near, -3, -1)]
    whole = nn.relu(conv(16)(jnp.concatenate(parts, -1)))
    half = nn.relu(conv(32, 3, 2)(whole))
    x = nn.relu(conv(64, 3, 2)(half))
    x = [x, pose.quarter, static.quarter, everywhere(static.quarter), positions(x)]
    x = nn.relu(conv(64, 1)(jnp.concatenate(x, -1)))
    for _ in range(2):
      x = Residual(64 * self.width, self.dtype)(x)
    x = nn.relu(conv(32)(jnp.concatenate([double(x), half, pose.half, static.half], -1)))
    x = nn.relu(conv(24)(jnp.concatenate([double(x), whole], -1)))
    limbs = warped.order.shape[-3]
    channels = 3 + self.blends * (limbs + 3)
    last = nn.Conv(channels, (3, 3), kernel_init=nn.initializers.zeros, dtype=self.dtype)
    x = last(x).astype(jnp.float32)
    if not self.blends:
      return warped.base + region * x
    change, here, gone, light, order = jnp.split(x, (3, 4, 5, 6), axis=-1)
    warped = warped.replace(
      order=warped.order + jnp.moveaxis(order, -1, -3),
      here=warped.here + here,
      gone=warped.gone + gone,
    )
    person = warped.person
    person += (person + 1) * jnp.expm1(_within(light, BRIGHTEST))
    base = warped.cover * person + (1 - warped.cover) * warped.background
    return base + region * _within(change, MOST_CHANGED)


def _within(x: Array, bound: float) -> Array:
  """About x where it is small, never beyond the bound."""
  return bound * jnp.tanh(x / bound)


class Painter(nn.Module):
  """The generator of "attend" and "concat": the region is drawn from features alone."""

  attends: bool
  width: int
  dtype: jnp.dtype

  @nn.compact
  def __call__(
    self, pose: Features, own_pose: Features, static: Features, target: Array, region: Array
  ) -> Array:
    """The picture [B, S, S, 3]; own_pose: features of the target's pose."""
    conv = partial(scaled, self)
    moved = [self._look_up(pose, own_pose, static)] if self.attends else []
    x = [pose.quarter, *moved, static.quarter, everywhere(static.quarter), positions(pose.quarter)]
    x = nn.relu(conv(64, 1)(jnp.concatenate(x, -1)))
    for _ in range(2 if self.attends else 3):
      x = Residual(64 * self.width, self.dtype)(x)
    x = nn.relu(conv(48)(jnp.concatenate([double(x), pose.half, static.half], -1)))
    x = nn.relu(conv(24)(double(x)))
    x = nn.Conv(3, (3, 3), dtype=self.dtype)(jnp.concatenate([x, target], -1))
    return (1 - region) * target + region * jnp.tanh(x.astype(jnp.float32))

  def _look_up(self, pose: Features, own_pose: Features, static: Features) -> Array:
    """Static features of the places whose own pose fits the pose wanted; two heads."""
    batch, height, width, channels = static.quarter.shape
    heads, size = 2, 32 * self.width
    where = positions(pose.quarter)
    asked = [pose.quarter, where], [own_pose.quarter, static.quarter, where], [static.quarter]
    query, key, value = (
      nn.Dense(heads * size, dtype=self.dtype)(jnp.concatenate(x, -1)).reshape(
        batch, -1, heads, size
      )
      for x in asked
    )
    found = jax.nn.dot_product_attention(query, key, value)
    return found.reshape(batch, height, width, heads * size)


class Network(nn.Module):
  """Pose branch with amplifier, static branch and generator."""

  architecture: Architecture
  dtype: jnp.dtype = jnp.float32

  def setup(self):
    """Makes the parts."""
    options = self.architecture
    self.amplifier = Amplifier(options.amplifier, options.temperature)
    self.pose = Encoder(3, 1, options.width, self.dtype)
    self.static = Encoder(5, 2, options.width, self.dtype)
    if options.proportions == "learned":
      self.proportions = Proportions(options.side)
    if options.transport == "warp":
      self.generator = Refiner(options.blend == "learned", options.width, self.dtype)
    else:
      self.generator = Painter(options.transport == "attend", options.width, self.dtype)

  def amplify(self, maps: Array) -> Array:
    """Amplified maps of the estimator's."""
    return self.amplifier(maps)

  def adapt(self, source: Array, target: Array) -> Array:
    """The source's keypoints [B, K, 3] on the body of the target, whose keypoints are given."""
    if self.architecture.proportions == "source":
      return source
    return self.proportions(source, target)

  def look(self, picture: Array) -> Features:
    """The static branch's features of pictures [B, S, S, 3] in [-1, 1]."""
    return self.static(picture)

  def __call__(
    self, source_maps: Array, target_maps: Array, target: Array, warped: Warped
  ) -> Array:
    """The person of `target` [B, S, S, 3] in [-1, 1] in the source's pose, about [-1, 1].

    source_maps, target_maps: [B, S / 2, S / 2, K], Gaussians at keypoints or, for the pose input
    "estimator", its maps before they are amplified.
    """
    options = self.architecture
    region = warped.region if options.keep_background else jnp.ones_like(warped.region)
    if options.pose_input == "estimator":
      source_maps, target_maps = self.amplifier(source_maps), self.amplifier(target_maps)
    elif self.is_initializing():
      self.amplifier(source_maps)  # whose temperature the losses may use
    if self.is_initializing():
      nobody = jnp.zeros((1, len(JOINTS), 3))
      self.adapt(nobody, nobody)
    pose, static = self.pose(source_maps), self.static(target)
    if options.transport == "warp":
      return self.generator(pose, static, warped, region)
    return self.generator(pose, self.pose(target_maps), static, target, region)


def blank(architecture: Architecture) -> tuple[Array, Array, Array, Warped]:
  """Arguments of `Network` of one example, all 0."""
  side = architecture.side
  picture, one = jnp.zeros((1, side, side, 3)), jnp.zeros((1, side, side, 1))
  maps = jnp.zeros((1, side // 2, side // 2, len(JOINTS)))
  limbs = jnp.zeros((1, LIMBS, side, side))
  colours = jnp.zeros((1, LIMBS, side, side, 3))
  return maps, maps, picture, Warped(picture, picture, colours, limbs, one, one, one)


def init(architecture: Architecture, key: Array) -> dict[str, Any]:
  """Fresh parameters of the parts that a weights file keeps: "estimator" and "network"."""
  first, second = jax.random.split(key)
  inputs = blank(architecture)
  return {
    "estimator": jax.jit(Estimator(architecture.estimator_width).init)(first, inputs[2])["params"],
    "network": jax.jit(Network(architecture).init)(second, *inputs)["params"],
  }


def from_architecture(fields: Mapping[str, Any]) -> Architecture:
  """The architecture of a weights file; raises InputError for what is none."""
  return config_lib.build(Architecture, dict(fields), "architecture")
