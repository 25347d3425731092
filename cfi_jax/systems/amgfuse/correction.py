"""Corrections by gains and offsets, by which a network begins from what it is given and a rule."""

import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.fusion.rule_options import WaveletOptions
from cfi_jax.systems.amgfuse.coupling import Streams
from cfi_jax.systems.amgfuse.samples import fuse_by_rule, grey

CHANNELS = 6  # of the maps of a correction: three gains and three offsets


def corrected(rule: WaveletOptions, visible: Array, infrared: Array, maps: Streams) -> Streams:
  """Both images, and the fusion by the rule of what they become, by gains and offsets.

  maps: of each, [B, H, W, CHANNELS], three gains above 1 and three offsets.
  """

  def correct(image: Array, map: Array) -> Array:
    gain, offset = jnp.split(map, 2, axis=-1)
    return image.astype(map.dtype) * (1 + gain) + offset

  restored, of_infrared = correct(visible, maps.visible), correct(infrared, maps.infrared)
  sources = jnp.clip(restored, 0, 1), jnp.clip(grey(of_infrared), 0, 1)
  return Streams(restored, of_infrared, correct(fuse_by_rule(*sources, rule), maps.fused))
