"""ISFuse with its Causal Feature Integrator, as a system of the engine."""

from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.inference.model import Model as load
from cfi_jax.systems.isfuse.procedure import (
  begin,
  constants,
  held_out,
  procedure,
  product,
  shapes,
  streams,
)
from cfi_jax.systems.isfuse.release import read_release

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
