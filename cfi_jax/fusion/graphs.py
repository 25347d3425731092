"""Fusing as one pure function of arrays, as other programs and libraries can run it.

A graph is of a frame: arrays of one height and width. An image smaller than that lies in its upper
left, with zeros beside it, and its size is an argument, so that one graph serves many sizes with
the results of each.
"""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion import rules
from cfi_jax.fusion.fuser import Size
from cfi_jax.fusion.rule_options import Choice
from cfi_jax.fusion.rules import Place
from cfi_jax.fusion.types import Pair
from cfi_jax.images import colour, ops
from cfi_jax.images import read as images

# visible, infrared [B, H, W, 1] and the images' size, int32 [2] -> fused luma [B, H, W, 1].
LumaFunction = Callable[[Array, Array, Array], Array]
GREY, COLOUR = 1, 3


@dataclasses.dataclass(frozen=True)
class FusionGraph:
  """The computation of a `Fuser` for a frame.

  function: f(visible [B, H, W, C], infrared [B, H, W, 1], size) -> fused [B, H, W, C], floating
    point in [0, 1]. size: int32 [2], height and width of all images; what lies beyond them in the
    result means nothing. Without `smallest` the function is f(visible, infrared).
  frame: H and W. channels: C, 1 or 3 (RGB).
  smallest: the least height and width of images in the frame; None: they fill it.
  """

  function: Callable[..., Array]
  frame: Size
  channels: int
  smallest: int | None


@runtime_checkable
class HasGraph(Protocol):
  """A `Fuser` whose computation can be had as a graph."""

  def fusion_graph(
    self, frame: Size, *, channels: int = COLOUR, dtype: str = "float32", plain: bool = False
  ) -> FusionGraph:
    """The graph of a frame, with the results of `Fuser.fuse` for images in [0, 1].

    channels: of the visible and the fused images, 1 or 3. dtype: of a network's computation; a rule
      refuses all but float32. plain: without branches by the device, which make it fast on CPUs.
    """


def of_luma(
  function: LumaFunction, frame: Size, channels: int, smallest: int | None
) -> FusionGraph:
  """The graph of a function of lumas; RGB images keep their chroma."""

  def fuse(visible: Array, infrared: Array, *size: Array) -> Array:
    own = size[0] if size else jnp.array(frame, jnp.int32)
    if channels == GREY:
      return function(visible, infrared, own)
    fused = function(images.weigh(visible), infrared, own)
    return jnp.clip(jnp.concatenate(colour.replace_luma(visible, fused), -1), 0, 1)

  return FusionGraph(fuse, frame, channels, smallest)


def require_frame(frame: Size, least: int) -> None:
  """Raises InputError for a frame of less than `least` pixels along a side."""
  if min(frame) < least:
    raise InputError(
      f"a program for images of {frame[0]}x{frame[1]} (height x width); allowed: both from {least}"
    )


def of_rule(choice: Choice, frame: Size, plain: bool) -> Callable[..., Array]:
  """A `LumaFunction` of a rule, which also takes trust as its last argument (`rules.wavelet`)."""
  rule = rules.RULES[choice.name]
  reach = rule.reach(choice.options)
  window = tuple(n + (reach or 0) for n in frame)
  depth = rules.depth(frame)

  def fuse(visible: Array, infrared: Array, size: Array, trust: Pair | None = None) -> Array:
    given = Pair(visible, infrared), trust
    pair, trust = jax.tree.map(lambda x: _mirrored(x, size, window), given)
    place = Place(size=size, level=None, depth=depth)
    stage = ops.TOGETHER if plain else ops.staged(pair.visible)
    fused = rule.fuse(pair, choice.options, trust, place, stage)
    return jnp.clip(fused[:, : frame[0], : frame[1]], 0, 1)

  return fuse


def smallest(choice: Choice, frame: Size, least: int) -> int | None:
  """The least side of images that the graph of a rule takes in a frame; None: only those of it.

  least: of all images. A pyramid has the depth of the frame's.
  """
  if rules.RULES[choice.name].reach(choice.options) is not None:
    return least
  depth = rules.depth(frame)
  sides = [side for side in range(least, min(frame) + 1) if rules.depth((side, side)) == depth]
  return min(sides, default=None)


def _mirrored(image: Array, size: Array, window: Size) -> Array:
  """The image [B, H, W, 1] continued from its size to a window, mirrored at its ends."""
  for k, axis in enumerate((1, 2)):
    places = ops.mirrored(jnp.arange(window[k], dtype=size.dtype), size[k])
    image = jnp.take(image, places, axis=axis, mode="clip")
  return image
