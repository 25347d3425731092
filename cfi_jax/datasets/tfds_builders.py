"""TFDS builders that write a user's folder of images as ArrayRecord, without TensorFlow.

Encoded files are stored byte by byte. `cfi_jax.datasets.prepared` reads them back with the
project's own decoder; TFDS's decoder would give 8-bit RGB.
"""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import ClassVar

import tensorflow_datasets as tfds

from cfi_jax.core import storage
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import FolderStore, Listing, Record, require
from cfi_jax.data.source import FileSource
from cfi_jax.datasets import DATASETS
from cfi_jax.datasets.files import FileDataset
from cfi_jax.datasets.prepared import VERSION, Tfds, from_metadata, preparable, to_metadata

LAST = "dataset_info.json"  # of the files of a prepared data set, in a bucket


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Writes each shipped part of `dataset` as one TFDS split, in order of the names."""

  VERSION = tfds.core.Version(VERSION)
  MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the root of the dataset, in its original layout."
  dataset: ClassVar[type[FileDataset]]

  def _info(self) -> tfds.core.DatasetInfo:
    images = {image: tfds.features.Image(shape=(None, None, None)) for image in self.dataset.layout}
    return tfds.core.DatasetInfo(
      builder=self,
      description=self.dataset.__doc__,
      features=tfds.features.FeaturesDict({"name": tfds.features.Text(), **images}),
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
    root = os.fspath(dl_manager.manual_dir)
    listings = listings_of(self.name, root)
    self.info.metadata["listings"] = to_metadata(listings)
    return {
      part: self._generate_examples(FolderStore(root), listing.records)
      for part, listing in listings.items()
    }

  def _generate_examples(self, store: FolderStore, records: Sequence[Record]) -> Iterator[tuple]:
    for row, record in enumerate(track(records, f"writing {self.name}", "record")):
      example = {"name": record.name}
      for image, file in record.files.items():
        with store.open(file.path) as stream:
          example[image] = stream.read()
      yield row, example


def builder(dataset: type[FileDataset]) -> type[Builder]:
  """Makes the builder of a data set, under its name."""
  members = {"name": dataset.name, "dataset": dataset}
  return type(dataset.__name__, (Builder,), members, skip_registration=True)


BUILDERS = {name: builder(cls) for name, cls in preparable(DATASETS).items()}


def listings_of(name: str, root: str) -> dict[str, Listing]:
  """Lists all shipped parts of the data set under `root`; InputError if one cannot be matched."""
  dataset = Tfds(root, 0.0, name, "shipped", 0.0).original
  listings = {part: dataset.listing(part) for part in dataset.parts}
  require(listings, dataset.title)
  return listings


def prepare(name: str, root: str, data_dir: str) -> str:
  """Writes the data set under `root` as ArrayRecord; returns the folder of the written files.

  Files written before are kept if they hold the same images. Raises InputError if they do not, for
  an unknown name, and for files that cannot be used.
  """
  if name not in BUILDERS:
    raise InputError(f"dataset={name!r}: must be one of {', '.join(BUILDERS)}")
  root = os.fspath(storage.path(os.path.expanduser(root)).absolute())
  listings = listings_of(name, root)
  for part, listing in listings.items():
    FileSource(f"{name} {part}", FolderStore(root), listing.records).check_headers()
  remote = storage.is_remote(data_dir)
  if remote and storage.path(data_dir, name, VERSION, LAST).is_file():
    folder = os.fspath(storage.path(data_dir, name, VERSION))
    _require_same(folder, root, listings, Tfds(data_dir, 0.0, name, "shipped", 0.0))
    return folder
  here = os.fspath(storage.temporary()) if remote else os.path.expanduser(data_dir)
  writer = BUILDERS[name](data_dir=here, file_format="array_record")
  tfds.disable_progress_bar()  # ours tells in log files, too
  writer.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False)
  )
  folder = os.fspath(writer.data_dir)
  if from_metadata(writer.info.metadata["listings"]) != listings:
    raise InputError(f"{folder} was written from other files than {root} holds now; delete it")
  return _upload(folder, storage.path(data_dir, name, VERSION)) if remote else folder


def _require_same(folder: str, root: str, listings: dict[str, Listing], prepared: Tfds) -> None:
  """Raises InputError where a bucket holds the records of other files."""
  if {part: prepared.listing(part) for part in listings} != listings:
    raise InputError(f"{folder} was written from other files than {root} holds now; delete it")


def _upload(folder: str, to: pathlib.Path) -> str:
  """Copies prepared files to a bucket; the one without which they are none comes last."""
  found = sorted(storage.path(folder).iterdir(), key=lambda path: (path.name == LAST, path.name))
  for path in track(found, f"uploading to {to}", "file"):
    (to / path.name).upload(path)
  return os.fspath(to)
