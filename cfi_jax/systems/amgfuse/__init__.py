"""AMG-Fuse, fusion under rain, haze and snow, as a system of the engine."""

from cfi_jax.systems.amgfuse.config import Config
from cfi_jax.systems.amgfuse.inference import load
from cfi_jax.systems.amgfuse.procedure import (
  begin,
  constants,
  held_out,
  procedure,
  product,
  shapes,
  streams,
)
from cfi_jax.systems.amgfuse.release import read_release

__all__ = [
  "Config",
  "begin",
  "constants",
  "held_out",
  "load",
  "procedure",
  "product",
  "read_release",
  "shapes",
  "streams",
]
