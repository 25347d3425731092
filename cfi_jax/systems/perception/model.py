"""The network: a residual encoder-decoder of four levels, which fuses where it is told to."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import Array, InputError
from cfi_jax.systems.perception.layers import (
  GROUPS,
  Concatenation,
  Decoder,
  Level,
  Special,
  SqueezeExcitation,
  Sum,
  norm,
)

MODALITIES = ("visible", "infrared")
SINGLE = (*MODALITIES, "fused")
JOINS: dict[str, type[nn.Module]] = {  # at every level; all have equally many parameters
  "all_levels": Sum,
  "special": Special,
  "concatenation": Concatenation,
  "squeeze_excitation": SqueezeExcitation,
}
BOTH = ("early", "middle", "late", *JOINS)  # fusions of both images in the network
FUSIONS = (*SINGLE, *BOTH)
LEVELS = 4
STRIDE = 2 ** (LEVELS - 1)  # images have a multiple of so many pixels
CELL = 2  # pixels of a cell of the heat map


@dataclasses.dataclass(frozen=True)
class ModelOptions:
  """Fields of the network that a config sets.

  name: "perception". width: channels of the finest level, a multiple of 4; each next has twice as
    many.
  fusion: "visible" or "infrared", one image alone; "fused", an image fused before, which stands in
    the place of the visible one; "early", images side by side; "middle", features
    of the third level and beyond are those of the sum of both; "late", the mean of two decoders;
    "all_levels", the sum at every level; "special", ours, "concatenation" and
    "squeeze_excitation" in its place, see `layers`.
  segmentation, detection: the heads there are. colour: whether the visible image is RGB.
  """

  name: str
  width: int
  fusion: str
  segmentation: bool
  detection: bool
  colour: bool

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    if self.name != "perception":
      raise InputError(f"no model {self.name!r}; valid: perception")
    if self.width < GROUPS or self.width % GROUPS:
      raise InputError(f"model.width is {self.width}; allowed: multiples of {GROUPS}")
    if self.fusion not in FUSIONS:
      raise InputError(f"model.fusion is {self.fusion!r}; valid: {', '.join(FUSIONS)}")
    if not (self.segmentation or self.detection):
      raise InputError(
        "model.segmentation and model.detection are both False; allowed: one or both"
      )


@dataclasses.dataclass(frozen=True)
class Architecture(ModelOptions):
  """Fields that decide what a set of variables means; classes: names, in their order."""

  classes: tuple[str, ...]


@struct.dataclass
class Detection:
  """Maps of the objects' middles, one value per cell of `CELL` x `CELL` pixels.

  heat: logits [B, h, w, classes]. size: [B, h, w, 2], the logarithm of height and width in cells.
  offset: [B, h, w, 2], of the middle from the cell's upper left corner, in cells.
  """

  heat: Array
  size: Array
  offset: Array


@struct.dataclass
class Perceived:
  """All that the network makes of images.

  logits: [B, H, W, classes], None without segmentation. detection: None without detection.
  features: by modality, or "joint" where images are fused before, one per level, finest first.
  fused: what the decoder reads. decoded: of the decoder; of "late" the mean of both.
  unpredicted: [B], the prediction error of `Special`, mean over levels; 0 of others.
  """

  logits: Array | None
  detection: Detection | None
  features: dict[str, tuple[Array, ...]]
  fused: tuple[Array, ...]
  decoded: tuple[Array, ...]
  unpredicted: Array


class Perception(nn.Module):
  """The network of an architecture; dtype: of the convolutions."""

  architecture: Architecture
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, visible: Array, infrared: Array) -> Perceived:
    """Perceives images [B, H, W, C] in [0, 1], whose sides are multiples of `STRIDE`."""
    fusion = self.architecture.fusion
    images = {"visible": 2 * visible - 1, "infrared": 2 * infrared - 1}
    images["fused"] = images["visible"]
    errors = [jnp.zeros(len(visible))]
    if fusion in SINGLE:
      features = {fusion: self._encode(fusion, images[fusion])}
      fused = features[fusion]
    elif fusion == "early":
      features = {
        "joint": self._encode("joint", jnp.concatenate([images[name] for name in MODALITIES], -1))
      }
      fused = features["joint"]
    elif fusion == "middle":
      features = {name: self._encode(name, images[name], stop=2) for name in MODALITIES}
      joined = [self._join(Sum, *pair)[0] for pair in zip(*features.values(), strict=True)]
      fused = (*joined, *self._encode("joint", joined[-1], start=2))
    else:
      features = {name: self._encode(name, images[name]) for name in MODALITIES}
      if fusion == "late":
        fused = features["visible"]
      else:
        levels = zip(*features.values(), strict=True)
        pairs = [self._join(JOINS[fusion], *level) for level in levels]
        fused, errors = tuple(f for f, _ in pairs), [e for _, e in pairs]
    decoded = self._decode(features, fused)
    return Perceived(
      logits=self._segment(decoded) if self.architecture.segmentation else None,
      detection=self._detect(decoded) if self.architecture.detection else None,
      features=features,
      fused=fused,
      decoded=decoded,
      unpredicted=sum(errors) / len(errors),
    )

  def _encode(self, name: str, x: Array, start: int = 0, stop: int = LEVELS) -> tuple[Array, ...]:
    """Features of the levels from start to before stop."""
    found = []
    for level in range(start, stop):
      channels = self.architecture.width * 2**level
      stride = 2 if level else 1
      x = Level(channels, stride, self.dtype, name=f"{name}_level{level + 1}")(x)
      found.append(x)
    return tuple(found)

  def _join(self, kind: type[nn.Module], visible: Array, infrared: Array) -> tuple[Array, Array]:
    level = (visible.shape[-1] // self.architecture.width).bit_length()
    return kind(self.dtype, name=f"fusion_level{level}")(visible, infrared)

  def _decode(self, features: dict, fused: tuple[Array, ...]) -> tuple[Array, ...]:
    if self.architecture.fusion != "late":
      return Decoder(self.dtype, name="decoder")(fused)
    both = [Decoder(self.dtype, name=f"{n}_decoder")(own) for n, own in features.items()]
    return tuple((a + b) / 2 for a, b in zip(*both, strict=True))

  def _segment(self, decoded: tuple[Array, ...]) -> Array:
    x = nn.relu(norm(self.dtype)(decoded[0]))
    logits = nn.Conv(len(self.architecture.classes), (1, 1), dtype=self.dtype, name="classes")(x)
    return logits.astype(jnp.float32)

  def _detect(self, decoded: tuple[Array, ...]) -> Detection:
    count = len(self.architecture.classes)
    x = nn.relu(norm(self.dtype)(decoded[1]))
    x = nn.relu(nn.Conv(x.shape[-1], (3, 3), dtype=self.dtype, name="detection")(x))
    rare = nn.initializers.constant(-2.2)  # a tenth: most cells are the middle of nothing
    heat = nn.Conv(count, (1, 1), bias_init=rare, dtype=self.dtype, name="heat")(x)
    ends = nn.Conv(4, (1, 1), dtype=self.dtype, name="ends")(x)
    heat, ends = heat.astype(jnp.float32), ends.astype(jnp.float32)
    return Detection(heat, ends[..., :2], ends[..., 2:])


def from_architecture(architecture: Mapping[str, Any]) -> Architecture:
  """The fields of a weights file; raises InputError for others."""
  return config_lib.build(Architecture, architecture, "architecture")


def init(architecture: Architecture, key: Array) -> dict:
  """Random parameters."""
  images = (jnp.zeros((1, STRIDE, STRIDE, 3 if architecture.colour else 1)),)
  images += (jnp.zeros((1, STRIDE, STRIDE, 1)),)
  return jax.jit(Perception(architecture).init)(key, *images)["params"]
