"""Aligns two cameras: python -m cfi_jax.align; called itself, it is `cfi_jax.align`."""

import sys
import types
from typing import Any


class _Callable(types.ModuleType):
  """The command's package, which Python puts in the place of the function of its name."""

  def __call__(self, *images: Any, **options: Any) -> Any:
    """Aligns pairs of images, see `cfi_jax.registration.pairs.align`."""
    from cfi_jax.registration.pairs import align

    return align(*images, **options)


sys.modules[__name__].__class__ = _Callable
