"""Messages between devices in a compiled step, read from its HLO."""

import collections
import dataclasses

from cfi_jax.benchmark.harness import hlo

KINDS = ("all-reduce", "all-gather", "all-to-all", "collective-broadcast", "collective-permute")
KINDS += ("ragged-all-to-all", "reduce-scatter", "send", "recv")
HOST = ("callback", "outfeed", "infeed")  # in the name of an operation or custom call


@dataclasses.dataclass(frozen=True)
class Traffic:
  """The collectives of one step.

  kinds: how many there are of each kind. bytes: of their results, together. dtypes: the same by
  the type of the numbers. host: operations that call the host.
  """

  kinds: dict[str, int]
  bytes: int
  dtypes: dict[str, int]
  host: tuple[str, ...]


def read(text: str) -> Traffic:
  """Counts the collectives in the text of an HLO module after optimisation."""
  kinds: collections.Counter[str] = collections.Counter()
  dtypes: collections.Counter[str] = collections.Counter()
  host = []
  for one in (one for lines in hlo.parse(text)[0].values() for one in lines):
    kind = one.kind.removesuffix("-start")
    if kind in KINDS:
      kinds[kind] += 1
      for array in one.arrays:
        dtypes[array.dtype] += array.plain
    label = one.attribute(r'custom_call_target="([^"]*)"') or kind
    if any(word in label for word in HOST):
      host.append(label)
  return Traffic(dict(kinds), dtypes.total(), dict(dtypes), tuple(host))
