"""Fusing images with a trained network: exact for every size, in bounded memory."""

from cfi_jax.systems.isfuse.inference.model import Model

__all__ = ["Model"]
