"""Systems of the three shapes that the engine carries, each a few lines, for tests of its contract.

`install` makes them known beside the real ones.
"""

import pathlib

from cfi_jax import systems

FOLDER = pathlib.Path(__file__).parent
NAMES = ("one", "frozen", "duel")


def install() -> None:
  """Lets `systems.find` find the toys."""
  if str(FOLDER) not in systems.__path__:
    systems.__path__.append(str(FOLDER))
