"""The command of the study of downstream tasks (`cfi_jax.study.downstream`)."""
