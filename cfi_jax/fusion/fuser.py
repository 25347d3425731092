"""The protocol of a fusing model: all that the commands `fuse` and `evaluate` ask of one.

A system's `load` returns one; `cfi_jax.systems.isfuse.inference.Model` is an example.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from cfi_jax.fusion.types import Fusion, Masks

Size = tuple[int, int]  # height, width


@runtime_checkable
class Fuser(Protocol):
  """Fuses visible and infrared images of any size with one set of weights.

  `images.given.to_array` and `inputs.accept` turn what users give into uint8, uint16 or floating
  point in [0, 1], and `Prepared.restore` turns the result back.
  """

  @property
  def devices(self) -> Sequence[jax.Device]:
    """The devices that share the work; as many pairs are computed at once."""

  @property
  def takes_valid(self) -> bool:
    """Whether pixels without a value are left out; a fuser that cannot refuses them."""

  def reserve(self, sizes: Iterable[Size], *, memory_mb: float | None = None) -> None:
    """Plans few compiled programs for the images to come, one entry of `sizes` per image."""

  def bucket(self, size: Size) -> Size:
    """The shape that an image of `size` is computed in; images of one bucket share a program."""

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
    """Fuses one pair, or a batch of equal sizes, to the form and dtype of `visible`.

    visible, infrared: [H, W], [H, W, C], [B, H, W] or [B, H, W, C] with C = 1, 3 or 4.
    gray: the result is the fused luma alone; else it has colours where `visible` has, those of
      `visible` or, where a system fuses in colour, its own.
    return_details: the `Fusion` of the luma is returned, too.
    memory_mb: memory for the computation per device; None leaves it to the fuser.
    normalize: which values mean 0 and 1 (`images.ranges`). infrared_palette: of false colours.
    valid: masks by modality, bool or numbers [H, W], or [B, H, W] for a batch, false or 0 where the
      image has no value, beside what it says itself (`images.validity`). Where one image has none
      the result is made of the other.
    """

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
    """Fuses pairs [H, W, C] whose sizes may differ; valid: of every pair; see `fuse`."""
