"""Images as users hold them, made ready for a network, and results in the values they came in."""

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.images import colour, palettes, range_lines, ranges, validity
from cfi_jax.images import read as images
from cfi_jax.images.ranges import Normalizer, Range, Rule

FALSE_COLOUR = (
  "the luma of false colours is not the order of temperatures; infrared_palette=NAME of fusing "
  f"turns them back into values ({', '.join(palettes.PALETTES)})"
)


class SwappedWarning(UserWarning):
  """A pair whose roles look exchanged."""


class ColouredWarning(UserWarning):
  """An infrared image in colours, whose luma is not the order of its temperatures."""


class StretchedWarning(UserWarning):
  """Values that were not taken as 0 to the largest of their type, though nobody said so."""


class OutsideWarning(UserWarning):
  """An image whose values all lie below, or all above, those that a rule takes as 0 and 1."""


@dataclasses.dataclass(frozen=True)
class Prepared:
  """An image ready to be fused, and the way back.

  plain: [H, W, C] uint8, uint16 or floating point in [0, 1], which any `Fuser` takes as it is;
    luma [H, W, 1] where that is not `stored`. stored: [H, W, C] as given. range: of `stored`.
  valid: where the image has values, bool [H, W, 1]; None: everywhere. Elsewhere it is grey at the
    lower end of the range, and its alpha is that of the result (`prepare`).
  """

  plain: np.ndarray
  stored: np.ndarray
  range: Range
  valid: np.ndarray | None = None

  def restore(self, fused: np.ndarray, gray: bool, dtype: np.dtype | None = None) -> np.ndarray:
    """The fused image [H, W, C] in the values of `stored`, with its chroma and alpha unless `gray`.

    fused: the result of fusing `plain`. dtype: of the result instead of that of `stored`; an
      unsigned one that is not the stored one has its 0 and its largest at the ends of `range`.
    """
    dtype = self.stored.dtype if dtype is None else np.dtype(dtype)
    scaled = dtype.kind == "u" and dtype != self.stored.dtype
    if self.plain is self.stored and not scaled:
      return fused.astype(dtype, copy=False)
    low, high, stored = self.range.low, self.range.high, self.stored
    ends = (0.0, ranges.largest(dtype)) if scaled else (low, high)
    coloured = self.plain is not stored and not gray
    unit = fused.astype(np.float64)
    if coloured:  # beyond the range, where percentiles cut values off, colours stay what they are
      own = (stored[..., :3].astype(np.float64) - low) / (high - low)
      recoloured = colour.recolour(own, unit[..., 0], clip=False)
      unit = np.clip(recoloured, min(own.min(), 0), max(own.max(), 1))
    values = ends[0] + unit * (ends[1] - ends[0])
    if coloured and stored.shape[-1] == 4:
      alpha = stored[..., 3:] * (ranges.largest(dtype) / ranges.largest(stored.dtype))
      values = np.concatenate([values, alpha], -1)
    return ranges.to_type(values, dtype)


def look_swapped(visible: np.ndarray, infrared: np.ndarray) -> bool:
  """Whether the "infrared" image is the coloured one."""
  return colour.shows_colour(infrared) and not colour.shows_colour(visible)


def prepare(
  visible: np.ndarray,
  infrared: np.ndarray,
  normalizer: Normalizer,
  *,
  palette: str = "",
  label: str = "",
) -> tuple[Prepared, Prepared]:
  """Makes a pair [H, W, C] ready to be fused; the infrared image becomes luma.

  visible, infrared: masked arrays where they have no value, or saying so as `images.validity` has
    it. Alpha of a visible pixel without a value becomes opaque where the infrared image has one.
  palette: of a false-coloured infrared image (`palettes.PALETTES`), "" for none. label: of the pair
    in warnings. Warns of exchanged roles, of an infrared image in colours and of an image outside
    of the range that its rule gives. Raises InputError for an image without any value, for values
    that the rules do not take and for colours of no palette.
  """
  where = f"{label}: " if label else ""
  valid = [validity.of(image) for image in (visible, infrared)]
  for own, name in zip(valid, MODALITIES, strict=True):
    if own is not None and not own.any():
      raise InputError(f"the {name} image: no pixel has a value")
  visible, infrared = (np.ma.getdata(validity.apply(image)) for image in (visible, infrared))
  visible = _with_alpha(visible, *valid)
  if palette:
    infrared = _values(infrared, valid[1], palette)
  elif look_swapped(visible, infrared):
    warnings.warn(
      f"{where}the visible image is grey and the infrared one coloured; are they swapped? The "
      "coloured image belongs to the visible role",
      SwappedWarning,
      stacklevel=2,
    )
  elif colour.shows_colour(infrared):
    warnings.warn(
      f"{where}the infrared image is coloured: {FALSE_COLOUR}", ColouredWarning, stacklevel=2
    )
  pair = zip(MODALITIES, (visible, images.luma(infrared)), valid, strict=True)
  first, second = (_prepare(image, own, normalizer, name) for name, image, own in pair)
  for ready, name in zip((first, second), MODALITIES, strict=True):
    if ready.range.is_outside:
      warnings.warn(f"{where}{_outside(ready.range, name)}", OutsideWarning, stacklevel=2)
  return first, second


