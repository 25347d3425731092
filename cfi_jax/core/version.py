"""Version of the package, which pyproject.toml, `cfi_jax.__version__` and --version read."""

VERSION = "0.1.0"
