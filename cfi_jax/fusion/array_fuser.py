"""Fusing of images as users hold them: what the fusers of all systems have in common."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfi_jax.fusion import arrays, inputs
from cfi_jax.fusion.types import Fusion


@dataclasses.dataclass(frozen=True)
class Task:
  """Pairs that are ready to be fused, and the options of their fusing.

  visibles: [H, W, C] each, C = 1, 3 or 4. infrareds: [H, W, 1] of the same sizes. Both are uint8,
    uint16 or floating point in [0, 1]. gray, memory_mb: see `ArrayFuser.fuse`.
  """

  visibles: Sequence[np.ndarray]
  infrareds: Sequence[np.ndarray]
  gray: bool
  memory_mb: float | None


class ArrayFuser(abc.ABC):
  """The methods `fuse` and `fuse_pairs` of a `Fuser`, which computes on a `Task`."""

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
  ) -> np.ndarray | tuple[np.ndarray, Fusion]:
    """Fuses one pair, or a batch of equal sizes; the result has the form and dtype of `visible`.

    visible, infrared: [H, W], [H, W, C] or [B, H, W, C] with C = 1, 3 (RGB) or 4 (RGBA), or
      [B, H, W]; H, W >= 8; integers or floating point, whose values are taken by `normalize`. Any
      array, list, pillow image or path of a file (`inputs.to_array`). The result, a NumPy array,
      has the alpha and the scale of `visible`; of `infrared` only the luma counts.
    gray: the result is the fused luma alone, in one channel where `visible` has channels.
    return_details: also returns the `Fusion` of the luma, [B, H, W, 1] and so on.
    memory_mb: memory for the computation per device; None: as the class says.
    normalize: which values mean 0 and 1, a rule of `images.ranges` for both or by modality.
    infrared_palette: of a false-coloured infrared image, whose colours become values again.
    """
    visible, infrared = (
      inputs.to_array(image, name) for image, name in ((visible, "visible"), (infrared, "infrared"))
    )
    visibles, infrareds = (
      list(arrays.as_batch(image, name))
      for image, name in ((visible, "visible"), (infrared, "infrared"))
    )
    self._check(visibles, infrareds)
    prepared, lumas = inputs.accept(visibles, infrareds, normalize, infrared_palette)
    task = Task([image.plain for image in prepared], lumas, gray, memory_mb)
    if return_details:
      pictures, details = self._fuse_with_details(task)
    else:
      pictures, details = self._fuse_ready(task), None
    restored = [p.restore(f, gray) for p, f in zip(prepared, pictures, strict=True)]
    fused = arrays.in_form(restored, visible)
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
  ) -> list[np.ndarray]:
    """Fuses pairs of single images whose sizes may differ; the results are [H, W, C]; see `fuse`.

    Pairs that share a program are computed at once, divided among the devices.
    """
    visibles, infrareds = (
      [arrays.as_image(inputs.to_array(image, name), name) for image in images]
      for images, name in ((visibles, "visible"), (infrareds, "infrared"))
    )
    self._check(visibles, infrareds)
    prepared, lumas = inputs.accept(visibles, infrareds, normalize, infrared_palette)
    task = Task([image.plain for image in prepared], lumas, gray, memory_mb)
    pictures = self._fuse_ready(task)
    return [p.restore(f, gray) for p, f in zip(prepared, pictures, strict=True)]

  def _check(self, visibles: Sequence[np.ndarray], infrareds: Sequence[np.ndarray]) -> None:
    """Raises InputError for images [H, W, C] that are no pairs, or that no network here takes."""
    arrays.require_pairs(visibles, infrareds)

  @abc.abstractmethod
  def _fuse_ready(self, task: Task) -> list[np.ndarray]:
    """Fuses the pairs; the results are as the visible images, or their luma where `gray`."""

  @abc.abstractmethod
  def _fuse_with_details(self, task: Task) -> tuple[list[np.ndarray], Fusion]:
    """Fuses pairs of one size, as `_fuse_ready` does, and gives the details."""
