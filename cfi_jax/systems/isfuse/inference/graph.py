"""The folded network on a batch of windows; `isfuse/model.py` is the reference it must equal.

Windows are [B, H, W], `Geometry` says where they lie in their images (see `geometry.py`): arrays
with a leading axis of B, or of 1 where all windows lie alike. Values at positions outside the image
are arbitrary and never reach a position inside.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.images.ops import statistics_dtype
from cfi_jax.systems.isfuse.inference.geometry import Geometry
from cfi_jax.systems.isfuse.operations import attention
from cfi_jax.systems.isfuse.operations.attention_kernel import Tokens
from cfi_jax.systems.isfuse.operations.plain import LEAK, as_trust

EXACT = jax.lax.Precision.HIGHEST  # float32 means float32 on every device
Params = dict[str, Any]
Features = dict[str, tuple[Array, ...]]  # modality -> per level [B, h, w, C]
Grids = dict[str, tuple[Array, ...]]  # modality -> per level [B, grid, grid, C]


def encode(
  params: Params, windows: dict[str, Array], geometry: Geometry, *, plain: bool = False
) -> Features:
  """Encoder features of both modalities from windows [B, H, W] in [0, 1], finest level first.

  plain: by operations that every library has, for programs that are to run elsewhere.
  """
  features = {}
  for modality in MODALITIES:
    convolutions = params["encoders"][modality]
    done = [levels[-1] for levels in features.values()]
    image = _after(done, windows[modality][..., None])
    x = _first_convolution(image, convolutions[0][0], geometry)
    levels = [_block(x, convolutions[0][1:], geometry, 0)]
    for level in range(1, len(convolutions)):
      x = _halve(levels[-1], plain)
      levels.append(_block(x, convolutions[level], geometry, level))
    features[modality] = tuple(levels)
  return features


def pool(features: Features, geometry: Geometry) -> Grids:
  """This window's share of the features averaged to the grid, summed over windows the whole."""
  return {
    modality: tuple(_pool(x, geometry, level) for level, x in enumerate(levels))
    for modality, levels in features.items()
  }


def integrate(
  params: Params, features: Features, grids: Grids, geometry: Geometry, *, plain: bool = False
) -> Fusion:
  """Fuses features, with keys and values from `grids`; fused is [B, H, W, 1], None with a prior.

  With a prior the trust is what there is: a rule fuses whole images. plain: see `encode`.
  """
  levels, gates = [], []
  for level in reversed(range(len(params["integrators"]))):
    pair = [features[m][level] for m in MODALITIES]
    cells = [grids[m][level] for m in MODALITIES]
    x, gate = _cfi(params["integrators"][level], pair, cells, geometry, level, plain)
    if levels:
      x = x + _upsample(levels[0], geometry, level)
      x = _block(x, params["decoders"][level], geometry, level)
    levels, gates = [x, *levels], [gate, *gates]
  pictures = {
    name: _sigmoid(_narrow_convolution(levels[0], head, geometry, 0))
    for name, head in params["heads"].items()
  }
  fused = pictures.pop("fused", None)
  return Fusion(
    fused=fused,
    gates=tuple(gates),
    features=features,
    levels=tuple(levels),
    trust=Pair(**{m: as_trust(x) for m, x in pictures.items()}) if pictures else None,
  )


def _after(done: list[Array], x: Array) -> Array:
  """`x`, but what uses it is computed after `done`: steps side by side need more memory.

  A false dependency, since XLA drops optimization barriers before it schedules.
  """
  for result in done:
    x = x + (0 * result[:, :1, :1, :1]).astype(x.dtype)
  return x


def _leaky(x: Array) -> Array:
  return jnp.maximum(x, LEAK * x)


def _sigmoid(x: Array) -> Array:
  return jax.nn.sigmoid(x.astype(statistics_dtype(x.dtype)))


def _along(vector: Array, axis: int) -> Array:
  """Values along the rows (axis 1) or columns (axis 2), [B, n], as [B, n, 1, 1] or [B, 1, n, 1]."""
  return vector[:, :, None, None] if axis == 1 else vector[:, None, :, None]


