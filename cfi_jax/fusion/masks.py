"""Masks of the pixels that images have: from those that users give to those that fusers take."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.fusion import arrays, rule_options
from cfi_jax.fusion.inputs import Prepared
from cfi_jax.fusion.types import MODALITIES, Masks, Pair
from cfi_jax.images import validity
from cfi_jax.images.given import to_array


def apply(
  images: Sequence[np.ndarray], valid: Sequence[Masks | None], name: str
) -> list[np.ndarray]:
  """Images [H, W, C] of a modality, masked where they have no value (`images.validity`).

  valid: masks of each pair's images, beside what the images say themselves. Raises InputError for
  what is no mask, and for one of another size.
  """
  if len(valid) != len(images):
    raise InputError(f"valid has {len(valid)} entries; allowed: {len(images)}, one for each pair")
  masks = []
  for given in valid:
    mask = _of_modality(given, name)
    masks.append(None if mask is None else _to_mask(mask, f"valid, {name}"))
  return [validity.apply(i, m, f"valid, {name}") for i, m in zip(images, masks, strict=True)]


def split(valid: Masks | None, count: int) -> list[Masks | None]:
  """The masks of each of `count` pairs, of masks of a batch or of one for all of them."""
  if valid is None:
    return [None] * count
  found = {}
  for name in MODALITIES:
    mask = _of_modality(valid, name)
    if mask is not None:
      batch = list(arrays.as_batch(_as_numbers(mask, f"valid, {name}"), f"valid, {name}"))
      found[name] = batch * count if len(batch) == 1 else batch
      if len(found[name]) != count:
        raise InputError(f"valid, {name}: {len(batch)} masks; allowed: one, or {count}")
  return [{name: batch[i] for name, batch in found.items()} for i in range(count)]


def _of_modality(valid: Masks | None, name: str) -> Any:
  """The mask of a modality, None where there is none."""
  if isinstance(valid, Pair):
    return getattr(valid, name)
  if valid is None:
    return None
  if not isinstance(valid, Mapping) or not set(valid) <= set(MODALITIES):
    given = f"of {', '.join(map(str, valid))}" if isinstance(valid, Mapping) else repr(type(valid))
    raise InputError(
      f"valid is {given}; allowed: a Pair, or a mapping, of masks by {' and '.join(MODALITIES)}"
    )
  return valid.get(name)


def _to_mask(mask: Any, name: str) -> np.ndarray:
  return validity.of_mask(arrays.as_image(_as_numbers(mask, name), name))


def _as_numbers(mask: Any, name: str) -> np.ndarray:
  """A mask, or several, as numbers; three of them are no channels, which masks hardly have."""
  array = to_array(mask, name)
  array = array.astype(np.uint8) if array.dtype == bool else array
  return array if array.ndim != 3 or arrays.has_channels(array) else array[..., None]


def of_pair(visible: Prepared, infrared: Prepared) -> Pair | None:
  """Masks of where the images of a pair have values, bool [H, W, 1] each; None: both everywhere."""
  if visible.valid is None and infrared.valid is None:
    return None
  shape = (*visible.plain.shape[:2], 1)
  masks = (np.ones(shape, bool) if i.valid is None else i.valid for i in (visible, infrared))
  return Pair(*masks)


def require_values(valid: np.ndarray | None, label: str) -> None:
  """Raises InputError, which the label begins, where pixels have no value.

  For a `Fuser` without `takes_valid`. valid: as of `Prepared`.
  """
  if valid is not None:
    count = int(np.count_nonzero(~valid))
    raise InputError(
      f"{label}: {count} of {valid.size} pixels have no value (NaN, nodata, alpha 0 or a mask), "
      "which these weights cannot leave out: fill them first, or fuse by a rule, which can "
      f"(--weights=wavelet, cfi_jax.load('wavelet'); rules: {rule_options.NAMES})"
    )
