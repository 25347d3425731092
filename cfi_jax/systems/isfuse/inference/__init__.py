"""Fusing images with trained weights: exact for every size, in bounded memory."""

from cfi_jax.systems.isfuse.inference.model import Model, load

__all__ = ["Model", "load"]
