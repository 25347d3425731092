"""Pseudo ground truth by a fusion model: clean pairs with their fusion beside them."""

import dataclasses
import threading
from typing import ClassVar

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.data.source import Derived, Source, rgb
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.rule_options import WaveletOptions
from cfi_jax.images.read import Header
from cfi_jax.systems import files

_LOCK = threading.Lock()  # a fusion takes all cores; threads that read would take memory for more


@dataclasses.dataclass(frozen=True)
class PseudoOptions(WaveletOptions):
  """The fusion of clean images that counts as truth where a data set brings none.

  weights: name or file of a fusion model, or a rule, whose picture has the chroma of the clean one
    of the visible images. "" is the rule "wavelet" with the other fields as its options.
  """

  PLACE: ClassVar[str] = "pseudo."

  weights: str


@dataclasses.dataclass(frozen=True)
class WithFusion(Derived):
  """The samples of a `Source` of pairs with the image "pseudo", their fusion as RGB.

  A sample is fused whenever it is read: once where images stay on the devices, else once per epoch.
  fuser: of the images, which are taken by `normalize`. teacher: SHA-256 of its weights, part of the
    fingerprint.
  """

  fuser: Fuser
  normalize: str
  teacher: str

  def __getitem__(self, index: int) -> dict[str, np.ndarray]:
    """Returns the images of a sample with their fusion."""
    images = self.source[index]
    with _LOCK:
      fused = self.fuser.fuse(rgb(images["visible"]), images["infrared"], normalize=self.normalize)
    return images | {"pseudo": fused}

  def coloured(self, names: tuple[str, ...]) -> "WithFusion":
    """Returns the same samples with those images of `names` as RGB."""
    return dataclasses.replace(self, source=self.source.coloured(names))

  def check_headers(self) -> tuple[dict[str, Header], ...]:
    """Returns size, depth and channels of every image; raises InputError as the source does."""
    return tuple(
      headers | {"pseudo": dataclasses.replace(headers["visible"], channels=3)}
      for headers in self.source.check_headers()
    )

  def fingerprint(self) -> str:
    """Returns a text that identifies the samples and the teacher."""
    return f"{self.source.fingerprint()} {self.teacher}"

  def formerly(self) -> str:
    """Returns the fingerprint, which no version made otherwise."""
    return self.fingerprint()


def with_fusion(source: Source, options: PseudoOptions, normalize: str) -> Source:
  """The source with pseudo ground truth by `options.weights`; as it is where that is "".

  normalize: which values mean 0 and 1 (`images.ranges`). Raises InputError for weights that cannot
  be read or do not fuse, and for a source that has pseudo ground truth of its own.
  """
  if not options.weights:
    return source
  if len(source) and "pseudo" in source[0]:
    raise InputError(
      f"config.pseudo.weights is {options.weights!r}, but {source.title} has pseudo ground truth "
      "of its own; allowed: '', or a data set of clean pairs"
    )
  fuser = files.load_fuser(options.weights)
  return WithFusion(source, fuser, normalize, files.digest(options.weights))
