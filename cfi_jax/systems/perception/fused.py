"""Fused images in the place of the visible ones: files of a folder, or made once by weights."""

import dataclasses
import functools
import hashlib
import os
import pathlib
from typing import NamedTuple

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, FolderStore, enumerate_problems, shorten
from cfi_jax.data.matching import PLAIN, find
from cfi_jax.data.source import Derived, Source, rgb
from cfi_jax.engine import compilation
from cfi_jax.fusion import rule_options
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import ranges
from cfi_jax.images import read as images
from cfi_jax.images import write as pictures
from cfi_jax.images.read import Header
from cfi_jax.systems import files

PART = "{part}"  # of a folder's path: the part that a data set ships, "train" or "test"
PAIRS = 8  # fused at once
_EDITION = 1  # of the files that are kept


@dataclasses.dataclass(frozen=True)
class FusedOptions:
  """Images that were fused before; with `model.fusion` "fused" they are all that the network sees.

  weights: what `fuse` takes (a file, weights of the package, a rule), or the authors' checkpoint.
  folder: fused images by the names of the data set's; where it is given `weights` is not used.
    "{part}" in it becomes the part of the data set that its split is made of.
  cache: folder in which images that weights fused are kept; "" is one in the user's cache folder.
  """

  weights: str
  folder: str
  cache: str

  @property
  def given(self) -> bool:
    """Whether there are fused images at all."""
    return bool(self.weights or self.folder)


@dataclasses.dataclass(frozen=True)
class FusedSource(Derived):
  """The samples of another source, whose image "visible" is another file of the same size.

  store, fused: the files, one per sample. colour: whether the image is RGB, else luma.
  made_by: identity of what fused, "" for files that are known by their names and sizes.
  """

  store: FolderStore
  fused: tuple[File, ...]
  colour: bool = False
  made_by: str = ""

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images to compute with; see `Source`."""
    found = self.source[index]
    image = self._decode(index, found["visible"].shape[:2])
    return found | {"visible": rgb(image) if self.colour else images.luma(image)}

  def read(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images as stored."""
    found = self.source.read(index)
    return found | {"visible": self._decode(index, found["visible"].shape[:2])}

  def coloured(self, names: tuple[str, ...]) -> "FusedSource":
    """Returns the same samples with those images of `names` that they have as RGB."""
    source = self.source.coloured(names)
    return dataclasses.replace(self, source=source, colour="visible" in names)

  def check_headers(self) -> tuple[dict[str, Header], ...]:
    """Returns size, depth and channels of every image; InputError lists other sizes by file."""
    found, problems = [], []
    for file, headers in zip(self.fused, self.source.check_headers(), strict=True):
      label = self.store.label(file.path)
      try:
        with self.store.open(file.path) as stream:
          own = images.read_header(stream, label)
        _require_size(label, (own.height, own.width), _size(headers["visible"]))
        own = dataclasses.replace(own, channels=3 if self.colour else 1)
        found.append(headers | {"visible": own})
      except InputError as error:
        problems.append(str(error))
    if problems:
      title = f"{self.title}: {len(problems)} of {len(self)} fused images cannot be used"
      raise InputError(enumerate_problems(title, problems))
    return tuple(found)

  def fingerprint(self) -> str:
    """Returns the SHA-256 (hex) of the samples, and of the fused files or what made them."""
    own = self.made_by or sorted((n, f.bytes) for n, f in zip(self.names, self.fused, strict=True))
    return _hash(self.source.fingerprint(), own)

  def formerly(self) -> str:
    """Returns the fingerprint: no earlier version had such samples."""
    return self.fingerprint()

  def files(self, contents: bool = False) -> dict[str, str]:
    """Returns the identity of every file of the samples, and of fused ones that were given."""
    found = dict(self.source.files(contents))
    for name, file in zip(self.names, self.fused if not self.made_by else (), strict=False):
      found[f"fused/{name}"] = str(file.bytes)
      if contents:
        with self.store.open(file.path) as stream:
          found[f"fused/{name}"] += f" {hashlib.file_digest(stream, 'sha256').hexdigest()}"
    return found

  def _decode(self, index: int, size: tuple[int, int]) -> np.ndarray:
    path = self.fused[index].path
    label = self.store.label(path)
    with self.store.open(path) as stream:
      image = images.decode(stream, label)
    _require_size(label, image.shape[:2], size)
    return image


