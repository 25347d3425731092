"""Differentiable functions of maps [B, H, W, C] in float32, computed by the native kernels.

All work under jit, grad, vmap and shard_map. Sums over several devices are the caller's, see
`Devices`. Gradients of parameters are those of the device's own samples. Channels are multiples of
4.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array
from cfi_jax.native import build

LEAK = 0.01  # negative slope of LeakyReLU
EPSILON = 1e-5  # added to variances
BORDERS = {"zeros": 0, "reflect": 1, "replicate": 2}
HANDLERS = ("Convolve", "ConvolveNormalise", "Normalise", "Reduce", "BlockBackward", "HeadBackward")
HANDLERS += ("Attend", "AttendBackward", "Mix", "MixBackward", "Halve", "HalveBackward")
HANDLERS += ("GridMean", "GridMeanBackward", "Enlarge", "EnlargeBackward", "SumBatch")


@functools.cache
def why_not() -> str:
  """The reason why there are no kernels here, "" where there are; builds and registers them."""
  library, reason = build.library()
  if library is not None:
    for name in HANDLERS:
      capsule = jax.ffi.pycapsule(getattr(library, f"Cfi{name}"))
      jax.ffi.register_ffi_target(f"cfi_{name}", capsule, platform="cpu")
  return reason


def _call(name: str, shapes: list[tuple[int, ...]], *arguments: Array, **attributes) -> list[Array]:
  """One handler's results; under vmap its leading axes are groups that it computes one by one."""
  if reason := why_not():
    raise RuntimeError(f"there are no native kernels here: {reason}")
  outs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  kinds = {"border": np.int32, "leak": np.float32}
  attributes = {key: kinds[key](value) for key, value in attributes.items()}
  return jax.ffi.ffi_call(f"cfi_{name}", outs, vmap_method="expand_dims")(*arguments, **attributes)


@dataclasses.dataclass(frozen=True)
class Devices:
  """Devices that share a batch evenly.

  total: adds a pytree up over them. count: their number. moments: mean and biased variance over all
  from those of each, and a vector near the means (`engine.sharding.moments`).
  """

  total: Callable = lambda tree: tree
  count: Callable[[], int] = lambda: 1
  moments: Callable = lambda mean, var, near: (mean, var)


ALONE = Devices()


# ---- 3x3 convolution with bias, batch normalisation by the batch's own moments, LeakyReLU.


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def block(
  x: Array, w: Array, b: Array, scale: Array, offset: Array, border: str, devices: Devices = ALONE
) -> tuple[Array, Array, Array]:
  """Maps [B, H, W, Ci] to ([B, H, W, C], mean [C], biased variance [C])."""
  return _block_forward(x, w, b, scale, offset, border, devices)[0]


def _block_forward(x, w, b, scale, offset, border, devices):
  y, mean, square = _convolve(x, w, b, border)
  mean, var = devices.moments(mean, square / math.prod(y.shape[:3]), b)
  z = _normalise(y, mean, scale / jnp.sqrt(var + EPSILON), offset)
  return (z, mean, var), (x, w, y, mean, var, scale, offset)


def _block_backward(border, devices, saved, cotangents):
  x, w, y, mean, var, scale, offset = saved
  dz, dmean, dvar = cotangents
  inverse = 1 / jnp.sqrt(var + EPSILON)
  gain = scale * inverse
  plain, centred = _reduce(dz, y, mean, gain, offset)
  all_plain, all_centred, all_dmean, all_dvar = devices.total((plain, centred, dmean, dvar))
  samples = math.prod(y.shape[:3]) * devices.count()
  shift = (all_dmean - gain * all_plain) / samples
  slope = (2 * all_dvar - gain * inverse**2 * all_centred) / samples
  norm = (mean, gain, offset)
  dx, dw = _block_gradients(dz, y, norm, shift, slope, x, w, border)
  # The bias moves the mean and nothing else: normalisation takes it out again.
  return dx, dw, dmean, centred * inverse, plain


