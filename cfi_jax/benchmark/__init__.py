"""Measurements of training steps, fusing, scoring and input; see `python -m cfi_jax.benchmark -h`.

This file imports nothing: processes of PyTorch contenders pass it and must stay free of JAX.
"""
