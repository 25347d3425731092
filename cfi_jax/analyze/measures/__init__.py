"""What a fusion model does with its two images, measured: the parts of `cfi_jax.analyze`."""