def _surround(x: Array, geometry: Geometry, level: int) -> Array:
  """Puts what 3x3 convolutions must see outside the image around it: zeros or mirrored pixels."""
  if not geometry.rows.border:
    return x
  rows, columns = geometry.rows.border[level], geometry.columns.border[level]
  if rows.dtype == bool:
    # A selection, not a product: XLA on CPU would write a product's mask out in full size.
    return jnp.where(_along(rows, 1) & _along(columns, 2), x, jnp.zeros((), x.dtype))
  if rows.shape[0] == 1 and x.shape[0] != 1:
    return jnp.take(jnp.take(x, rows[0], axis=1), columns[0], axis=2)
  batch = jnp.arange(x.shape[0])[:, None, None]
  return x[batch, rows[:, :, None], columns[:, None, :]]


def _block(x: Array, convolutions: tuple, geometry: Geometry, level: int) -> Array:
  """[3x3 convolution, LeakyReLU] for each (kernel, bias)."""
  for kernel_and_bias in convolutions:
    x = _convolution(_surround(x, geometry, level), *kernel_and_bias)
  return x


def _convolution(surrounded: Array, kernel: Array, bias: Array) -> Array:
  """3x3 convolution and LeakyReLU."""
  x = jax.lax.conv_general_dilated(
    surrounded,
    kernel,
    window_strides=(1, 1),
    padding="SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    precision=EXACT,
  )
  return _leaky(x + bias.reshape(1, 1, 1, -1))


def _shifts(x: Array) -> list[Array]:
  """The nine neighbours of every position of [B, H, W, C] in row-major order, zero outside."""
  height, width = x.shape[1:3]
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  return [x[:, i : i + height, j : j + width] for i in range(3) for j in range(3)]


def _first_convolution(x: Array, convolution: tuple, geometry: Geometry) -> Array:
  """3x3 convolution of one channel and LeakyReLU, as nine multiply-adds in one pass over memory."""
  kernel, bias = convolution
  x = _surround(x.astype(kernel.dtype), geometry, 0)
  taps = kernel.reshape(9, 1, 1, 1, -1)
  total = sum(shifted * tap for shifted, tap in zip(_shifts(x), taps, strict=True))
  return _leaky(total + bias.reshape(1, 1, 1, -1))


def _narrow_convolution(x: Array, convolution: tuple, geometry: Geometry, level: int) -> Array:
  """3x3 convolution to one channel: nine products per pixel first, then nine shifts of them."""
  kernel, bias = convolution
  weights = kernel.reshape(9, kernel.shape[2]).T
  products = _surround(jnp.matmul(x, weights, precision=EXACT), geometry, level)
  total = sum(shifted[..., k : k + 1] for k, shifted in enumerate(_shifts(products)))
  return total + bias.reshape(1, 1, 1, 1)


def _halve(x: Array, plain: bool) -> Array:
  """2x2 max pooling."""
  if plain:
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))
  lowest = jnp.array(-jnp.inf, x.dtype)
  return jax.lax.reduce_window(x, lowest, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def _pool(x: Array, geometry: Geometry, level: int) -> Array:
  # Rows first, as one product with [h, w * C]: no transposition of the large operand.
  batch, height, width, channels = x.shape
  rows = geometry.rows.pool[level].astype(x.dtype)
  columns = geometry.columns.pool[level].astype(x.dtype)
  x = jnp.matmul(rows, x.reshape(batch, height, width * channels), precision=EXACT)
  x = x.reshape(batch, -1, width, channels)
  return jnp.einsum("bjw,biwc->bijc", columns, x, precision=EXACT)


def _upsample(x: Array, geometry: Geometry, level: int) -> Array:
  """Bilinear interpolation from `level` + 1 to `level`: three taps per axis and parity."""
  x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))  # before it grows
  x = _upsample_axis(x, geometry.rows.up[level], 1)
  return _upsample_axis(x, geometry.columns.up[level], 2)


