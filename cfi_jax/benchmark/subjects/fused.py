"""Parts of a `Subject` that systems of fusion share; they have one stream and name dtypes."""

from cfi_jax.engine.config import Config


def rows(config: Config) -> int:
  """See `Subject`."""
  return config.batch_size


def dtypes(config: Config) -> tuple[str, str]:
  """See `Subject`."""
  return config.model["dtype"], config.model["param_dtype"]
