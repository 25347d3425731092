"""Registration of two cameras by the edges that both see."""

from cfi_jax.registration.pairs import align
from cfi_jax.registration.rig import Rig, load

__all__ = ["Rig", "align", "load"]
