"""TFDS builders that write a user's folder of pairs as ArrayRecord, without TensorFlow.

Encoded files are stored byte by byte. `cfi_jax.datasets.prepared` reads them back with the
project's own decoder; TFDS's decoder would give 8-bit RGB and grey.
"""

import os
from collections.abc import Iterable, Iterator

import tensorflow_datasets as tfds

from cfi_jax.core.types import InputError
from cfi_jax.data.listing import FolderStore, Listing, Record, require
from cfi_jax.data.source import PairDataset, Source
from cfi_jax.datasets.medical import Medical
from cfi_jax.datasets.prepared import VERSION, family, from_metadata, to_metadata


class PairBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Writes each shipped part of a dataset as one TFDS split, in order of the names."""

  VERSION = tfds.core.Version(VERSION)
  MANUAL_DOWNLOAD_INSTRUCTIONS = "manual_dir is the root of the dataset, in its original layout."

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=family(self.name).__doc__,
      features=tfds.features.FeaturesDict(
        {
          "name": tfds.features.Text(),
          "visible": tfds.features.Image(shape=(None, None, 3)),
          "infrared": tfds.features.Image(shape=(None, None, 1)),
        }
      ),
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

  def _generate_examples(self, store: FolderStore, records: Iterable[Record]) -> Iterator[tuple]:
    for row, record in enumerate(records):
      example = {"name": record.name}
      for modality in ("visible", "infrared"):
        with store.open(getattr(record, modality).path) as file:
          example[modality] = file.read()
      yield row, example


class Msrs(PairBuilder):
  """MSRS."""


class Roadscene(PairBuilder):
  """RoadScene."""


class Tno(PairBuilder):
  """TNO."""


class M3fd(PairBuilder):
  """M3FD."""


class Llvip(PairBuilder):
  """LLVIP."""


class CtMri(PairBuilder):
  """Harvard medical, CT with MRI."""


class PetMri(PairBuilder):
  """Harvard medical, PET with MRI."""


class SpectMri(PairBuilder):
  """Harvard medical, SPECT with MRI."""


BUILDERS = {
  "msrs": Msrs,
  "roadscene": Roadscene,
  "tno": Tno,
  "m3fd": M3fd,
  "llvip": Llvip,
  "ct_mri": CtMri,
  "pet_mri": PetMri,
  "spect_mri": SpectMri,
}


def listings_of(name: str, root: str) -> dict[str, Listing]:
  """All shipped parts of the dataset under `root`; raises InputError if one cannot be paired."""
  dataset = _as_shipped(name, root)
  listings = {part: dataset.listing(part) for part in dataset.parts}
  require(listings, dataset.title)
  return listings


def prepare(name: str, root: str, data_dir: str) -> str:
  """Writes the dataset under `root` as ArrayRecord; returns the folder of the written files.

  Files written before are kept if they hold the same images. Raises InputError if they do not, for
  an unknown name, and for files that cannot be used.
  """
  if name not in BUILDERS:
    raise InputError(f"dataset={name!r}: must be one of {', '.join(BUILDERS)}")
  root = os.path.abspath(os.path.expanduser(root))
  listings = listings_of(name, root)
  for part, listing in listings.items():
    Source(f"{name} {part}", FolderStore(root), listing.records, ()).check_headers()
  builder = BUILDERS[name](data_dir=os.path.expanduser(data_dir), file_format="array_record")
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False)
  )
  folder = os.fspath(builder.data_dir)
  if from_metadata(builder.info.metadata["listings"]) != listings:
    raise InputError(f"{folder} was written from other files than {root} holds now; delete it")
  return folder


def _as_shipped(name: str, root: str) -> PairDataset:
  cls = family(name)
  return cls(root, 0.0, "shipped", 0.0) if issubclass(cls, Medical) else cls(root, 0.0)
