"""Labelled visible and infrared (or depth) data sets, in the layouts that their users have."""

import dataclasses
import os
from collections.abc import Mapping
from typing import ClassVar

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import File, Listing, Record, Store, files_in, is_folder, shorten
from cfi_jax.data.matching import match_folders
from cfi_jax.datasets import lists as lists_lib
from cfi_jax.datasets.files import Examined, FileDataset
from cfi_jax.datasets.labelled import classes as classes_lib
from cfi_jax.datasets.labelled.boxes import EXTENSIONS
from cfi_jax.datasets.labelled.classes import Classes
from cfi_jax.datasets.labelled.source import BOXES, TRUTH, LabelledSource
from cfi_jax.datasets.labelled.stores import PackedStore
from cfi_jax.datasets.labelled.stores import part as part_of

ORDER_FILE = "classes.txt"  # beside text files of boxes: names of the classes by their number


class LabelledDataset(FileDataset):
  """Two images with the truth about them; classes: in their order."""

  classes: ClassVar[Classes]
  preparable = False
  annotations = TRUTH

  @property
  def slots(self) -> int:
    """The greatest number of boxes of an image; 0 without boxes."""
    return 0

  @property
  def numbering(self) -> tuple[int, ...]:
    """Class by its number in text files; () for their order."""
    return ()

  def open(self, title: str, records: tuple[Record, ...]) -> LabelledSource:
    """Opens records of the data set as a source."""
    return LabelledSource(
      title, self.store, records, folders=self.chosen, classes=self.classes, slots=self.slots,
      numbering=self.numbering,
    )  # fmt: skip

  @property
  def known_classes(self) -> tuple[str, ...]:
    """Names of the classes."""
    return self.classes.names

  def examine(self, record: Record) -> Examined:
    """Reads labels and boxes of a record."""
    return self.open(self.title, (record,)).examine(record)


class MsrsLabels(LabelledDataset):
  """MSRS with its labels, {train,test}/{vi,ir,Segmentation_labels}/NAME.png, 9 classes."""

  name = "msrs_labels"
  layout = {
    "visible": "{part}/vi", "infrared": "{part}/ir", "labels": "{part}/Segmentation_labels"
  }  # fmt: skip
  classes = classes_lib.MFNET


class Pst900(LabelledDataset):
  """PST900, {train,test}/{rgb,thermal,labels}/NAME.png, 5 classes."""

  name = "pst900"
  layout = {"visible": "{part}/rgb", "infrared": "{part}/thermal", "labels": "{part}/labels"}
  classes = classes_lib.PST900


class Fmb(LabelledDataset):
  """FMB, {train,test}/{Visible,Infrared,Label}/NAME.png, 15 classes with the background."""

  name = "fmb"
  layout = {"visible": "{part}/Visible", "infrared": "{part}/Infrared", "labels": "{part}/Label"}
  classes = classes_lib.FMB


class ListedDataset(LabelledDataset):
  """A data set whose parts are lists of names in its root."""

  lists: ClassVar[Mapping[str, str]]  # part -> stem of its list

  def listing(self, part: str) -> Listing:
    """Lists the records that the list of a part names; files of no list are strays."""
    names = {
      stem: lists_lib.read_names(
        storage.path(self.directory, f"{stem}.txt"),
        self.title,
        list(self.lists.values()),
      )
      for stem in self.lists.values()
    }
    return lists_lib.select(self.whole(), self.lists[part], names)

  def whole(self) -> Listing:
    """Lists all records."""
    return match_folders(self.directory, self.layout)


