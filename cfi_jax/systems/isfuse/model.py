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
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import statistics_dtype
from cfi_jax.systems.isfuse import attention
from cfi_jax.systems.isfuse.layers import PADDINGS, Conv, ConvBlock, Encoder, Padding

GATES = ("released", "paper")
CHOICES = {"gate": GATES, "padding": tuple(PADDINGS)}
RANGES = {"features": (2, 4096), "grid": (1, 256), "levels": (1, 6)}


class CFI(nn.Module):
  """Causal Feature Integrator: mixes cross-modal and local features through an invariance gate.

  Each modality queries the other's features, averaged to a grid; `gate` (0: local, 1: cross-modal)
  mixes the attended features with the local sum.
  """

  features: int
  grid: int
  gate: Literal["released", "paper"]
  padding: Padding
  attention: str
  dtype: jnp.dtype
  param_dtype: jnp.dtype

  def _project(self, name: str, x: Array) -> Array:
    return nn.Dense(self.features, dtype=self.dtype, param_dtype=self.param_dtype, name=name)(x)

  def _attend(
    self, query_name: str, query_BHWC: Array, other_name: str, other_BHWC: Array
  ) -> Array:
    """Attention of every pixel of one modality over the pooled grid of the other."""
    # Averaging and a 1x1 projection commute: project 64 tokens instead of every pixel.
    grid_BGGC = ops.average_pool(other_BHWC, self.grid)
    tokens_BTC = grid_BGGC.reshape(grid_BGGC.shape[0], self.grid**2, -1)
    key_BTC = self._project(f"key_{other_name}", tokens_BTC)
    value_BTC = self._project(f"value_{other_name}", tokens_BTC)
    query_BHWC = self._project(f"query_{query_name}", query_BHWC)
    query_BNC = query_BHWC.reshape(query_BHWC.shape[0], -1, self.features)
    attended_BNC = attention.get(self.attention)(query_BNC, key_BTC, value_BTC)
    return attended_BNC.reshape(-1, *query_BHWC.shape[1:])

  def _gate(self, x: Array, train: bool) -> Array:
    """The invariance gate [B, h, w, 1] in [0, 1] from the complementary features."""
    kinds = dict(padding=self.padding, dtype=self.dtype, param_dtype=self.param_dtype)
    if self.gate == "released":
      x = ConvBlock(self.features // 2, **kinds, depth=1, name="gate")(x, train)
      x = self._head("gate_head", x)
    else:
      x = Conv(1, **kinds, name="gate_head")(x)
    return nn.sigmoid(x.astype(statistics_dtype(self.dtype)))

  def _head(self, name: str, x: Array) -> Array:
    return nn.Dense(1, dtype=self.dtype, param_dtype=self.param_dtype, name=name)(x)

  @nn.compact
  def __call__(self, visible: Array, infrared: Array, train: bool) -> tuple[Array, Array]:
    """Maps features [B, h, w, C] of both modalities to (fused features, gate [B, h, w, 1])."""
    complementary = self._attend("visible", visible, "infrared", infrared)
    complementary += self._attend("infrared", infrared, "visible", visible)
    local = visible + infrared
    gate = self._gate(complementary, train)
    weight = gate.astype(self.dtype)
    mixed = weight * complementary + (1 - weight) * local
    refine = ConvBlock(
      self.features, self.padding, self.dtype, self.param_dtype, depth=1, name="refine"
    )
    return refine(mixed, train), gate


class ISFuse(nn.Module):
  """The fusion network, for any height and width of at least `min_side`.

  levels: sizes at which features are fused, each half of the one before.
  features: channels of every layer.
  grid: side of the grid that keys and values are averaged to.
  shared_encoder: one encoder for both modalities (paper) or one each (release).
  gate: "released": conv3x3, BatchNorm, LeakyReLU, conv1x1; "paper": conv3x3 (then a sigmoid, both).
  padding: what 3x3 convolutions see outside the image; the release pads with zeros.
  attention: how it is computed, which changes no result (`cfi_jax.systems.isfuse.attention`).
  dtype: of the computation; parameters, statistics, softmax and the output stay in param_dtype's
    precision (at least float32).
  """

  features: int
  grid: int
  shared_encoder: bool
  gate: Literal["released", "paper"]
  padding: Padding
  levels: int
  attention: str
  dtype: jnp.dtype
  param_dtype: jnp.dtype

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
    attention.get(self.attention)
    super().__post_init__()

  @property
  def min_side(self) -> int:
    """The smallest height and width: all halvings must leave something to pool."""
    return 2**self.levels

  def setup(self):
    """Declares the parts; `encode` and `integrate` use them."""
    kinds = dict(padding=self.padding, dtype=self.dtype, param_dtype=self.param_dtype)
    if self.shared_encoder:
      self.encoder = Encoder(self.features, self.levels, **kinds)
    else:
      self.encoder_visible = Encoder(self.features, self.levels, **kinds)
      self.encoder_infrared = Encoder(self.features, self.levels, **kinds)
    for level in range(1, self.levels + 1):
      cfi = CFI(self.features, self.grid, self.gate, attention=self.attention, **kinds)
      setattr(self, f"cfi{level}", cfi)
    for level in range(1, self.levels):
      setattr(self, f"decoder{level}", ConvBlock(self.features, **kinds))
    self.head = Conv(1, **kinds)

  def encode(self, image: Array, modality: str, train: bool = False) -> tuple[Array, ...]:
    """Features of one modality's image [B, H, W, 1], finest level first."""
    chex.assert_shape(image, (None, None, None, 1))
    encoder = self.encoder if self.shared_encoder else getattr(self, f"encoder_{modality}")
    return encoder(image, train)

  def integrate(self, features: dict[str, tuple[Array, ...]], train: bool = False) -> Fusion:
    """Fuses the features of both modalities; a batch of one is broadcast against the other."""
    mixed, gates = {}, {}
    for level in range(1, self.levels + 1):
      inputs = (features[m][level - 1] for m in MODALITIES)
      mixed[level], gates[level] = getattr(self, f"cfi{level}")(*inputs, train)
    x = mixed[self.levels]
    levels = {self.levels: x}
    for level in reversed(range(1, self.levels)):
      skip = mixed[level]
      x = ops.resize(x, *skip.shape[1:3]) + skip
      x = levels[level] = getattr(self, f"decoder{level}")(x, train)
    logits = self.head(x)
    fused = nn.sigmoid(logits.astype(statistics_dtype(self.dtype)))
    finest_first = range(1, self.levels + 1)
    return Fusion(
      fused=fused,
      gates=tuple(gates[level] for level in finest_first),
      features=features,
      levels=tuple(levels[level] for level in finest_first),
    )

  def __call__(self, pair: Pair, train: bool = False) -> Fusion:
    """Fuses a batch of pairs [B, H, W, 1]."""
    chex.assert_equal_shape([pair.visible, pair.infrared])
    return self.integrate({m: self.encode(getattr(pair, m), m, train) for m in MODALITIES}, train)


COMPUTED = ("attention", "dtype", "param_dtype")  # fields that say how, and change no result
DTYPES = {"dtype": ("bfloat16", "float32", "float64"), "param_dtype": ("float32", "float64")}


def make_model(options: Mapping[str, Any]) -> ISFuse:
  """The network of `options`: its name, "isfuse", and all its fields.

  dtype and param_dtype are names; float64 needs JAX_ENABLE_X64=1.
  """
  fields = dict(options)
  if (name := fields.pop("name", None)) != "isfuse":
    raise InputError(f"no model {name!r}; valid: isfuse")
  valid = [f.name for f in dataclasses.fields(ISFuse) if f.name not in ("name", "parent")]
  if wrong := sorted(set(fields) ^ set(valid)):
    given = ", ".join(f"{k}={fields[k]!r}" if k in fields else k for k in wrong)
    raise InputError(f"model: missing or unknown: {given}; its fields: {', '.join(valid)}")
  for field, dtypes in DTYPES.items():
    dtype = fields[field]
    if dtype not in dtypes:
      raise InputError(f"model.{field} is {dtype!r}; valid: {', '.join(dtypes)}")
    if dtype == "float64" and not jax.config.jax_enable_x64:
      raise InputError(f"model.{field} is 'float64', which needs JAX_ENABLE_X64=1")
    fields[field] = jnp.dtype(dtype)
  return ISFuse(**fields)


def architecture(options: Mapping[str, Any]) -> dict[str, Any]:
  """The `options` of a network that decide its variables and what they mean."""
  return {name: value for name, value in options.items() if name not in COMPUTED}


def from_architecture(architecture: Mapping[str, Any], dtype: str) -> ISFuse:
  """The network of an architecture that computes in `dtype`."""
  stored = "float64" if dtype == "float64" else "float32"
  return make_model({**architecture, "attention": "matmul", "dtype": dtype, "param_dtype": stored})


def init(network: ISFuse, key: Array) -> dict:
  """Variables before training, a pure function of the key."""
  blank = jnp.zeros((1, network.min_side, network.min_side, 1), network.param_dtype)
  return network.init(key, Pair(visible=blank, infrared=blank))
