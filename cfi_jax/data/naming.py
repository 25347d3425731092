"""Names of records: paths of files, less what tells one modality's files from another's."""

import dataclasses
import os
import posixpath
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from cfi_jax.core import cli
from cfi_jax.core.types import InputError

MATCHES = ("name", "number")
MODALITIES = ("visible", "infrared")
FLAGS = {
  "visible_prefix": cli.Flag("beginning of visible images' names that no other image has", ""),
  "visible_suffix": cli.Flag("their end, before the extension: _vis of 0001_vis.jpg", ""),
  "infrared_prefix": cli.Flag("beginning of infrared images' names that no other image has", ""),
  "infrared_suffix": cli.Flag("their end, before the extension: _ir of 0001_ir.png", ""),
  "match": cli.Flag(
    "whether names must be equal (name) or may differ in zeros before numbers (number)",
    "name",
    valid=MATCHES,
  ),
}
OPTIONS = {name: flag.default for name, flag in FLAGS.items()}


@dataclasses.dataclass(frozen=True)
class Naming:
  """A rule that makes files of several folders one record.

  affixes: prefix and suffix of an image's file names, by image name; ("", "") where none is given.
  match: "name": names are equal, in whichever way Unicode composes their letters. "number": numbers
    in them are equal, with or without zeros in front.
  options: beginning of the option's names in messages, such as "--"; "" where nobody can set them.

  A name is the path of a file below its folder, with `/`, without extension, prefix and suffix.
  """

  affixes: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
  match: str = "name"
  options: str = ""

  def __post_init__(self):
    """Raises InputError for an unknown match, and for an affix that holds a folder."""
    if self.match not in MATCHES:
      raise InputError(f"{self.options}match={self.match}; allowed: {', '.join(MATCHES)}")
    for image, affixes in self.affixes.items():
      for part, affix in zip(("prefix", "suffix"), affixes, strict=True):
        if os.sep in affix or "/" in affix:
          raise InputError(
            f"{self.options}{image}_{part}={affix}: must be a part of file names, without folders"
          )

  def affix(self, image: str) -> tuple[str, str]:
    """Returns prefix and suffix of an image's file names."""
    return self.affixes.get(image, ("", ""))

  def name(self, image: str, path: str) -> str | None:
    """Returns the name of a file, from its path below its folder; None without prefix or suffix."""
    path = path.replace(os.sep, "/")
    prefix, suffix = self.affix(image)
    if not prefix and not suffix:
      return os.path.splitext(path)[0] or None
    folder, base = posixpath.split(path)
    stem = os.path.splitext(base)[0]
    bare = stem[len(prefix) : len(stem) - len(suffix)]
    if not bare or not (stem.startswith(prefix) and stem.endswith(suffix)):
      return None
    return posixpath.join(folder, bare)

  def key(self, name: str) -> str:
    """Returns what the names of one record have in common."""
    if not name.isascii():
      name = unicodedata.normalize("NFC", name)
    return without_zeros(name) if self.match == "number" else name


def from_options(values: Mapping[str, Any], options: str = "--") -> Naming:
  """Returns the rule of options named as in `FLAGS`; options: their beginning in messages."""
  affixes = {m: (values[f"{m}_prefix"], values[f"{m}_suffix"]) for m in MODALITIES}
  return Naming(affixes, values["match"], options)


def without_zeros(name: str) -> str:
  """Removes the zeros in front of every number."""
  return re.sub(r"(?<![0-9])0+(?=[0-9])", "", name)
