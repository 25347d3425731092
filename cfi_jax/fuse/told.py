"""Warnings of fusing, told once each."""

import sys
import warnings

from cfi_jax.fusion.inputs import ColouredWarning, OutsideWarning, SwappedWarning

KINDS = (SwappedWarning, ColouredWarning, OutsideWarning)  # of doubtful pairs


class Doubts:
  """Warnings by their kind or their words: the first of each and their number."""

  def __init__(self) -> None:
    """Begins with none."""
    self._pairs: dict[type[Warning], tuple[str, int]] = {}
    self._others: dict[str, None] = {}

  def take(self, found: list[warnings.WarningMessage]) -> None:
    """Takes the warnings out of the list."""
    for doubt in found:
      text = str(doubt.message)
      if doubt.category in KINDS:
        first, count = self._pairs.get(doubt.category, (text, 0))
        self._pairs[doubt.category] = (first, count + 1)
      else:
        self._others[text] = None
    found.clear()

  def tell(self) -> None:
    """Prints the first of a kind of doubtful pairs with their number, and other warnings once."""
    for kind in KINDS:
      if kind in self._pairs:
        text, count = self._pairs[kind]
        more = f" (and {count - 1} more such pairs)" if count > 1 else ""
        print(f"warning: {text}{more}", file=sys.stderr)
    for text in self._others:
      print(f"warning: {text}", file=sys.stderr)