block.defvjp(_block_forward, _block_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(7,))
def block_given(
  x: Array, w: Array, b: Array, scale: Array, offset: Array, mean: Array, var: Array, border: str
) -> Array:
  """Maps [B, H, W, Ci] to [B, H, W, C], normalised by a mean and a variance of elsewhere."""
  gain = scale / jnp.sqrt(var + EPSILON)
  shape = (*x.shape[:3], w.shape[-1])
  arguments = (x, w, b, mean, gain, offset)
  return _call("ConvolveNormalise", [shape], *arguments, border=BORDERS[border], leak=LEAK)[0]


def _given_forward(x, w, b, scale, offset, mean, var, border):
  y = _convolve(x, w, b, border)[0]
  z = _normalise(y, mean, scale / jnp.sqrt(var + EPSILON), offset)
  return z, (x, w, y, mean, var, scale, offset)


def _given_backward(border, saved, dz):
  x, w, y, mean, var, scale, offset = saved
  inverse = 1 / jnp.sqrt(var + EPSILON)
  gain = scale * inverse
  plain, centred = _reduce(dz, y, mean, gain, offset)
  none = jnp.zeros_like(mean)
  dx, dw = _block_gradients(dz, y, (mean, gain, offset), none, none, x, w, border)
  bias, dvar = gain * plain, -0.5 * gain * inverse**2 * centred
  return dx, dw, bias, centred * inverse, plain, -bias, dvar


block_given.defvjp(_given_forward, _given_backward)


def _convolve(x, w, b, border):
  c = w.shape[-1]
  return _call("Convolve", [(*x.shape[:3], c), (c,), (c,)], x, w, b, border=BORDERS[border])


def _normalise(y, mean, gain, offset):
  return _call("Normalise", [y.shape], y, mean, gain, offset, leak=LEAK)[0]


def _reduce(dz, y, mean, gain, offset):
  """Sums of the gradient before the activation, and of its product with y - mean."""
  return _call("Reduce", [mean.shape] * 2, dz, y, mean, gain, offset, leak=LEAK)


NOTHING = (0, 0, 0, 0)  # the shape of a gradient that is not asked for


def _block_gradients(dz, y, norm, shift, slope, x, w, border):
  def call(*shapes):
    arguments = (dz, y, *norm, shift, slope, x, w)
    return _call("BlockBackward", shapes, *arguments, border=BORDERS[border], leak=LEAK)

  if x.shape[-1] > 1:
    return call(x.shape, w.shape)
  # The gradient towards an image is a call of its own, which XLA drops where nobody uses it.
  return call(x.shape, NOTHING)[0], call(NOTHING, w.shape)[1]


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def head(x: Array, w: Array, b: Array, border: str) -> Array:
  """A 3x3 convolution to one channel: [B, H, W, C] to [B, H, W, 1]."""
  nothing = (jnp.zeros(1, jnp.float32),) * 3
  shape = (*x.shape[:3], 1)
  arguments = (x, w, b, *nothing)
  return _call("ConvolveNormalise", [shape], *arguments, border=BORDERS[border], leak=1.0)[0]


def _head_backward(border, saved, dy):
  x, w = saved
  dx, dw = _call("HeadBackward", [x.shape, w.shape], dy, x, w, border=BORDERS[border])
  return dx, dw, jnp.sum(dy, (0, 1, 2))


head.defvjp(lambda x, w, b, border: (head(x, w, b, border), (x, w)), _head_backward)


# ---- Attention of pixels over tokens, gate and mix.


@jax.custom_vjp
def attend(x1, key1, shift1, value1, x2, key2, shift2, value2) -> Array:
  """softmax(x1 key1^T + shift1) value1 + the same of the second direction.

  x [B, N, C], key and value [B, T, C], shift [B, T]; in each direction pixels or tokens may have a
  batch of one, which all samples share.
  """
  batch = max(a.shape[0] for a in (x1, key1, x2, key2))
  arguments = (x1, key1, shift1, value1, x2, key2, shift2, value2)
  return _call("Attend", [(batch, *x1.shape[1:])], *arguments)[0]


