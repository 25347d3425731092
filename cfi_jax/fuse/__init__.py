"""Fuses image files: python -m cfi_jax.fuse."""
