"""What is measured: training steps, fusing, scoring, input; `python -m cfi_jax.benchmark --help`.

This file imports nothing: processes of PyTorch contenders pass it and must stay free of JAX.
"""
