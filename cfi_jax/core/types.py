"""Names of all rooms: arrays, and the error for input that cannot be used."""

from typing import Any

Array = Any  # a jax.Array, a tracer or a numpy.ndarray


class InputError(ValueError):
  """The user's input (a file, a folder, a flag, a config) cannot be used.

  The message names what was given and what is allowed; commands print it without a traceback.
  """


class StorageError(InputError):
  """Nothing more can be written, as on a full disk; what was written before is whole."""
