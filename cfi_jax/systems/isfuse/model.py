"""ISFuse: two encoders, a Causal Feature Integrator (CFI) per level, and a decoder.

Source: "Multi-Modal Image Fusion via Intervention-Stable Feature Learning", CVPR 2026, and the
network its authors released; where the two differ a field of `ISFuse` selects.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion import rule_options, rules
from cfi_jax.fusion.rule_options import WaveletOptions
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import statistics_dtype
from cfi_jax.systems.isfuse import operations as operations_lib
from cfi_jax.systems.isfuse.layers import Affine, ConvBlock, Encoder
from cfi_jax.systems.isfuse.operations.plain import (
  PADDINGS,
  Direction,
  Padding,
  Plain,
  as_trust,
  project,
)

GATES = ("released", "paper")
NOT_OPTIONS = ("name", "parent", "operations")  # fields of the module that no config has
CHOICES = {"gate": GATES, "padding": tuple(PADDINGS)}
TRUSTING = 4.0  # bias of a head before training: the logit of the trust in every pixel
RANGES = {"features": (2, 4096), "grid": (1, 256), "levels": (1, 6)}


class CFI(nn.Module):
  """Causal Feature Integrator: mixes cross-modal and local features through an invariance gate.

  Each modality queries the other's features, averaged to a grid; `gate` (0: local, 1: cross-modal)
  mixes the attended features with the local sum.
  """

  features: int
  grid: int
  gate: Literal["released", "paper"]
  operations: Plain
  param_dtype: jnp.dtype

  def _affine(self, name: str, features: int, inputs: int) -> tuple[Array, Array]:
    return Affine(features, self.param_dtype, name=name)(inputs)

  def _direction(self, query_name: str, other_name: str, other: Array) -> Direction:
    """The query's parameters, and the keys and values of the other modality."""
    # Averaging and a 1x1 projection commute: project 64 tokens instead of every pixel.
    grid_BGGC = self.operations.grid(other, self.grid)
    tokens_BTC = grid_BGGC.reshape(grid_BGGC.shape[0], self.grid**2, -1)
    dtype, projected = self.operations.dtype, []
    for part in ("key", "value"):
      weights = self._affine(f"{part}_{other_name}", self.features, self.features)
      projected.append(project(tokens_BTC, *(w.astype(dtype) for w in weights)))
    return *self._affine(f"query_{query_name}", self.features, self.features), *projected

  def _mix(
    self, complementary: Array, visible: Array, infrared: Array, train: bool
  ) -> tuple[Array, Array]:
    """The invariance gate [B, h, w, 1] in [0, 1], and the mixed map."""
    x = complementary
    if self.gate == "released":
      block = ConvBlock(self.features // 2, self.operations, self.param_dtype, depth=1, name="gate")
      x = block(x, train)
      head = self._affine("gate_head", 1, self.features // 2)
    else:
      head = Affine(1, self.param_dtype, (3, 3), name="gate_head")(self.features)
    return self.operations.mix(x, *head, complementary, visible, infrared)

  @nn.compact
  def __call__(self, visible: Array, infrared: Array, train: bool) -> tuple[Array, Array]:
    """Maps maps of both modalities to (fused map, gate [B, h, w, 1])."""
    directions = (
      self._direction("visible", "infrared", infrared),
      self._direction("infrared", "visible", visible),
    )
    complementary = self.operations.attend(visible, infrared, directions)
    gate, mixed = self._mix(complementary, visible, infrared, train)
    refine = ConvBlock(self.features, self.operations, self.param_dtype, depth=1, name="refine")
    return refine(mixed, train), gate


class ISFuse(nn.Module):
  """The fusion network, for any height and width of at least `min_side`.

  levels: sizes at which features are fused, each half of the one before.
  features: channels of every layer.
  grid: side of the grid that keys and values are averaged to.
  shared_encoder: one encoder for both modalities (paper) or one each (release).
  gate: "released": conv3x3, BatchNorm, LeakyReLU, conv1x1; "paper": conv3x3 (then a sigmoid, both).
  padding: what 3x3 convolutions see outside the image; the release pads with zeros.
  prior: "none", or the rule that fuses, with its options, as "wavelet:gain=1.2". The network then
    says how far each image is to be trusted where; before training it trusts both alike, which
    gives what the rule does alone. Ours.
  dtype: of the computation; parameters, statistics, softmax and the output stay in param_dtype's
    precision (at least float32).
  operations: how it is computed, which changes no result but for rounding; None for the plain way.
  """

  features: int
  grid: int
  shared_encoder: bool
  gate: Literal["released", "paper"]
  padding: Padding
  levels: int
  prior: str
  dtype: jnp.dtype
  param_dtype: jnp.dtype
  operations: Plain | None = None

  def __post_init__(self):
    """Refuses values that no variant has."""
    for name, valid in CHOICES.items():
      if getattr(self, name) not in valid:
        raise InputError(f"model.{name}={getattr(self, name)!r}; valid: {', '.join(valid)}")
    for name, (low, high) in RANGES.items():
      value = getattr(self, name)
      if type(value) is not int or not low <= value <= high:
        raise InputError(f"model.{name}={value!r}; allowed: whole numbers from {low} to {high}")
    if type(self.shared_encoder) is not bool:
      raise InputError(f"model.shared_encoder={self.shared_encoder!r}; allowed: True, False")
    rule_options.prior_of(self.prior)
    super().__post_init__()

  @property
  def min_side(self) -> int:
    """The smallest height and width: all halvings must leave something to pool."""
    return 2**self.levels

  def by(self, ways: operations_lib.Ways, height: int, width: int) -> "ISFuse":
    """The same network, computed in those ways for images of a size."""
    return self.clone(operations=operations_lib.choose(ways, self, height, width))

  def setup(self):
    """Declares the parts; `encode` and `integrate` use them."""
    self.ways = self.operations or Plain(self.padding, self.dtype)
    kinds = dict(operations=self.ways, param_dtype=self.param_dtype)
    if self.shared_encoder:
      self.encoder = Encoder(self.features, self.levels, **kinds)
    else:
      self.encoder_visible = Encoder(self.features, self.levels, **kinds)
      self.encoder_infrared = Encoder(self.features, self.levels, **kinds)
    for level in range(1, self.levels + 1):
      setattr(self, f"cfi{level}", CFI(self.features, self.grid, self.gate, **kinds))
    for level in range(1, self.levels):
      setattr(self, f"decoder{level}", ConvBlock(self.features, **kinds))
    self.rule = rule_options.prior_of(self.prior)
    if self.rule is None:
      self.head = Affine(1, self.param_dtype, (3, 3))
    else:
      start = dict(kernel_init=nn.initializers.zeros, bias_init=nn.initializers.constant(TRUSTING))
      self.trust_visible = Affine(1, self.param_dtype, (3, 3), **start)
      self.trust_infrared = Affine(1, self.param_dtype, (3, 3), **start)

  def encode(self, image: Array, modality: str, train: bool = False) -> tuple[Array, ...]:
    """Features of one modality's images [B, H, W, 1] as maps for `integrate`, finest first."""
    chex.assert_shape(image, (None, None, None, 1))
    encoder = self.encoder if self.shared_encoder else getattr(self, f"encoder_{modality}")
    return encoder(image, train)

  def integrate(
    self, features: dict[str, tuple[Array, ...]], pair: Pair, train: bool = False
  ) -> Fusion:
    """Fuses the features of both modalities; a batch of one is broadcast against the other.

    pair: the images that they are of, which a prior fuses.
    """
    mixed, gates = {}, {}
    for level in range(1, self.levels + 1):
      inputs = (features[m][level - 1] for m in MODALITIES)
      mixed[level], gates[level] = getattr(self, f"cfi{level}")(*inputs, train)
    x = mixed[self.levels]
    levels = {self.levels: x}
    for level in reversed(range(1, self.levels)):
      x = self.ways.enlarge(x, mixed[level])
      x = levels[level] = getattr(self, f"decoder{level}")(x, train)
    if self.rule is None:
      fused, trust = self._picture(x, self.head), None
    else:
      heads = self.trust_visible, self.trust_infrared
      trust = Pair(*(as_trust(self._picture(x, head)) for head in heads))
      fused = fuse_by(self.rule, pair, trust)
    finest_first = range(1, self.levels + 1)
    return Fusion(
      fused=fused,
      gates=tuple(gates[level] for level in finest_first),
      features={m: tuple(map(self.ways.leave, features[m])) for m in MODALITIES},
      levels=tuple(self.ways.leave(levels[level]) for level in finest_first),
      trust=trust,
    )

  def _picture(self, x: Array, head: Affine) -> Array:
    """The picture that a head makes of the finest features, [B, H, W, 1] in [0, 1]."""
    logits = self.ways.head(x, *head(self.features))
    return nn.sigmoid(logits.astype(statistics_dtype(self.dtype)))

  def __call__(self, pair: Pair, train: bool = False) -> Fusion:
    """Fuses a batch of pairs [B, H, W, 1]."""
    chex.assert_equal_shape([pair.visible, pair.infrared])
    features = {m: self.encode(getattr(pair, m), m, train) for m in MODALITIES}
    return self.integrate(features, pair, train)


def fuse_by(rule: WaveletOptions, pair: Pair, trust: Pair) -> Array:
  """The picture [B, H, W, 1] in [0, 1] that a rule makes of a pair, as far as it is trusted.

  A batch of one is broadcast against the others. In the precision of the trust.
  """
  shape = jnp.broadcast_shapes(trust.visible.shape, pair.visible.shape, pair.infrared.shape)
  whole = jax.tree.map(
    lambda x: jnp.broadcast_to(x, shape).astype(trust.visible.dtype), (pair, trust)
  )
  stage = ops.staged(whole[0].visible)
  return jnp.clip(rules.wavelet(whole[0], rule, whole[1], stage=stage), 0, 1)


OLDER = {"prior": "none"}  # fields that files of earlier versions lack
COMPUTED = (*operations_lib.WAYS, "dtype", "param_dtype")  # fields that say how
DTYPES = {"dtype": ("bfloat16", "float32", "float64"), "param_dtype": ("float32", "float64")}


def make_model(options: Mapping[str, Any]) -> ISFuse:
  """The network of `options`, computed the plain way: its name, "isfuse", and all its fields.

  dtype and param_dtype are names; float64 needs JAX_ENABLE_X64=1. The ways of computing
  (`operations.Ways`) are checked; `operations.choose` makes them the network's `operations`.
  """
  fields = dict(options)
  if (name := fields.pop("name", None)) != "isfuse":
    raise InputError(f"no model {name!r}; valid: isfuse")
  own = [f.name for f in dataclasses.fields(ISFuse) if f.name not in NOT_OPTIONS]
  valid = [*own, *operations_lib.WAYS]
  if wrong := sorted(set(fields) ^ set(valid)):
    given = ", ".join(f"{k}={fields[k]!r}" if k in fields else k for k in wrong)
    raise InputError(f"model: missing or unknown: {given}; its fields: {', '.join(valid)}")
  ways(fields)
  fields = {name: fields[name] for name in own}
  for field, dtypes in DTYPES.items():
    dtype = fields[field]
    if dtype not in dtypes:
      raise InputError(f"model.{field} is {dtype!r}; valid: {', '.join(dtypes)}")
    if dtype == "float64" and not jax.config.jax_enable_x64:
      raise InputError(f"model.{field} is 'float64', which needs JAX_ENABLE_X64=1")
    fields[field] = jnp.dtype(dtype)
  return ISFuse(**fields)


def ways(options: Mapping[str, Any]) -> operations_lib.Ways:
  """The ways of computing among the `options` of a network."""
  return operations_lib.Ways(**{name: options[name] for name in operations_lib.WAYS})


def architecture(options: Mapping[str, Any]) -> dict[str, Any]:
  """The `options` of a network that decide its variables and what they mean."""
  return {name: value for name, value in options.items() if name not in COMPUTED}


def from_architecture(architecture: Mapping[str, Any], dtype: str) -> ISFuse:
  """The network of an architecture that computes in `dtype`, the plain way."""
  computed = {"dtype": dtype, "param_dtype": "float64" if dtype == "float64" else "float32"}
  return make_model({**OLDER, **architecture, **operations_lib.PLAIN, **computed})


def init(network: ISFuse, key: Array) -> dict:
  """Variables before training, a pure function of the key."""
  blank = jnp.zeros((1, network.min_side, network.min_side, 1), network.param_dtype)
  return jax.jit(network.init)(key, Pair(visible=blank, infrared=blank))