def _upsample_axis(x: Array, weights: Array, axis: int) -> Array:
  size = x.shape[axis] - 2
  taps = [jax.lax.slice_in_dim(x, t, t + size, axis=axis) for t in range(3)]
  weights = weights.astype(x.dtype)
  phases = [sum(_along(weights[:, p, t], axis) * taps[t] for t in range(3)) for p in range(2)]
  shape = x.shape[:axis] + (2 * size,) + x.shape[axis + 1 :]
  return jnp.stack(phases, axis + 1).reshape(shape)


def _cfi(
  params: Params,
  pair: list[Array],
  cells: list[Array],
  geometry: Geometry,
  level: int,
  plain: bool,
) -> tuple[Array, Array]:
  """Causal Feature Integrator of one level: (fused features, gate [B, h, w, 1])."""
  visible, infrared = pair
  tokens = [
    _tokens(params["attention"][m], c) for m, c in zip(MODALITIES, cells[::-1], strict=True)
  ]
  complementary = _attend(pair, tokens, plain)
  # Surrounded once for both uses: what lies outside the image is free in `mixed`.
  complementary = _surround(complementary, geometry, level)
  gate = _gate(params, complementary, geometry, level)
  weight = gate.astype(visible.dtype)
  mixed = weight * complementary + (1 - weight) * (visible + infrared)
  return _block(mixed, params["refine"], geometry, level), gate


def _tokens(weights: tuple, cells: Array) -> Tokens:
  """Keys, offsets of scores and values of the grid cells of the other modality."""
  key_weight, key_offset, score_weight, score_offset, value_weight, value_offset = weights
  cells = cells.reshape(cells.shape[0], -1, cells.shape[-1])
  keys = jnp.matmul(cells, key_weight, precision=EXACT) + key_offset.reshape(1, 1, -1)
  offsets = jnp.matmul(cells, score_weight, precision=EXACT) + score_offset
  values = jnp.matmul(cells, value_weight, precision=EXACT) + value_offset.reshape(1, 1, -1)
  return keys, offsets, values


def _attend(pair: list[Array], tokens: list[Tokens], plain: bool) -> Array:
  """Attention of every pixel over the grid cells of the other modality, both modalities' sum.

  In one pass on a GPU, where every pass over memory counts.
  """
  pixels = tuple(x.reshape(x.shape[0], -1, x.shape[-1]) for x in pair)
  if not plain and attention.fits(pixels, tuple(tokens)):
    on_gpu = functools.partial(attention.kernel, scale=1.0)
    total = jax.lax.platform_dependent(
      pixels, tuple(tokens), cuda=on_gpu, rocm=on_gpu, default=_by_products
    )
  else:
    total = _by_products(pixels, tuple(tokens))
  return total.reshape(pair[0].shape)


def _by_products(pixels: tuple[Array, ...], tokens: tuple[Tokens, ...]) -> Array:
  total = None
  for asking, (keys, offsets, values) in zip(pixels, tokens, strict=True):
    scores = jnp.matmul(asking, keys.swapaxes(1, 2), precision=EXACT) + offsets[:, None]
    shares = jax.nn.softmax(scores.astype(statistics_dtype(scores.dtype))).astype(asking.dtype)
    share = jnp.matmul(shares, values, precision=EXACT)
    total = share if total is None else total + share
  return total


def _gate(params: Params, surrounded: Array, geometry: Geometry, level: int) -> Array:
  kernel, bias = params["gate_head"]
  if kernel.ndim == 4:
    return _sigmoid(_narrow_convolution(surrounded, params["gate_head"], geometry, level))
  (convolution,) = params["gate"]
  x = _convolution(surrounded, *convolution)
  # A weighted sum, not a product of matrices: it fuses with the LeakyReLU.
  x = (x * kernel.reshape(1, 1, 1, -1)).sum(-1, keepdims=True)
  return _sigmoid(x + bias.reshape(1, 1, 1, 1))
