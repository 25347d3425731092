"""Fusers and networks that restore degraded images, whatever their system, and how they are judged.

A model restores where it has `restore_pair`, or `restore` for the visible image alone; one that
restores and fuses at once may have `fuse_and_restore`.
"""

import os
from typing import Any

import numpy as np

from cfi_jax.fusion import rule_options
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.files import load_any, load_fuser

METRICS, CONVENTION = ("PSNR", "SSIM"), "strict"  # of the visible image, against the clean one
NOTHING = "degraded"  # in tables of restoration: the visible image as it is


def load(path: str | os.PathLike) -> Any:
  """Inference with weights of any kind or by a rule; raises InputError as `systems.files` does."""
  return load_fuser(path) if rule_options.is_rule(path) else load_any(path)


def restores(model: Any) -> bool:
  """Whether a model restores images."""
  return hasattr(model, "restore_pair") or hasattr(model, "restore")


def restore(model: Any, given: Pair) -> Pair:
  """The pair restored, of the types and sizes of `given`; what a model leaves is as given."""
  if hasattr(model, "restore_pair"):
    return Pair(*model.restore_pair(given.visible, given.infrared))
  return Pair(model.restore(given.visible), given.infrared)


def fuse_and_restore(model: Any, given: Pair) -> tuple[np.ndarray | None, Pair | None]:
  """The fused luma [H, W, 1] of a pair and the pair restored; None for what a model does not do."""
  if hasattr(model, "fuse_and_restore"):
    fused, *restored = model.fuse_and_restore(given.visible, given.infrared)
    return fused, Pair(*restored)
  fuses, restored = isinstance(model, Fuser), restore(model, given) if restores(model) else None
  return model.fuse(given.visible, given.infrared, gray=True) if fuses else None, restored
