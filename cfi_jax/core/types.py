"""Names of all rooms: arrays, and the errors that commands print in one line."""

from typing import Any

Array = Any  # a jax.Array, a tracer or a numpy.ndarray


class KnownError(Exception):
  """An error whose message says all: commands print it without a traceback."""


class InputError(KnownError, ValueError):
  """The user's input (a file, a folder, a flag, a config) cannot be used.

  The message names what was given and what is allowed. Where many items are worked on, the others
  go on.
  """


class StorageError(KnownError):
  """Nothing more can be written, as on a full disk; what was written before is whole.

  It ends the work on all items, and is no `InputError` for that.
  """
