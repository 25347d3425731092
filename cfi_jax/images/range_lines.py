"""Lines on what was done to the values of images: which of them mean 0 and 1."""

import dataclasses
from collections import Counter
from collections.abc import Iterable

import numpy as np

from cfi_jax.images import ranges
from cfi_jax.images.ranges import Normalizer, Range, number_text, type_text


def describe(done: Iterable[tuple[str, np.dtype, Range]], over: str = ranges.OVER[0]) -> str:
  """One line on what was done to how many images; done: name, type and range of each."""
  kinds: dict[str, dict[tuple, list[Range]]] = {}
  for name, dtype, found in done:
    kinds.setdefault(name, {}).setdefault((np.dtype(dtype).name, found.how), []).append(found)
  parts = []
  for name, groups in kinds.items():
    texts = [_sentence(np.dtype(t), how, found, over) for (t, how), found in groups.items()]
    parts.append(f"{name}: {', '.join(texts)}")
  return f"values: {'; '.join(parts)}" if parts else "values: no image"


def describe_types(types: Iterable[tuple[str, np.dtype]], normalizer: Normalizer, over: str) -> str:
  """One line like that of `describe` on images that are not read yet.

  types: image name and type of each.
  """
  texts: dict[str, list[str]] = {}
  for (name, dtype), count in Counter(types).items():
    rule, found = normalizer.rule(name), normalizer.ranges.get((name, dtype.name))
    if found is None and rule.is_open(dtype):
      text = f"{count} of {type_text(dtype)}, each by the rule {rule.kind}"
    else:
      found = found or rule.find(np.zeros(1, dtype), label=name)
      text = _sentence(dtype, found.how, [dataclasses.replace(found, missing=0)] * count, over)
    texts.setdefault(name, []).append(text)
  return "values: " + "; ".join(f"{name}: {', '.join(found)}" for name, found in texts.items())


def _sentence(dtype: np.dtype, how: str, found: list[Range], over: str) -> str:
  low, high = min(r.low for r in found), max(r.high for r in found)
  text = f"{len(found)} of {type_text(dtype)}, {number_text(low)}..{number_text(high)}"
  if how == "percentile":
    first, last = ranges.PERCENTILES
    text += f" stretched to 0..1 (percentiles {first} and {last} of the {over})"
  else:
    text += " taken as 0..1"
  top = max(r.used[1] for r in found)
  wide = dtype.kind == "u" and dtype.itemsize > 1
  if how == "full" and wide and 0 < 4 * top < ranges.largest(dtype):
    bits = int(top).bit_length()
    text += f", though none exceeds {number_text(top)}: see normalize=bits={bits}"
  missing = sum(r.missing for r in found)
  return text + (f", {missing} pixels without a value" if missing else "")
