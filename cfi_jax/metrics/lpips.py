"""LPIPS (Zhang et al. 2018): distances between pictures in the features of a network.

The network and the weights of its channels are the user's: the state dict of `lpips.LPIPS`, of the
package of that name, with its networks "alex" or "vgg". Nothing is downloaded.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from cfi_jax.core.types import Array, InputError
from cfi_jax.weights.torch_checkpoint import read_state_dict

EPSILON = 1e-10  # added to the length of a pixel's features
SAVE = "torch.save(lpips.LPIPS(net='alex').state_dict(), FILE)"


class Block(NamedTuple):
  """Convolutions, each followed by a ReLU, of which the last one's output is compared.

  pool: side of the maximum before them, at every second pixel; 0 without. indices: of the
  convolutions in the state dict. widths: channels of their outputs. side, stride, padding: theirs.
  """

  pool: int
  indices: tuple[int, ...]
  widths: tuple[int, ...]
  side: int = 3
  stride: int = 1
  padding: int = 1


# By name: the blocks, and the shortest side of a picture of which all blocks have a pixel.
NETWORKS = {
  "alex": (
    (
      Block(0, (0,), (64,), 11, 4, 2), Block(3, (3,), (192,), 5, 1, 2), Block(3, (6,), (384,)),
      Block(0, (8,), (256,)), Block(0, (10,), (256,)),
    ),
    31,
  ),
  "vgg": (
    (
      Block(0, (0, 2), (64,) * 2), Block(2, (5, 7), (128,) * 2), Block(2, (10, 12, 14), (256,) * 3),
      Block(2, (17, 19, 21), (512,) * 3), Block(2, (24, 26, 28), (512,) * 3),
    ),
    16,
  ),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class LPIPS:
  """Distances by a network of `NETWORKS`; params: its state dict, by name."""

  network: str
  params: Mapping[str, np.ndarray]

  def distance(self, made: Array, truth: Array) -> Array:
    """LPIPS [B] between pictures [B, H, W, 3] in [0, 1], at their size.

    Rounding alone is left for equal ones. Raises InputError as `require` does.
    """
    self.require(*made.shape[1:3])
    return self._program(self.params, made, truth)

  def require(self, height: int, width: int) -> None:
    """Raises InputError for pictures so small that the network's last features have no pixel."""
    least = NETWORKS[self.network][1]
    if min(height, width) < least:
      raise InputError(
        f"LPIPS by {self.network!r} of {height}x{width} pixels; allowed: {least} or more in both "
        "directions"
      )

  @functools.cached_property
  def _program(self):
    return jax.jit(functools.partial(_distance, self.network))


def _distance(network: str, params: Mapping[str, Array], made: Array, truth: Array) -> Array:
  """Squared differences of unit features, weighted by channel, averaged over pixels, summed."""
  total = jnp.zeros(len(made), made.dtype)
  features = (_features(network, params, picture) for picture in (made, truth))
  for block, (own, other) in enumerate(zip(*features, strict=True)):
    weights = params[f"lin{block}.model.1.weight"].reshape(-1)
    total += (jnp.square(_unit(own) - _unit(other)) @ weights).mean((1, 2))
  return total


def _unit(features: Array) -> Array:
  """Features [..., C] of unit length at each pixel."""
  return features / (jnp.sqrt(jnp.square(features).sum(-1, keepdims=True)) + EPSILON)


def _features(network: str, params: Mapping[str, Array], picture: Array) -> Sequence[Array]:
  """Outputs of the blocks for pictures in [0, 1]; the network's input is scaled by channel."""
  shift, scale = (
    params[f"scaling_layer.{name}"].reshape(1, 1, 1, 3) for name in ("shift", "scale")
  )
  x = (2 * picture - 1 - shift) / scale
  found = []
  for number, block in enumerate(NETWORKS[network][0], 1):
    if block.pool:
      x = nn.max_pool(x, (block.pool,) * 2, (2, 2))
    for index in block.indices:
      kernel = params[f"net.slice{number}.{index}.weight"].transpose(2, 3, 1, 0)
      x = lax.conv_general_dilated(
        x, kernel, (block.stride,) * 2, [(block.padding,) * 2] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
      )  # fmt: skip
      x = jax.nn.relu(x + params[f"net.slice{number}.{index}.bias"].reshape(1, 1, 1, -1))
    found.append(x)
  return found


def shapes(network: str) -> dict[str, tuple[int, ...]]:
  """Shapes of the arrays of a network's state dict, by name."""
  found: dict[str, tuple[int, ...]]
  found = {f"scaling_layer.{name}": (1, 3, 1, 1) for name in ("shift", "scale")}
  channels = 3
  for number, block in enumerate(NETWORKS[network][0], 1):
    for index, width in zip(block.indices, block.widths, strict=True):
      name = f"net.slice{number}.{index}"
      found |= {
        f"{name}.weight": (width, channels, block.side, block.side),
        f"{name}.bias": (width,),
      }
      channels = width
    found[f"lin{number - 1}.model.1.weight"] = (1, channels, 1, 1)
  return found


def load(path: str | os.PathLike) -> LPIPS:
  """LPIPS by a state dict of `lpips.LPIPS`, saved by `torch.save`.

  Raises InputError, naming the file, for anything else: every array of the network must be there,
  in its shape, and no other (but those that the package keeps under a second name).
  """
  state = {n: v for n, v in read_state_dict(path).items() if not n.startswith("lins.")}
  for network in NETWORKS:
    wanted = shapes(network)
    if {name: value.shape for name, value in state.items()} == wanted:
      return LPIPS(network, {name: value.astype(np.float32) for name, value in state.items()})
  raise InputError(
    f"{path}: {len(state)} arrays, not those of LPIPS by {' or '.join(NETWORKS)}; allowed: what "
    f"{SAVE} writes"
  )