class Mfnet(ListedDataset):
  """MFNet, 9 classes, with its lists train.txt, val.txt and test.txt.

  Either images/NAME.png of four channels, RGB and thermal, with labels/NAME.png, as shipped; or
  RGB/, Thermal/ and Label/. validation_fraction must be 0: val.txt is held out.
  """

  name = "mfnet"
  layout = {"visible": "RGB", "infrared": "Thermal", "labels": "Label"}
  parts = ("train", "validation", "test")
  lists = {"train": "train", "validation": "val", "test": "test"}
  classes = classes_lib.MFNET

  def __post_init__(self):
    """Raises InputError for a validation fraction."""
    if self.validation_fraction != 0:
      raise InputError(
        f"MFNet has val.txt: validation_fraction={self.validation_fraction} must be 0"
      )

  @property
  def store(self) -> Store:
    """Opens the files of the listings, and the two images in those of four channels."""
    return PackedStore(self.directory)

  def needs(self, split: str) -> tuple[str, ...]:
    """Names the shipped part that a split is."""
    return (split,)

  def whole(self) -> Listing:
    """Lists all records, in either layout."""
    if not is_folder(storage.join(self.directory, "images")):
      return super().whole()
    found = match_folders(self.directory, {"visible": "images", "labels": "labels"})
    records = []
    for record in found.records:
      packed = record.files["visible"]
      parts = {n: File(part_of(packed.path, n), packed.bytes) for n in ("visible", "infrared")}
      records.append(Record(record.name, parts | {"labels": record.files["labels"]}))
    return Listing(tuple(records), found.problems, found.strays)


class Nyudv2(ListedDataset):
  """NYUDv2 with 40 classes as RGB and depth, {RGB,Depth,Label}/NAME, train.txt and test.txt.

  Depth takes the place of the infrared image; files of 16 bits in millimetres are read with
  input.normalize="infrared:window=0:10000". Labels are 1 to 40, and 0 is ignored.
  """

  name = "nyudv2"
  layout = {"visible": "RGB", "infrared": "Depth", "labels": "Label"}
  lists = {"train": "train", "test": "test"}
  classes = classes_lib.NYU40


@dataclasses.dataclass(frozen=True)
class BoxDataset(LabelledDataset):
  """A data set with boxes: an annotation NAME.xml (PASCAL VOC) or NAME.txt (YOLO) per image.

  A file classes.txt beside text files names their classes in order; without it the order is that of
  `classes`. most_boxes: the greatest number of boxes of an image.
  """

  most_boxes: int

  folders: ClassVar[tuple[str, ...]]  # of annotations, the first that is there is read

  def __post_init__(self):
    """Raises InputError for a number of boxes that cannot be."""
    super().__post_init__()
    if not 1 <= self.most_boxes <= 1024:
      raise InputError(f"most_boxes is {self.most_boxes}; allowed: 1 to 1024")

  @property
  def slots(self) -> int:
    """The greatest number of boxes of an image."""
    return self.most_boxes

  @property
  def numbering(self) -> tuple[int, ...]:
    """Class by its number in text files, by classes.txt; () without one."""
    return numbering(storage.join(self.directory, self.annotation_folder()), self.classes)

  def annotation_folder(self) -> str:
    """The folder of annotations below the root, the first of `folders` where none is there."""
    there = (f for f in self.folders if is_folder(storage.join(self.directory, f)))
    return next(there, self.folders[0])

  def listing(self, part: str) -> Listing:
    """Lists the images of a part with their annotations."""
    return add_boxes(super().listing(part), self.directory, self.annotation_folder())


class M3fdBoxes(BoxDataset):
  """M3FD with its boxes, Vis/, Ir/ and Annotation/NAME.xml or labels/NAME.txt, 6 classes."""

  name = "m3fd_boxes"
  layout = {"visible": "Vis", "infrared": "Ir"}
  parts = ("train",)
  folders = ("Annotation", "Annotations", "labels", "Labels")
  classes = classes_lib.M3FD


class LlvipBoxes(BoxDataset):
  """LLVIP with its boxes, {visible,infrared}/{train,test}/, Annotations/NAME.xml; persons."""

  name = "llvip_boxes"
  layout = {"visible": "visible/{part}", "infrared": "infrared/{part}"}
  folders = ("Annotations", "Annotation", "labels")
  classes = classes_lib.LLVIP


