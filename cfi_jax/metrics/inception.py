"""The Inception v3 of the Frechet distance: features of pictures by the weights of a user's file.

It is the network of 2015 that Heusel et al. (2017) took, in the form and with the names that the
package `pytorch-fid` gives it: averages leave out the padding, and the last block pools by maximum.
"""

import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cfi_jax.core.types import Array, InputError
from cfi_jax.weights.torch_checkpoint import read_state_dict

SIDE = 299  # pixels of the network's input
FEATURES = 2048
EPSILON = 1e-3  # of the normalisation
SAVE = "torch.save(pytorch_fid.inception.fid_inception_v3().state_dict(), FILE)"
UNUSED = ("fc.", "AuxLogits.")  # beginnings of names
NORMALISATION = ("weight", "bias", "running_mean", "running_var")
COUNTER = "num_batches_tracked"  # end of names


class Conv(NamedTuple):
  """A convolution with its normalisation and ReLU; sides: height and width of the kernel."""

  name: str
  width: int
  sides: tuple[int, int] = (1, 1)
  stride: int = 1
  padded: bool = True  # to the size of the input

  @property
  def padding(self) -> list[tuple[int, int]]:
    """Zeros before and after, by direction."""
    return [(side // 2 * self.padded,) * 2 for side in self.sides]


class Pool(NamedTuple):
  """The maximum or the average of 3 x 3 pixels."""

  kind: str  # "max" or "average"
  stride: int = 1


class Block(NamedTuple):
  """Branches whose outputs are joined; a tuple within one is layers that end it side by side."""

  name: str
  branches: tuple[tuple[Any, ...], ...]


THREE = (3, 3)


def _a(pooled: int):
  return (
    (Conv("branch1x1", 64),),
    (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, (5, 5))),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, THREE),
     Conv("branch3x3dbl_3", 96, THREE)),
    (Pool("average"), Conv("branch_pool", pooled)),
  )  # fmt: skip


def _b():
  return (
    (Conv("branch3x3", 384, THREE, 2, False),),
    (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, THREE),
     Conv("branch3x3dbl_3", 96, THREE, 2, False)),
    (Pool("max", 2),),
  )  # fmt: skip


def _c(width: int):
  across, down = (1, 7), (7, 1)
  return (
    (Conv("branch1x1", 192),),
    (Conv("branch7x7_1", width), Conv("branch7x7_2", width, across),
     Conv("branch7x7_3", 192, down)),
    (Conv("branch7x7dbl_1", width), Conv("branch7x7dbl_2", width, down),
     Conv("branch7x7dbl_3", width, across), Conv("branch7x7dbl_4", width, down),
     Conv("branch7x7dbl_5", 192, across)),
    (Pool("average"), Conv("branch_pool", 192)),
  )  # fmt: skip


def _d():
  return (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, THREE, 2, False)),
    (Conv("branch7x7x3_1", 192), Conv("branch7x7x3_2", 192, (1, 7)),
     Conv("branch7x7x3_3", 192, (7, 1)), Conv("branch7x7x3_4", 192, THREE, 2, False)),
    (Pool("max", 2),),
  )  # fmt: skip


def _e(pool: str):
  def ends(name: str):
    return Conv(f"{name}a", 384, (1, 3)), Conv(f"{name}b", 384, (3, 1))

  return (
    (Conv("branch1x1", 320),),
    (Conv("branch3x3_1", 384), ends("branch3x3_2")),
    (Conv("branch3x3dbl_1", 448), Conv("branch3x3dbl_2", 384, THREE), ends("branch3x3dbl_3")),
    (Pool(pool), Conv("branch_pool", 192)),
  )


# Layers in order. The first part of the name of a block's convolution is the block's.
LAYERS = (
  Conv("Conv2d_1a_3x3", 32, THREE, 2, False), Conv("Conv2d_2a_3x3", 32, THREE, 1, False),
  Conv("Conv2d_2b_3x3", 64, THREE), Pool("max", 2),
  Conv("Conv2d_3b_1x1", 80), Conv("Conv2d_4a_3x3", 192, THREE, 1, False), Pool("max", 2),
  Block("Mixed_5b", _a(32)), Block("Mixed_5c", _a(64)), Block("Mixed_5d", _a(64)),
  Block("Mixed_6a", _b()),
  Block("Mixed_6b", _c(128)), Block("Mixed_6c", _c(160)), Block("Mixed_6d", _c(160)),
  Block("Mixed_6e", _c(192)),
  Block("Mixed_7a", _d()),
  Block("Mixed_7b", _e("average")), Block("Mixed_7c", _e("max")),
)  # fmt: skip

