"""Multi-modal image fusion with intervention-stable features (ISFuse / CFI), in JAX.

`load` and `metrics` are imported when they are first used, so importing the package is fast and
touches no device.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "metrics"]


def __getattr__(name: str) -> Any:
  """`cfi_jax.load` and `cfi_jax.metrics`."""
  if name == "load":
    return importlib.import_module("cfi_jax.systems.isfuse.inference").load
  if name == "metrics":
    return importlib.import_module("cfi_jax.metrics")
  raise AttributeError(f"module 'cfi_jax' has no attribute {name!r}")
