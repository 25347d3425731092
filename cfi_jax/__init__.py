"""Multi-modal image fusion with intervention-stable features (ISFuse / CFI), in JAX.

`align`, `load` and `metrics` are imported when they are first used, so importing the package is
fast and touches no device.
"""

import importlib
from typing import Any

from cfi_jax.core import interruption
from cfi_jax.core.version import VERSION as __version__

if interruption.is_command():
  interruption.hear()

__all__ = ["__version__", "align", "load", "metrics"]


def __getattr__(name: str) -> Any:
  """The public names, imported at their first use; `recipes` is what config files call it."""
  if name == "load":
    return importlib.import_module("cfi_jax.systems.files").load_fuser
  if name == "align":
    return importlib.import_module("cfi_jax.registration.pairs").align
  if name == "metrics":
    return importlib.import_module("cfi_jax.metrics")
  if name == "recipes":
    return importlib.import_module("cfi_jax.systems.isfuse.recipes")
  raise AttributeError(f"module 'cfi_jax' has no attribute {name!r}")
