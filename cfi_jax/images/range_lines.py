"""Lines on what was done to the values of images: which of them mean 0 and 1."""

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable

import numpy as np

from cfi_jax.images import ranges
from cfi_jax.images.ranges import Normalizer, Range, number_text, type_text

Done = tuple[str, np.dtype, Range]  # name, type and range of an image that was read


@dataclasses.dataclass
class _Group:
  """Ranges of images of one type that were found in one way: their number and their ends."""

  count: int = 0
  low: float = math.inf
  high: float = -math.inf
  top: float = -math.inf
  missing: int = 0
  fills: set[float] = dataclasses.field(default_factory=set)
  outside: int = 0

  def add(self, found: Range, count: int = 1) -> None:
    """Takes the range of so many images."""
    self.count += count
    self.low, self.high = min(self.low, found.low), max(self.high, found.high)
    self.top = max(self.top, found.used[1])
    self.missing += count * found.missing
    self.fills.update(found.fills)
    self.outside += count * found.is_outside


class Tally:
  """Counts what was done to the values of images, without keeping one entry for each."""

  def __init__(self) -> None:
    """Begins with no image."""
    self._kinds: dict[str, dict[tuple[str, str], _Group]] = {}

  def extend(self, done: Iterable[Done]) -> None:
    """Takes name, type and range of each image."""
    for name, dtype, found in done:
      groups = self._kinds.setdefault(name, {})
      groups.setdefault((np.dtype(dtype).name, found.how), _Group()).add(found)

  def __bool__(self) -> bool:
    """Whether there was an image."""
    return bool(self._kinds)

  def describe(self, over: str = ranges.OVER[0]) -> str:
    """One line on what was done to how many images."""
    parts = []
    for name, groups in self._kinds.items():
      texts = [_sentence(np.dtype(t), how, group, over) for (t, how), group in groups.items()]
      parts.append(f"{name}: {', '.join(texts)}")
    return f"values: {'; '.join(parts)}" if parts else "values: no image"


def describe(done: Iterable[Done], over: str = ranges.OVER[0]) -> str:
  """One line on what was done to how many images; done: name, type and range of each."""
  tally = Tally()
  tally.extend(done)
  return tally.describe(over)


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
      if found is None:
        found = rule.find(np.zeros(1, dtype), label=name)
        found = dataclasses.replace(found, used=(found.low, found.high))  # which nobody knows yet
      group = _Group()
      group.add(dataclasses.replace(found, missing=0), count)
      text = _sentence(dtype, found.how, group, over)
    texts.setdefault(name, []).append(text)
  return "values: " + "; ".join(f"{name}: {', '.join(found)}" for name, found in texts.items())


def _sentence(dtype: np.dtype, how: str, found: _Group, over: str) -> str:
  text = f"{found.count} of {type_text(dtype)}, {number_text(found.low)}..{number_text(found.high)}"
  if how == "percentile":
    first, last = ranges.PERCENTILES
    fills = " and ".join(map(number_text, sorted(found.fills)))
    others = f", but for pixels of {fills}" if fills else ""
    text += f" stretched to 0..1 (percentiles {first} and {last} of the {over}{others})"
  else:
    text += " taken as 0..1"
  wide = dtype.kind == "u" and dtype.itemsize > 1
  if how == "full" and wide and 0 < 4 * found.top < ranges.largest(dtype):
    bits = int(found.top).bit_length()
    text += f", though none exceeds {number_text(found.top)}: see normalize=bits={bits}"
  if found.outside:
    text += f", between which {found.outside} of them have no value"
  return text + (f", {found.missing} pixels without a value" if found.missing else "")
