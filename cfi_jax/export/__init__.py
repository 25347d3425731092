"""Exports inference for other programs and libraries: python -m cfi_jax.export."""