# Output of a convolution and what follows it, by its whole name, for an input.
Apply = Callable[[str, Conv, Array], Array]


def _run(x: Array, apply: Apply) -> Array:
  """Output of all layers [B, h, w, FEATURES] for pictures [B, H, W, 3] in [-1, 1]."""
  for layer in LAYERS:
    x = _layer(layer, x, apply)
  return x


def _layer(layer: Conv | Pool | Block, x: Array, apply: Apply, prefix: str = "") -> Array:
  if isinstance(layer, Pool):
    return _pool(layer, x)
  if isinstance(layer, Conv):
    return apply(prefix + layer.name, layer, x)
  outputs = []
  for branch in layer.branches:
    ends = [x]
    for part in branch:
      parts = part if type(part) is tuple else (part,)
      ends = [_layer(one, ends[0], apply, f"{layer.name}.") for one in parts]
    outputs += ends
  return jnp.concatenate(outputs, -1)


def _pool(layer: Pool, x: Array) -> Array:
  """At stride 1 of the size of the input, at others of whole windows only."""
  where = THREE, (layer.stride,) * 2, "SAME" if layer.stride == 1 else "VALID"
  if layer.kind == "max":
    return nn.max_pool(x, *where)
  return nn.avg_pool(x, *where, count_include_pad=False)


def shapes() -> dict[str, tuple[int, ...]]:
  """Shapes of the arrays that the network needs, by their names in the state dict."""
  found = {}

  def apply(name: str, layer: Conv, x: Array) -> Array:
    found[f"{name}.conv.weight"] = (layer.width, x.shape[-1], *layer.sides)
    found.update({f"{name}.bn.{part}": (layer.width,) for part in NORMALISATION})
    size = (
      (n + 2 * before - side) // layer.stride + 1
      for n, (before, _), side in zip(x.shape[1:3], layer.padding, layer.sides, strict=True)
    )
    return jnp.zeros((len(x), *size, layer.width))

  jax.eval_shape(lambda x: _run(x, apply), jnp.zeros((1, SIDE, SIDE, 3)))
  return found


@jax.jit
def features(params: Mapping[str, Array], pictures: Array) -> Array:
  """Features [B, 2048] of pictures [B, H, W, 3] in [0, 1], scaled to 299 x 299 bilinearly.

  params: of `load`. Scaling takes no mean where pictures are larger, as that of `pytorch-fid`.
  """

  def apply(name: str, layer: Conv, x: Array) -> Array:
    x = lax.conv_general_dilated(
      x, params[f"{name}.conv.weight"].transpose(2, 3, 1, 0), (layer.stride,) * 2, layer.padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip
    weight, bias, mean, variance = (
      params[f"{name}.bn.{part}"].reshape(1, 1, 1, -1) for part in NORMALISATION
    )
    return jax.nn.relu((x - mean) * (weight / jnp.sqrt(variance + EPSILON)) + bias)

  size = (len(pictures), SIDE, SIDE, 3)
  scaled = jax.image.resize(pictures, size, "bilinear", antialias=False)
  return _run(2 * scaled - 1, apply).mean((1, 2))


def load(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """Arrays of `features` by a state dict of the network of `pytorch-fid`, saved by `torch.save`.

  Raises InputError, naming the file, unless every array that is needed is there in its shape;
  besides may be there those of the classifier, and counters of the training.
  """
  state = {
    name: value.astype(np.float32)
    for name, value in read_state_dict(path).items()
    if not name.startswith(UNUSED) and not name.endswith(COUNTER)
  }
  wanted, found = shapes(), {name: value.shape for name, value in state.items()}
  for name in sorted(wanted.keys() | found.keys()):
    if wanted.get(name) != found.get(name):
      shown = [each.get(name, "not there") for each in (found, wanted)]
      raise InputError(
        f"{path}: {name[:80]} is {shown[0]}; it should be {shown[1]}, as in what {SAVE} writes"
      )
  return state