def replace(source: Source, options: FusedOptions, part: str, normalize: str) -> FusedSource:
  """The samples of a part with fused images in the place of the visible ones.

  normalize: rules of values by which weights read what they fuse. Raises InputError for a fused
  image that is missing or there twice, and for weights that fuse nothing.
  """
  if options.folder:
    return _of_folder(source, options.folder.replace(PART, part))
  return _of_weights(source, options, normalize)


def _of_folder(source: Source, folder: str) -> FusedSource:
  root = os.path.expanduser(folder)
  if not storage.path(root).is_dir():
    raise InputError(f"fused.folder is {folder}, which is no folder")
  found = find(root, {"fused": ""}, PLAIN)["fused"]
  keys = {name: PLAIN.key(name) for name in source.names}
  problems = [found.twice[key] for key in keys.values() if key in found.twice]
  missing = [name for name, key in keys.items() if key not in found.images]
  if missing:
    problems.append(
      f"{len(missing)} of {len(keys)} images have no fused one of the same name: {shorten(missing)}"
    )
  if problems:
    raise InputError("\n  ".join([f"{source.title}: {root} cannot be used", *problems]))
  return FusedSource(source, FolderStore(root), tuple(found.images[key] for key in keys.values()))


def _of_weights(source: Source, options: FusedOptions, normalize: str) -> FusedSource:
  """The samples with images of the cache, of which those that lack are fused."""
  fuser = _load(options.weights)
  made_by = _hash(_EDITION, fuser.digest, normalize)
  # By contents: the cache outlives a data set whose files are changed.
  folder = _cache(options) / _hash(made_by, source.fingerprint(), source.files(contents=True))[:32]
  paths = [folder / f"{name}.png" for name in source.names]
  missing = [index for index, path in enumerate(paths) if not path.exists()]
  if missing:
    sizes = [_size(headers["visible"]) for headers in source.check_headers()]
    fuser.model.reserve([sizes[index] for index in missing])
  chunks = [missing[first : first + PAIRS] for first in range(0, len(missing), PAIRS)]
  for chunk in track(chunks, f"fusing {source.title}", "chunk", len(chunks)):
    found = [source.read(index) for index in chunk]
    visibles, infrareds = ([images_[m] for images_ in found] for m in MODALITIES)
    visibles = [image[..., :3] for image in visibles]  # without alpha
    for index, image in zip(
      chunk, fuser.model.fuse_pairs(visibles, infrareds, normalize=normalize), strict=True
    ):
      path = paths[index]
      dtype = pictures.type_for(path, image.dtype, image.shape[-1])
      if dtype != image.dtype:
        image = ranges.to_type(np.clip(image, 0, 1) * ranges.largest(dtype), dtype)
      pictures.write_image(path, image)
  written = tuple(File(f"{name}.png", 0) for name in source.names)
  return FusedSource(source, FolderStore(str(folder)), written, made_by=made_by)


class _Model(NamedTuple):
  model: Fuser
  digest: str


@functools.lru_cache(maxsize=1)  # of the splits of a run
def _load(weights: str) -> _Model:
  """The fuser of weights, and the hash by which it is known; InputError names the field."""
  try:
    if rule_options.is_rule(weights):
      return _Model(files.load_fuser(weights), files.digest(weights))
    if storage.path(weights).is_dir():
      raise InputError(
        f"{weights} is a folder; allowed: a file of weights, and fused.folder for fused images"
      )
    model = files.make_fuser(*files.read(weights), label=weights)
    return _Model(model, files.digest(weights))
  except InputError as error:
    raise InputError(f"fused.weights: {error}") from error


def _cache(options: FusedOptions) -> pathlib.Path:
  if options.cache:
    return storage.path(os.path.expanduser(options.cache))
  folder = compilation.cache_folder()
  if folder is None:
    raise InputError(
      "fused.cache is '' and there is no cache folder of the user; allowed: a folder"
    )
  return folder / "fused"


def _size(header: Header) -> tuple[int, int]:
  return header.height, header.width


def _require_size(label: str, size: tuple[int, int], wanted: tuple[int, int]) -> None:
  if size != wanted:
    raise InputError(
      f"{label} has {size[0]} rows and {size[1]} columns, and its visible image {wanted[0]} and "
      f"{wanted[1]}; allowed: the same size"
    )


def _hash(*parts: object) -> str:
  return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()
