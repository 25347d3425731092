"""Two cameras that are mounted together: their homography, warping by it, and its file."""

import dataclasses
import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.fusion import arrays
from cfi_jax.images import warp
from cfi_jax.images.given import to_filled

FORMAT, VERSION = "cfi_jax rig", 1
MARGIN = 0.2  # a single pair is believed above it,
SHARPNESS = 0.15  # and above that
RATIO = 2.0  # a rig is believed from here
ADVICE = (
  "give 3 or more pairs of the same rig, of different scenes; --mounting=any also tries a camera "
  "that is turned by 90 degrees or mirrored; --accept takes the result as it is"
)


@dataclasses.dataclass(frozen=True)
class Score:
  """The fit of a pair to the homography of all.

  ncc: correlation of the edges of both images. shift: (x, y) in visible pixels, how far the
  infrared image would have to move for its own best place within 8 % of the width.
  """

  name: str
  ncc: float
  shift: tuple[float, float]


@dataclasses.dataclass(frozen=True)
class Confidence:
  """Why a homography is believed or not.

  margin: by how much the best place beats the best other one, a share of its score. sharpness:
  the share of the correlation that is lost by a shift of 3 to 8 % of the width. ratio: correlation
  of the pairs over that of exchanged pairs; None for one pair and for pairs of one scene. By it a
  rig is judged, by the others what has none. accepted: by the user, whatever they say.
  """

  margin: float
  sharpness: float
  ratio: float | None = None
  accepted: bool = False

  @property
  def holds(self) -> bool:
    """Whether the homography can be believed."""
    if self.ratio is not None:
      return self.ratio >= RATIO
    return self.margin > MARGIN and self.sharpness > SHARPNESS

  def describe(self) -> str:
    """One line with the numbers and those needed."""
    if self.ratio is not None:
      return (
        f"the pairs correlate {self.ratio:.2f} times as much as exchanged ones (needed {RATIO:g})"
      )
    return (
      f"margin over the best other place {self.margin:.3f} (needed above {MARGIN:g}), sharpness "
      f"{self.sharpness:.3f} (needed above {SHARPNESS:g})"
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Rig:
  """The homography between a visible and an infrared camera.

  matrix: [3, 3], from the visible pixel (x, y, 1), of which (0, 0) is the centre of the upper left
  one, to the infrared pixel, up to a factor. visible, infrared: height and width of their images.
  """

  matrix: np.ndarray
  visible: tuple[int, int]
  infrared: tuple[int, int]
  scores: tuple[Score, ...]
  confidence: Confidence

  @property
  def share(self) -> float:
    """Share of the visible picture that the infrared camera sees."""
    return float(warp.warp(np.zeros(self.infrared, np.uint8), self.matrix, self.visible)[1].mean())

  def warp(self, infrared: Any) -> tuple[np.ndarray, np.ndarray]:
    """The infrared image on the visible image's grid, and a mask of where the camera looked.

    infrared: [H, W] or [H, W, C] of the rig's size, an array, list, pillow image or path of a file;
      NaN are pixels without a value, and masked ones become that (`images.given.to_filled`). The
      image has otherwise the form and the type of `infrared`, its values are bilinear, and beyond
      its border those at it. mask: bool [H, W]. Raises InputError for another size.
    """
    image = to_filled(infrared, "infrared")
    known = image.ndim == 2 or (image.ndim == 3 and image.shape[-1] in arrays.CHANNELS)
    if not known or image.dtype.kind not in "uif":
      raise InputError(
        f"infrared is {image.dtype} of shape {image.shape}; allowed: numbers [H, W] or [H, W, C], "
        "C = 1, 3 or 4"
      )
    self.require("infrared", image.shape[:2])
    return warp.warp(image, self.matrix, self.visible)

  def require(self, name: str, size: tuple[int, ...], label: str = "") -> None:
    """Raises InputError unless a size (height, width) is that of the "visible" or "infrared"."""
    own = getattr(self, name)
    if tuple(size) != own:
      raise InputError(
        f"{label or name} is {text(size)}; the rig was aligned with {name} images of {text(own)} "
        "(width x height)"
      )

  def save(self, path: str | os.PathLike) -> None:
    """Writes the JSON file, whole or not at all."""
    content = {
      "format": FORMAT,
      "version": VERSION,
      "matrix": self.matrix.tolist(),
      "visible": dict(zip(("height", "width"), self.visible, strict=True)),
      "infrared": dict(zip(("height", "width"), self.infrared, strict=True)),
      "pairs": [dataclasses.asdict(score) for score in self.scores],
      "confidence": dataclasses.asdict(self.confidence),
    }
    write_atomically(path, (json.dumps(content, indent=1, allow_nan=False) + "\n").encode())


def text(size: tuple[int, ...]) -> str:
  """A size (height, width) as it is said."""
  return f"{size[1]}x{size[0]}"


def load(path: str | os.PathLike) -> Rig:
  """Reads the file of `Rig.save`; raises InputError naming it and what is wrong with it."""
  try:
    content = json.loads(storage.path(path).read_text())
  except OSError as error:
    raise InputError(f"{path}: {error.strerror or error}") from error
  except ValueError as error:
    raise InputError(
      f"{path}: is no JSON, as python -m cfi_jax.align writes it: {error}"
    ) from error
  if not isinstance(content, Mapping) or content.get("format") != FORMAT:
    raise InputError(f"{path}: is no rig; python -m cfi_jax.align --save={path} makes one")
  if content.get("version") != VERSION:
    raise InputError(
      f"{path}: version is {content.get('version')!r}; allowed: {VERSION}; align the cameras anew"
    )
  try:
    return _parse(content)
  except (KeyError, TypeError, ValueError) as error:
    what = f"lacks {error}" if isinstance(error, KeyError) else str(error)
    raise InputError(f"{path}: damaged: {what}; align the cameras anew") from error


def _parse(content: Mapping[str, Any]) -> Rig:
  """The rig of a file's values; raises KeyError, TypeError or ValueError for what is none."""
  matrix = np.array(content["matrix"], np.float64)
  if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
    raise ValueError(f"matrix is {content['matrix']}; allowed: 3 rows of 3 numbers")
  if not abs(np.linalg.det(matrix)) > 1e-12:
    raise ValueError(f"matrix {content['matrix']} cannot be inverted")
  sizes = [
    tuple(content[name][side] for side in ("height", "width")) for name in ("visible", "infrared")
  ]
  for name, size in zip(("visible", "infrared"), sizes, strict=True):
    if not all(isinstance(n, int) and n > 0 for n in size):
      raise ValueError(f"{name} is {content[name]}; allowed: height and width above 0")
  scores = tuple(
    Score(str(p["name"]), float(p["ncc"]), (float(p["shift"][0]), float(p["shift"][1])))
    for p in content["pairs"]
  )
  own = content["confidence"]
  ratio = None if own["ratio"] is None else float(own["ratio"])
  confidence = Confidence(
    float(own["margin"]), float(own["sharpness"]), ratio, bool(own["accepted"])
  )
  return Rig(matrix, *sizes, scores, confidence)
