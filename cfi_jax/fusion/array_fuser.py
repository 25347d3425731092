"""Fusing of images as users hold them: what the fusers of all systems have in common."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfi_jax.fusion import arrays, inputs, masks
from cfi_jax.fusion.inputs import Prepared
from cfi_jax.fusion.types import MODALITIES, Fusion, Masks, Pair
from cfi_jax.images.given import to_array


@dataclasses.dataclass(frozen=True)
class Task:
  """Pairs that are ready to be fused, and the options of their fusing.

  visibles: [H, W, C] each, C = 1, 3 or 4. infrareds: [H, W, 1] of the same sizes. Both are uint8,
    uint16 or floating point in [0, 1]. gray, memory_mb: see `ArrayFuser.fuse`.
  valid: for each pair where its images have values, bool [H, W, 1]; None: both everywhere, which it
    is for all pairs of a fuser without `takes_valid`.
  """

  visibles: Sequence[np.ndarray]
  infrareds: Sequence[np.ndarray]
  gray: bool
  memory_mb: float | None
  valid: Sequence[Pair | None]


class ArrayFuser(abc.ABC):
  """The methods `fuse` and `fuse_pairs` of a `Fuser`, which computes on a `Task`."""

  @property
  def takes_valid(self) -> bool:
    """Whether pixels without a value are left out (`Task.valid`); else they are refused."""
    return False

  def fuse(
    self,
    visible: Any,
    infrared: Any,
    *,
    gray: bool = False,
    return_details: bool = False,
    memory_mb: float | None = None,
    normalize: str | Mapping[str, str] = "auto",
    infrared_palette: str = "",
    valid: Masks | None = None,
  ) -> np.ndarray | tuple[np.ndarray, Fusion]:
    """Fuses one pair, or a batch of equal sizes; the result has the form and dtype of `visible`.

    visible, infrared: [H, W], [H, W, C] or [B, H, W, C] with C = 1, 3 (RGB) or 4 (RGBA), or
      [B, H, W]; H, W >= 8; integers or floating point, whose values are taken by `normalize`. Any
      array, list, pillow image or path of a file (`images.given.to_array`). The result, a NumPy
      array, has the alpha and the scale of `visible`; of `infrared` only the luma counts.
    gray: the result is the fused luma alone, in one channel where `visible` has channels.
    return_details: also returns the `Fusion` of the luma, [B, H, W, 1] and so on.
    memory_mb: memory for the computation per device; None: as the class says.
    normalize: which values mean 0 and 1, a rule of `images.ranges` for both or by modality.
    infrared_palette: of a false-coloured infrared image, whose colours become values again.
    valid: a `Pair` of masks, or masks by modality as in {"infrared": mask}, of one image, of each
      of a batch or one for all of it: arrays, pictures or paths, 0 or false where the image has no
      value beside those that are NaN, infinite, masked (`numpy.ma`) or of alpha 0. What stands
      there matters nowhere. Where one image has no value the result is made of the other, opaque
      where `visible` has alpha; see the class. Pixels without a value are refused unless
      `takes_valid`, and so is an image of nothing else.
    """
    given = {
      name: to_array(image, name)
      for name, image in zip(MODALITIES, (visible, infrared), strict=True)
    }
    visibles, infrareds = (list(arrays.as_batch(image, name)) for name, image in given.items())
    of_pairs = masks.split(valid, len(visibles))
    prepared, task = self._accept(
      visibles, infrareds, of_pairs, normalize, infrared_palette, gray, memory_mb
    )
    if return_details:
      pictures, details = self._fuse_with_details(task)
    else:
      pictures, details = self._fuse_ready(task), None
    restored = [p.restore(f, gray) for p, f in zip(prepared, pictures, strict=True)]
    fused = arrays.in_form(restored, given["visible"])
    return fused if details is None else (fused, details)

  def fuse_pairs(
    self,
    visibles: Sequence[Any],
    infrareds: Sequence[Any],
    *,
    gray: bool = False,
    memory_mb: float | None = None,
    normalize: str | Mapping[str, str] = "auto",
    infrared_palette: str = "",
    valid: Sequence[Masks | None] | None = None,
  ) -> list[np.ndarray]:
    """Fuses pairs of single images whose sizes may differ; the results are [H, W, C]; see `fuse`.

    Pairs that share a program are computed at once, divided among the devices. valid: one entry per
    pair.
    """
    visibles, infrareds = (
      [arrays.as_image(to_array(image, name), name) for image in images]
      for images, name in ((visibles, "visible"), (infrareds, "infrared"))
    )
    of_pairs = [None] * len(visibles) if valid is None else list(valid)
    prepared, task = self._accept(
      visibles, infrareds, of_pairs, normalize, infrared_palette, gray, memory_mb
    )
    pictures = self._fuse_ready(task)
    return [p.restore(f, gray) for p, f in zip(prepared, pictures, strict=True)]

  def _accept(
    self,
    visibles: Sequence[np.ndarray],
    infrareds: Sequence[np.ndarray],
    valid: Sequence[Masks | None],
    normalize: str | Mapping[str, str],
    infrared_palette: str,
    gray: bool,
    memory_mb: float | None,
  ) -> tuple[list[Prepared], Task]:
    """The visible images [H, W, C] made ready, and the task of fusing the pairs."""
    self._check(visibles, infrareds)
    visibles, infrareds = (
      masks.apply(images, valid, name)
      for images, name in zip((visibles, infrareds), MODALITIES, strict=True)
    )
    first, second = inputs.accept(visibles, infrareds, normalize, infrared_palette)
    pairs = list(zip(first, second, strict=True))
    if not self.takes_valid:
      for i, pair in enumerate(pairs, 1):
        number = f" {i} of {len(pairs)}" if len(pairs) > 1 else ""
        for image, name in zip(pair, MODALITIES, strict=True):
          masks.require_values(image.valid, name + number)
    of_pairs = [masks.of_pair(*pair) for pair in pairs]
    plain = ([image.plain for image in images] for images in (first, second))
    return first, Task(*plain, gray, memory_mb, of_pairs)

  def _check(self, visibles: Sequence[np.ndarray], infrareds: Sequence[np.ndarray]) -> None:
    """Raises InputError for images [H, W, C] that are no pairs, or that no network here takes."""
    arrays.require_pairs(visibles, infrareds)

  @abc.abstractmethod
  def _fuse_ready(self, task: Task) -> list[np.ndarray]:
    """Fuses the pairs; the results are as the visible images, or their luma where `gray`."""

  @abc.abstractmethod
  def _fuse_with_details(self, task: Task) -> tuple[list[np.ndarray], Fusion]:
    """Fuses pairs of one size, as `_fuse_ready` does, and gives the details."""
