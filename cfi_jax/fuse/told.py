"""Warnings of fusing, told once each."""

import sys
import warnings

from cfi_jax.fusion.inputs import ColouredWarning, SwappedWarning


def print_warnings(doubts: list[warnings.WarningMessage]) -> None:
  """Prints the first of a kind of doubtful pairs with their number, and other warnings once."""
  messages = []
  kinds = (SwappedWarning, ColouredWarning)
  for kind in kinds:
    found = [str(doubt.message) for doubt in doubts if doubt.category is kind]
    more = f" (and {len(found) - 1} more such pairs)" if len(found) > 1 else ""
    messages += [text + more for text in found[:1]]
  messages += dict.fromkeys(str(d.message) for d in doubts if d.category not in kinds)
  for message in messages:
    print(f"warning: {message}", file=sys.stderr)
