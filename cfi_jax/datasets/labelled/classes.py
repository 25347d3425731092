"""Classes of labelled data sets: their order, their colours, and how files number them."""

import dataclasses
from typing import BinaryIO

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.images.read import decode_classes

IGNORED = 255  # the label of pixels that are not judged, once a file is read
_LEAST_SITES = 32  # borders between classes, fewer of which prove nothing
_INTERPOLATED = (
  0.5  # share of borders that pass through classes between both: no accident from here
)


@dataclasses.dataclass(frozen=True)
class Classes:
  """The classes of a data set in their order; a label, once read, is an index into `names`.

  colours: RGB of each, as label images in colours have them and as pictures show them.
  first: the number of class 0 in the files. ignored: numbers in the files that are not judged.
  """

  names: tuple[str, ...]
  colours: tuple[tuple[int, int, int], ...]
  first: int = 0
  ignored: tuple[int, ...] = (IGNORED,)

  def __post_init__(self):
    """Raises InputError for no class, names or colours given twice, and colours that lack."""
    if not 1 <= len(self.names) < IGNORED:
      raise InputError(f"there are {len(self.names)} classes; allowed: 1 to {IGNORED - 1}")
    if len(self.colours) != len(self.names):
      raise InputError(
        f"{len(self.names)} classes have {len(self.colours)} colours; allowed: each one"
      )
    for what, values in (("class", self.names), ("colour", self.colours)):
      twice = [v for i, v in enumerate(values) if v in values[:i]]
      if twice:
        raise InputError(f"the {what} {twice[0]!r} is given twice")
    inside = sorted(set(self.ignored) & set(range(self.first, self.first + len(self.names))))
    if inside:
      raise InputError(f"the ignored labels {inside} are classes; allowed: other numbers")

  @property
  def described(self) -> str:
    """The numbers that files may have, in words."""
    last = self.first + len(self.names) - 1
    more = f", and {', '.join(map(str, self.ignored))} for what is ignored" if self.ignored else ""
    return f"{self.first} to {last}{more}"

  def number(self, name: str) -> int:
    """The index of a class by its name, whatever its capitals; InputError lists the classes."""
    found = [i for i, own in enumerate(self.names) if own.lower() == name.strip().lower()]
    if not found:
      raise InputError(f"no class {name!r}; valid: {', '.join(self.names)}")
    return found[0]

  def read(self, file: BinaryIO, label: str) -> np.ndarray:
    """Reads a label image to uint8 [H, W, 1]: classes by their index, `IGNORED` elsewhere.

    Of a palette the indices count; of equal channels one, where all are classes; other RGB is
    looked up in `colours`.
    Raises InputError, with the label of the file, for numbers and colours that are no class.
    """
    image = decode_classes(file, label)
    coloured = image.shape[-1] >= 3
    if coloured and (image[..., :1] != image[..., :3]).any():
      return self._of_colours(image[..., :3], label)
    numbers = image[..., :1].astype(np.int64)
    if image.dtype.kind == "f" and (numbers != image[..., :1]).any():
      raise InputError(f"{label}: labels are {image.dtype}; allowed: whole numbers")
    indices = numbers - self.first
    ignored = np.isin(numbers, self.ignored)
    wrong = ~ignored & ((indices < 0) | (indices >= len(self.names)))
    if wrong.any() and coloured:  # colours may be grey, too
      return self._of_colours(image[..., :3], label)
    if wrong.any():
      found = np.unique(numbers[wrong])
      more = f" and {len(found) - 5} more" if len(found) > 5 else ""
      raise InputError(
        f"{label}: {int(wrong.sum())} pixels have the labels {found[:5].tolist()}{more}; allowed: "
        f"{self.described}"
      )
    return np.where(ignored, IGNORED, indices).astype(np.uint8)

  def _of_colours(self, image: np.ndarray, label: str) -> np.ndarray:
    codes = image.astype(np.int64) @ np.array([65536, 256, 1])
    known = np.array(self.colours) @ np.array([65536, 256, 1])
    order = np.argsort(known)
    places = np.minimum(np.searchsorted(known[order], codes), len(known) - 1)
    found = order[places]
    wrong = known[found] != codes
    if wrong.any():
      raise InputError(
        f"{label}: {int(wrong.sum())} pixels have a colour of no class, such as "
        f"{image[wrong][0].tolist()}; allowed: numbers ({self.described}), or the colours of the "
        "classes"
      )
    return found.astype(np.uint8)[..., None]

  @property
  def palette(self) -> np.ndarray:
    """Colours by label, uint8 [256, 3]; white where none is a class, as where it is ignored."""
    table = np.full((256, 3), 255, np.uint8)
    table[: len(self.names)] = self.colours
    return table


