"""Pairs that are aligned before they are fused: the infrared image comes to the visible grid."""

import dataclasses

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.fusion.inputs import Prepared
from cfi_jax.images import ranges
from cfi_jax.images import read as images
from cfi_jax.registration.pairs import find
from cfi_jax.registration.rig import ADVICE, Rig, load

AUTO = "auto"


@dataclasses.dataclass
class Aligner:
  """Brings infrared images to the grid of the visible ones.

  rig: of all pairs; None aligns each by itself. shares: of each pair so far, how much of the
  visible picture the infrared camera saw.
  """

  rig: Rig | None = None
  shares: list[float] = dataclasses.field(default_factory=list)

  def bring(self, visible: Prepared, infrared: Prepared) -> tuple[Prepared, np.ndarray]:
    """The infrared image on the visible grid, and a mask [H, W] of where it has values.

    Its range was found in the whole frame, and its palette undone, before. Raises InputError for
    sizes that are not the rig's, and for a pair whose own alignment cannot be believed.
    """
    rig = self.rig
    if rig is None:
      rig = find([visible.plain], [infrared.plain])
      if not rig.confidence.holds:
        raise InputError(f"cannot be aligned by itself: {rig.confidence.describe()}; {_ADVICE}")
    for name, image in (("visible", visible), ("infrared", infrared)):
      rig.require(name, image.stored.shape[:2], f"the {name} image")
    (plain, mask), valid = rig.warp(infrared.plain), None
    if infrared.valid is not None:
      mask = rig.warp(np.where(infrared.valid, np.float32(0), np.float32(np.nan)))[1]
      valid = mask[..., None]  # beyond a border its values are continued, but not in a hole
    self.shares.append(float(mask.mean()))
    return dataclasses.replace(infrared, plain=plain, valid=valid), mask

  def describe(self) -> str:
    """One line on the pairs so far."""
    ends = [f"{100 * share:.1f} %" for share in (min(self.shares), max(self.shares))]
    seen = ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"
    by = "each pair by itself" if self.rig is None else "by the rig"
    if self.rig is not None and self.rig.confidence.accepted:
      by += ", which was saved by --accept though it could not be believed"
    return (
      f"aligned {by}: the infrared camera saw {seen} of the visible picture; elsewhere the result "
      "is the visible image"
    )


_ADVICE = (
  "python -m cfi_jax.align with several pairs of the same rig is surer: " + ADVICE.split(";")[0]
)


def parse(text: str, resize: str) -> Aligner | None:
  """The aligner of --align: a file of a rig or "auto"; None for ""."""
  if not text:
    return None
  if resize:
    raise InputError(f"--align={text} and --resize={resize} are given; allowed: one of them")
  return Aligner() if text == AUTO else Aligner(load(text))


def compose(
  fused: np.ndarray, visible: Prepared, mask: np.ndarray, gray: bool, dtype: np.dtype
) -> np.ndarray:
  """The fused image [H, W, C] where the mask [H, W] says so, elsewhere the visible one as it is.

  fused: in the type `dtype` of what is written, of one channel where `gray`.
  """
  return np.where(mask[..., None], fused, _unfused(visible, gray, dtype))


def _unfused(visible: Prepared, gray: bool, dtype: np.dtype) -> np.ndarray:
  """The visible image in the type of the result: its own values, where that is its own type."""
  stored = images.luma(visible.stored) if gray else visible.stored
  if dtype == stored.dtype:
    return stored
  if dtype.kind != "u":
    return ranges.to_type(stored, dtype)
  colours = visible.range.to_unit(stored[..., :3], np.dtype(np.float64)) * ranges.largest(dtype)
  alpha = stored[..., 3:] * (ranges.largest(dtype) / ranges.largest(stored.dtype))
  return ranges.to_type(np.concatenate([colours, alpha], -1), dtype)
