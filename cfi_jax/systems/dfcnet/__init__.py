"""DFC-Net, pose transfer by disentangled feature consistency, as a system of the engine.

After Wu et al., arXiv 2107.10984, of which only the abstract was at hand: what is ours says so.
"""

from cfi_jax.systems.dfcnet.config import Config
from cfi_jax.systems.dfcnet.inference import load
from cfi_jax.systems.dfcnet.procedure import (
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