def _outside(found: Range, name: str) -> str:
  (least, most), (low, high) = (
    map(ranges.number_text, ends) for ends in (found.used, (found.low, found.high))
  )
  return (
    f"the {name} image has values from {least} to {most}, none of them from {low} to {high}, which "
    f"its {found.how} takes as 0 to 1: nothing of it is seen"
  )


def _values(infrared: np.ndarray, valid: np.ndarray | None, palette: str) -> np.ndarray:
  """The values of false colours, 0 where there are none."""
  label = "the infrared image"
  if valid is None:
    return palettes.values(infrared, palette, label)
  one = infrared[valid[..., 0]][0]  # in place of what would be no colour of the palette
  found = palettes.values(np.where(valid, infrared, one), palette, label)
  return np.where(valid, found, np.zeros_like(found))


def _with_alpha(
  visible: np.ndarray, own: np.ndarray | None, infrared: np.ndarray | None
) -> np.ndarray:
  """The visible image with the alpha of the result; own, infrared: where the images have values."""
  if own is None or visible.shape[-1] != 4:
    return visible
  opaque = ranges.to_type(np.array(ranges.largest(visible.dtype)), visible.dtype)
  other = opaque if infrared is None else np.where(infrared, opaque, np.zeros_like(opaque))
  return np.concatenate([visible[..., :3], np.where(own, visible[..., 3:], other)], -1)


def _prepare(
  image: np.ndarray, valid: np.ndarray | None, normalizer: Normalizer, name: str
) -> Prepared:
  if normalizer.rule(name).keeps(image.dtype):
    return Prepared(image, image, normalizer.find(name, image, name, valid), valid)
  luma = images.luma(image)
  found = normalizer.find(name, luma, name, valid)
  if valid is not None:
    low = ranges.to_type(np.array(found.low), image.dtype)
    image = np.concatenate([np.where(valid, image[..., :3], low), image[..., 3:]], -1)
    luma = np.where(valid, luma, low)
  if found.how == "full" and image.dtype.kind == "f":
    if not (image.min() >= 0 and image.max() <= 1):  # by rounding
      image = np.clip(image, 0, 1)
    return Prepared(image, image, found, valid)
  # 16 bits are left only where whoever takes the array by itself sees it alike.
  is_full = found.how == "full" and image.dtype == np.uint16
  if is_full and Rule().find(luma, valid=valid).how == "full":
    return Prepared(image, image, found, valid)
  floating = np.promote_types(image.dtype if image.dtype.kind == "f" else np.float32, np.float32)
  return Prepared(found.to_unit(luma, floating), image, found, valid)


def accept(
  visibles: Sequence[np.ndarray],
  infrareds: Sequence[np.ndarray],
  normalize: str | Mapping[str, str],
  palette: str,
) -> tuple[list[Prepared], list[Prepared]]:
  """The visible images, and the infrared ones as luma, of pairs [H, W, C] that a user gave.

  Warns, beside `prepare`, of values that the rule "auto" stretches.
  """
  normalizer = ranges.parse(normalize, MODALITIES)
  palettes.check(palette)
  prepared: tuple[list[Prepared], list[Prepared]] = [], []
  stretched = []
  for visible, infrared in zip(visibles, infrareds, strict=True):
    first, second = prepare(visible, infrared, normalizer, palette=palette)
    for ready, image, name in zip(prepared, (first, second), MODALITIES, strict=True):
      ready.append(image)
      if image.range.how == "percentile" and normalizer.rule(name).kind == "auto":
        stretched.append((name, image.stored.dtype, image.range))
  if stretched:
    warnings.warn(
      f"{range_lines.describe(stretched)}; normalize= says what they mean ({ranges.RULES})",
      StretchedWarning,
      stacklevel=4,
    )
  return prepared
