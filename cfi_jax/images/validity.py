"""Validity of pixels: where an image has values, as its file, its array or a mask says.

An image [H, W, C] carries its validity by itself: a pixel has no value where one of its channels is
NaN, infinite or masked (`numpy.ma`), or where its alpha is 0. One that is partly transparent has.
"""

import numpy as np

from cfi_jax.core.types import InputError


def of(image: np.ndarray) -> np.ndarray | None:
  """A mask of where [H, W, C] has values, bool [H, W, 1]; None where it has them everywhere."""
  values, found = np.ma.getdata(image), []
  if np.ma.is_masked(image):
    found.append(~np.ma.getmaskarray(image).any(-1, keepdims=True))
  if values.dtype.kind == "f":
    found.append(np.isfinite(values).all(-1, keepdims=True))
  if values.shape[-1] == 4:
    found.append(values[..., 3:] != 0)
  valid = np.logical_and.reduce(found) if found else None
  return None if valid is None or valid.all() else valid


def of_mask(picture: np.ndarray) -> np.ndarray:
  """The pixels that a mask [H, W, C] calls valid, bool [H, W, 1]: not black, and with a value."""
  shown = (np.ma.getdata(picture)[..., :3] != 0).any(-1, keepdims=True)
  own = of(picture)
  return shown if own is None else shown & own


def apply(image: np.ndarray, valid: np.ndarray | None = None, label: str = "") -> np.ndarray:
  """The image [H, W, C], masked and 0 where it has no value; itself where it has them everywhere.

  valid: bool [H, W, 1], false where it has none beside what it says itself. Raises InputError,
  which the label begins, for a mask of another size.
  """
  own = of(image)
  if valid is not None:
    if valid.shape[:2] != image.shape[:2]:
      sizes = ["x".join(map(str, x.shape[1::-1])) for x in (valid, image)]
      raise InputError(f"{label}: the mask is {sizes[0]} and the image {sizes[1]} (width x height)")
    own = valid if own is None else own & valid
  if own is None or own.all():
    return np.ma.getdata(image)
  return np.ma.masked_array(
    np.where(own, np.ma.getdata(image), np.zeros((), image.dtype)),
    np.broadcast_to(~own, image.shape),
  )