def looks_interpolated(labels: np.ndarray) -> bool:
  """Whether labels [H, W, 1] were resized like a picture, which invents classes along borders.

  Between areas of the classes a and b interpolation leaves one to three pixels whose numbers rise
  or fall from a to b; drawn labels have such a passage by accident only.
  """
  image = labels[..., 0].astype(np.int64)
  soft = sharp = 0
  for lines in (image, image.T):
    for between in range(4):
      steps = _passages(lines, between)
      soft, sharp = (soft + steps, sharp) if between else (soft, sharp + steps)
  return soft + sharp >= _LEAST_SITES and soft >= _INTERPOLATED * (soft + sharp)


def _passages(lines: np.ndarray, between: int) -> int:
  """Number of places a, a, m_1, ..., m_between, b, b along the last axis with a, m, b in order."""
  window = between + 4
  if lines.shape[1] < window or not len(lines):
    return 0
  parts = np.lib.stride_tricks.sliding_window_view(lines, window, axis=1)
  level = (parts[..., 0] == parts[..., 1]) & (parts[..., -2] == parts[..., -1])
  known = (parts != IGNORED).all(-1)
  steps = np.diff(parts[..., 1:-1], axis=-1)
  inner = parts[..., 2:-2]
  ends = parts[..., 1:2], parts[..., -2:-1]
  apart = np.abs(parts[..., 1] - parts[..., -2]) > 1
  ordered = (steps >= 0).all(-1) | (steps <= 0).all(-1)
  strictly = ((inner != ends[0]) & (inner != ends[1])).all(-1)
  return int((level & known & apart & ordered & strictly).sum())


def spread(count: int) -> tuple[tuple[int, int, int], ...]:
  """Distinct colours for classes that have none of their own; the first is black.

  Bits of the index go to the three channels in turn, as in the palette of PASCAL VOC.
  """
  colours = []
  for index in range(count):
    channels = [0, 0, 0]
    for bit in range(8):
      channels[bit % 3] |= (index >> bit & 1) << (7 - bit // 3)
    colours.append(tuple(channels))
  return tuple(colours)


_STREET = ("unlabelled", "car", "person", "bike", "curve", "car stop", "guardrail", "colour cone")
# Order and colours of MFNet (Ha et al. 2017), which MSRS took over.
MFNET = Classes(
  (*_STREET, "bump"),
  (
    *((0, 0, 0), (64, 0, 128), (64, 64, 0), (0, 128, 192), (0, 0, 192), (128, 128, 0)),
    *((64, 64, 128), (192, 128, 128), (192, 64, 0)),
  ),
)
# Order of PST900 (Shivakumar et al. 2020); the colours are ours. Nothing is ignored: in colours 255
# is a survivor.
PST900 = Classes(
  ("background", "fire extinguisher", "backpack", "hand drill", "survivor"),
  ((0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 255)),
  ignored=(),
)
# Order and colours of FMB (Liu et al. 2023).
FMB = Classes(
  (
    *("background", "road", "sidewalk", "building", "lamp", "sign", "vegetation", "sky", "person"),
    *("car", "truck", "bus", "motorcycle", "bicycle", "pole"),
  ),
  (
    *((0, 0, 0), (228, 228, 179), (133, 57, 181), (177, 162, 67), (50, 178, 200), (199, 45, 132)),
    *((84, 172, 66), (79, 73, 179), (166, 99, 76), (253, 121, 66), (91, 165, 137)),
    *((152, 97, 155), (140, 153, 105), (158, 215, 222), (90, 113, 135)),
  ),
)
_ROOM = (
  *("wall", "floor", "cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf"),
  *("picture", "counter", "blinds", "desk", "shelves", "curtain", "dresser", "pillow", "mirror"),
  *("floor mat", "clothes", "ceiling", "books", "refrigerator", "television", "paper", "towel"),
  *("shower curtain", "box", "whiteboard", "person", "night stand", "toilet", "sink", "lamp"),
  *("bathtub", "bag", "other structure", "other furniture", "other prop"),
)
# The 40 classes of Gupta et al. 2013, numbered from 1; 0 is unlabelled. The colours are ours.
NYU40 = Classes(_ROOM, spread(len(_ROOM) + 1)[1:], first=1, ignored=(0, IGNORED))
# Names of M3FD's XML files; the order is that of its authors' code (TarDAL). The colours are ours.
M3FD = Classes(("People", "Car", "Bus", "Motorcycle", "Lamp", "Truck"), spread(7)[1:])
LLVIP = Classes(("person",), spread(2)[1:])