def _attend_backward(saved, d_out):
  gradients: list[Array] = []
  for arrays in (saved[:4], saved[4:]):
    shapes = [(d_out.shape[0], *a.shape[1:]) for a in arrays]
    each = _call("AttendBackward", shapes, d_out, *arrays)
    gradients += [_as_shared(g, a) for g, a in zip(each, arrays, strict=True)]
  return tuple(gradients)


attend.defvjp(lambda *arguments: (attend(*arguments), arguments), _attend_backward)


@jax.custom_vjp
def mix(hidden, w, bias, cross, visible, infrared) -> tuple[Array, Array]:
  """(gate [B, H, W, 1], gate * cross + (1 - gate) * (visible + infrared)).

  gate = sigmoid(hidden . w + bias), hidden [B, H, W, K], w [K], bias [1]; K is 1 or a multiple of
  4. `visible` and `infrared` may have a batch of one.
  """
  shapes = [(*cross.shape[:3], 1), cross.shape]
  return tuple(_call("Mix", shapes, hidden, w, bias, cross, visible, infrared))


def _mix_forward(hidden, w, bias, cross, visible, infrared):
  gate, mixed = mix(hidden, w, bias, cross, visible, infrared)
  return (gate, mixed), (gate, hidden, w, cross, visible, infrared)


def _mix_backward(saved, cotangents):
  _, hidden, w, cross, visible, infrared = saved
  shapes = [hidden.shape, w.shape, (1,), cross.shape, cross.shape]
  *gradients, local = _call("MixBackward", shapes, *cotangents, *saved)
  return *gradients, _as_shared(local, visible), _as_shared(local, infrared)


mix.defvjp(_mix_forward, _mix_backward)


def _as_shared(gradient: Array, array: Array) -> Array:
  """The gradient of an array: summed over the samples that shared it."""
  if gradient.shape == array.shape:
    return gradient
  if array.size < 2**14 or array.size % 4:
    return jnp.sum(gradient, 0, keepdims=True)
  parts = gradient.reshape(gradient.shape[0], -1)
  return _call("SumBatch", [(1, array.size)], parts)[0].reshape(array.shape)


# ---- Maps to other sizes.


@jax.custom_vjp
def halve(x: Array) -> Array:
  """The maximum of every 2x2 pixels; its gradient goes to the first maximum of a tie."""
  batch, height, width, features = x.shape
  return _call("Halve", [(batch, height // 2, width // 2, features)], x)[0]


halve.defvjp(lambda x: (halve(x), x), lambda x, dy: tuple(_call("HalveBackward", [x.shape], x, dy)))


@functools.partial(jax.custom_vjp, nondiff_argnames=("grid",))
def grid_mean(x: Array, grid: int) -> Array:
  """Adaptive average pooling to [B, grid, grid, C]."""
  return _call("GridMean", [(x.shape[0], grid, grid, x.shape[3])], x)[0]


def _grid_mean_backward(grid, like, dy):
  batch, height, width, features = like.shape
  if height % grid or width % grid:
    return tuple(_call("GridMeanBackward", [like.shape], dy))
  rows, columns = height // grid, width // grid  # a broadcast, which XLA adds up with its like
  cells = (dy / (rows * columns))[:, :, None, :, None]
  whole = jnp.broadcast_to(cells, (batch, grid, rows, grid, columns, features))
  return (whole.reshape(like.shape),)


grid_mean.defvjp(
  lambda x, grid: (grid_mean(x, grid), jax.ShapeDtypeStruct(x.shape, x.dtype)), _grid_mean_backward
)


@jax.custom_vjp
def enlarge(x: Array, skip: Array) -> Array:
  """x [B, h, w, C] resized to the size of `skip` (bilinear, half-pixel centres), plus `skip`."""
  return _call("Enlarge", [skip.shape], x, skip)[0]


enlarge.defvjp(
  lambda x, skip: (enlarge(x, skip), jax.ShapeDtypeStruct(x.shape, x.dtype)),
  lambda like, d_out: (*_call("EnlargeBackward", [like.shape], d_out), d_out),
)