@dataclasses.dataclass(frozen=True)
class LabelledFolder(LabelledDataset):
  """Any folders of equal names: two of images, one of label images, one of boxes.

  All records are for training, less those held out. visible, infrared, labels, boxes: the folders,
  below `root` or absolute; labels or boxes may be "", not both. class_names: in their order.
  first_label: number of the first class in label images. ignored_labels: those that are not judged.
  most_boxes: as in `BoxDataset`.
  """

  visible: str
  infrared: str
  labels: str
  boxes: str
  class_names: tuple[str, ...]
  first_label: int
  ignored_labels: tuple[int, ...]
  most_boxes: int

  name = "labelled_folder"
  parts = ("train",)

  def __post_init__(self):
    """Raises InputError for classes that cannot be, and where there is no truth at all."""
    super().__post_init__()
    _ = self.classes
    if not (self.labels or self.boxes):
      raise InputError("data.labels and data.boxes are both ''; allowed: one folder, or both")

  @property
  def classes(self) -> Classes:
    """The classes, in colours of ours."""
    names = tuple(self.class_names)
    colours = classes_lib.spread(len(names))
    return Classes(names, colours, self.first_label, tuple(self.ignored_labels))

  @property
  def chosen(self) -> Mapping[str, str]:
    """The folders."""
    folders = {"visible": self.visible, "infrared": self.infrared, "labels": self.labels}
    return {n: f for n, f in (folders | {BOXES: self.boxes}).items() if f}

  @property
  def slots(self) -> int:
    """The greatest number of boxes of an image; 0 without boxes."""
    return self.most_boxes if self.boxes else 0

  @property
  def numbering(self) -> tuple[int, ...]:
    """Class by its number in text files, by classes.txt; () without one."""
    return numbering(storage.join(self.directory, self.boxes), self.classes) if self.boxes else ()

  def listing(self, part: str) -> Listing:
    """Lists the records of the folders."""
    folders = {name: folder for name, folder in self.chosen.items() if name != BOXES}
    found = match_folders(self.directory, folders)
    return add_boxes(found, self.directory, self.boxes) if self.boxes else found


def add_boxes(listing: Listing, root: str, folder: str) -> Listing:
  """The records with their annotation files; records without one are a problem."""
  images, others = files_in(root, folder)
  del images
  found: dict[str, File] = {}
  problems, strays = list(listing.problems), []
  for file in others:
    stem, extension = os.path.splitext(os.path.relpath(file.path, folder))
    if extension.lower() not in EXTENSIONS or os.path.basename(file.path) == ORDER_FILE:
      strays += [] if os.path.basename(file.path) == ORDER_FILE else [file.path]
    elif stem in found:
      problems.append(f"two annotations of one name: {found[stem].path} and {file.path}")
    else:
      found[stem] = file
  missing = [record.name for record in listing.records if record.name not in found]
  if missing:
    problems.append(
      f"{len(missing)} of {len(listing.records)} images have no annotation in "
      f"{storage.join(root, folder)} ({' or '.join(EXTENSIONS)}; an empty text file says that "
      f"there is no object): {shorten(missing)}"
    )
  records = tuple(
    dataclasses.replace(record, files={**record.files, BOXES: found[record.name]})
    for record in listing.records
    if record.name in found
  )
  return Listing(records, tuple(problems), tuple(sorted([*listing.strays, *strays])))


def numbering(folder: str, classes: Classes) -> tuple[int, ...]:
  """Class by its number in text files, by classes.txt in their folder; () without one.

  Raises InputError for names that are no class, and for one that is there twice.
  """
  path = storage.path(folder, ORDER_FILE)
  if not path.is_file():
    return ()
  try:
    names = [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f"{path} cannot be read as text (UTF-8): {error}") from error
  try:
    found = tuple(classes.number(name) for name in names)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  twice = [classes.names[number] for i, number in enumerate(found) if number in found[:i]]
  if twice:
    raise InputError(f"{path}: the class {twice[0]!r} is given twice")
  return found
