"""Perception: segmentation and detection on one image, the other, or both, as a system.

The network that tells what fused images, and ways of fusing, are good for. All of it is ours.
"""

from cfi_jax.systems.perception.config import Config
from cfi_jax.systems.perception.inference import load
from cfi_jax.systems.perception.procedure import (
  begin,
  constants,
  held_out,
  procedure,
  product,
  shapes,
  streams,
)

__all__ = [
  "Config",
  "begin",
  "constants",
  "held_out",
  "load",
  "procedure",
  "product",
  "shapes",
  "streams",
]
