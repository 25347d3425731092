"""The weights that the package carries, each with its model card beside it."""

import dataclasses
import hashlib
import os
import pathlib

from cfi_jax.core import storage
from cfi_jax.core.types import InputError

FOLDER = pathlib.Path(__file__).parent
SHA256 = {
  "visible-infrared": "7548a1ea624370da980b5b4607e4efa6e2b473723aa6b49e8976c03a3882a7b1",
  "medical": "825df969c8c90500d3a2293478ea2dffa4e573b3c25d8ed0537f5e405e4af489",
  "figures": "85fbf2e2614bf033d0e6ff21987b70202171cf74c96cf6ab745856121aa49901",
}
SYSTEMS = {"visible-infrared": "isfuse", "medical": "isfuse", "figures": "dfcnet"}
DEFAULT, DEFAULT_TRANSFER = "visible-infrared", "figures"  # of fusion, and of pose transfer


@dataclasses.dataclass(frozen=True)
class Choice:
  """Pairs by whose scores weights were chosen: their recipe, seed and step.

  pairs: in words. tests: data sets (`cfi_jax.datasets.DATASETS`) whose test pairs are among them.
  """

  pairs: str
  tests: tuple[str, ...] = ()

  def __str__(self) -> str:
    """The end of a sentence that begins with the weights."""
    text = f"recipe and seed were chosen by the scores on {self.pairs}"
    return f"{text}, where scores flatter them" if self.tests else text


# The one place that says it: commands, tables of results and the test of the cards take it.
CHOSEN = {
  "visible-infrared": Choice("17 of RoadScene's training pairs, which were held out"),
  "medical": Choice("case 21 of CT-MRI, 30 of PET-MRI and 4 of SPECT-MRI, which were held out"),
  "figures": Choice("the rendered people of the split validation"),
}


def of(*systems: str) -> tuple[str, ...]:
  """The names of the weights that the package carries of these systems."""
  return tuple(name for name in SHA256 if SYSTEMS[name] in systems)


def resolve(weights: str | os.PathLike) -> pathlib.Path:
  """The file of the weights of that name (`SHA256`), verified by its hash; a path stays as it is.

  Raises InputError for a file that is not the one that was shipped.
  """
  name = os.fspath(weights)
  if name not in SHA256:
    return storage.path(name)
  path = FOLDER / f"{name}.safetensors"
  try:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
  except OSError as error:
    raise InputError(f"{path}: {error.strerror}; install cfi_jax again") from error
  if found != SHA256[name]:
    raise InputError(
      f"{path}: not the file that was shipped: its SHA-256 is {found}, expected {SHA256[name]}; "
      "install cfi_jax again"
    )
  return path
