"""Measures of a fusion model's behaviour on pairs of images: the parts of `cfi_jax.analyze`."""
