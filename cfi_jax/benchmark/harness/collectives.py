"""Messages between devices in a compiled step, read from its HLO."""

import dataclasses
import math
import re

KINDS = ("all-reduce", "all-gather", "all-to-all", "collective-broadcast", "collective-permute")
KINDS += ("ragged-all-to-all", "reduce-scatter", "send", "recv")
HOST = ("callback", "outfeed", "infeed")  # in the name of an operation or custom call
ITEM_BYTES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
ITEM_BYTES |= {"pred": 1, "s8": 1, "u8": 1}

_INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%[\w.\-]+ = (?P<shape>.*?) (?P<kind>[a-z][\w\-]*)\(")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")


@dataclasses.dataclass(frozen=True)
class Traffic:
  """The collectives of one step.

  kinds: how many there are of each kind. bytes: of their results, together.
  host: operations that call the host.
  """

  kinds: dict[str, int]
  bytes: int
  host: tuple[str, ...]


def read(hlo: str) -> Traffic:
  """Counts the collectives in the text of an HLO module after optimisation."""
  kinds: dict[str, int] = {}
  moved, host = 0, []
  for line in hlo.splitlines():
    if not (match := _INSTRUCTION.match(line)):
      continue
    kind = match["kind"].removesuffix("-start")
    if kind in KINDS:
      kinds[kind] = kinds.get(kind, 0) + 1
      moved += _bytes(match["shape"])
    called = re.search(r'custom_call_target="([^"]*)"', line)
    label = called[1] if called else kind
    if any(word in label for word in HOST):
      host.append(label)
  return Traffic(kinds, moved, tuple(host))


def _bytes(shape: str) -> int:
  """The bytes of a shape such as f32[32]{0} or (f32[], f32[3,3,32,32]{3,2,1,0})."""
  total = 0
  for kind, sizes in _ARRAY.findall(shape):
    total += ITEM_BYTES[kind] * math.prod(int(size) for size in sizes.split(",") if size)
  return total
