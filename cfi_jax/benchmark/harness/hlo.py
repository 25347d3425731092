"""Bytes, copies and cycles of a compiled program, read from the text of its optimised HLO.

XLA's cost analysis is silent for GPUs that are not there, and says nothing of single operations.
Here an operation is what a device starts as one: an instruction of the entry computation, or of the
body of a loop, times the loop's trips. It moves its operands and results once through memory; the
inside of a fusion moves nothing. An operand of which only slices are taken counts as these, a
result that updates an operand in place as the update. Arrays that the compiler placed in the chip's
own memory (space 1 of a TPU) move nothing.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Iterator, Mapping

ITEM_BYTES = {"f64": 8, "s64": 8, "u64": 8, "c64": 8, "f32": 4, "s32": 4, "u32": 4}
ITEM_BYTES |= {"bf16": 2, "f16": 2, "s16": 2, "u16": 2, "pred": 1, "s8": 1, "u8": 1}
# Instructions that start nothing: names for arrays, ends of what began before, and frames of
# computations that are read by themselves.
_FREE = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
_FREE |= {"while", "conditional", "call", "partition-id", "replica-id", "opt-barrier"}
# Parts of a source that are frames of JAX, and no scopes.
_FRAMES = {"while", "body", "cond", "branch_0_fun", "branch_1_fun", "closed_call", "checkpoint"}
_FRAMES |= {"shard_map", "vmap", "rematted_computation"}
_SLICES = ("slice", "dynamic-slice", "gather")
_COPIES = ("copy", "copy-start", "transpose")

_HEAD = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_LINE = re.compile(r"^\s*(ROOT )?%?(?P<name>[\w.\-]+) = (?P<shape>.*?) (?P<kind>[a-z][\w\-]*)\(")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\](?:\{([\d,]*)(?::([^}]*))?\})?")
_CALLED = re.compile(r"(?:body|condition|to_apply|true_computation|false_computation)=%?([\w.\-]+)")


@dataclasses.dataclass(frozen=True)
class Array:
  """An array of a shape. plain: its bytes; padded: with its tiles filled up; near: on the chip."""

  dtype: str
  sizes: tuple[int, ...]
  plain: int
  padded: int
  near: bool


@dataclasses.dataclass(frozen=True)
class Instruction:
  """A line of HLO. root: whether its value is its computation's."""

  name: str
  shape: str
  kind: str
  line: str
  root: bool

  @property
  def arrays(self) -> list[Array]:
    """The arrays of its result."""
    return arrays(self.shape)

  @property
  def operands(self) -> list[str]:
    """Names of its operands."""
    return re.findall(r"%([\w.\-]+)", _balanced(self.line.split(f" {self.kind}(", 1)[1]))

  def attribute(self, pattern: str) -> str:
    """The first group of a pattern in the line, "" where there is none."""
    found = re.search(pattern, self.line)
    return found[1] if found else ""


@dataclasses.dataclass(frozen=True)
class Operation:
  """Work that a device starts as one.

  kind: of the instruction; of a custom call its target. trips: how often it runs. bytes, padded:
  moved in all trips, without and with the padding of tiles. cycles: the compiler's estimate, 0
  where it has none. source: the JAX operation that it stems from.
  """

  name: str
  kind: str
  shape: str
  trips: int
  bytes: int
  padded: int
  cycles: int
  source: str


Computations = Mapping[str, list[Instruction]]


def operations(text: str) -> list[Operation]:
  """All that runs at top level, in the order of the text."""
  computations, entry = parse(text)
  found = []
  for name, trips in _top(computations, entry).items():
    by_name = {one.name: one for one in computations[name]}
    for one in computations[name]:
      if one.kind in _FREE or one.kind.endswith("-done"):
        continue
      moved = [array for array in _moved(one, by_name, computations) if not array.near]
      found.append(
        Operation(
          name=one.name,
          kind=one.attribute(r'custom_call_target="([^"]*)"') or one.kind,
          shape=one.shape,
          trips=trips,
          bytes=trips * sum(array.plain for array in moved),
          padded=trips * sum(array.padded for array in moved),
          cycles=trips * int(one.attribute(r'"estimated_cycles":"(\d+)"') or 0),
          source=one.attribute(r'op_name="([^"]*)"'),
        )
      )
  return found


def scope(source: str, depth: int = 3) -> str:
  """The scopes of a JAX operation (`Operation.source`), its first `depth` layers: "a/b/c".

  Gradients are of the layer that they belong to. They are the names that a trace of
  `config.profile_steps` has, too; "" where there is none.
  """
  layers = []
  for part in source.split("/")[:-1]:  # the last is the operation itself
    name = part.rsplit("(", 1)[-1].rstrip(")")
    if name and "jit(" not in part and name not in _FRAMES:
      layers.append(name)
  return "/".join(layers[:depth])


def copies(found: Iterable[Operation]) -> list[Operation]:
  """Those that only copy, or change a layout."""
  return [one for one in found if one.kind in _COPIES]


def parse(text: str) -> tuple[dict[str, list[Instruction]], str]:
  """The computations of a module by name, and the name of the entry."""
  computations: dict[str, list[Instruction]] = {}
  entry = name = ""
  for line in text.splitlines():
    if head := _HEAD.match(line):
      name = head[2]
      computations[name] = []
      entry = name if head[1] else entry
    elif name and (match := _LINE.match(line)):
      one = Instruction(match["name"], match["shape"], match["kind"], line, bool(match[1]))
      computations[name].append(one)
  return computations, entry


def arrays(shape: str) -> list[Array]:
  """The arrays of a shape such as (f32[3]{0}, bf16[8,32]{1,0:T(8,128)(2,1)S(1)})."""
  found = []
  for dtype, sizes, order, layout in _ARRAY.findall(shape):
    if dtype in ITEM_BYTES:
      numbers, minor = _numbers(sizes), _numbers(order)
      item, tiled = ITEM_BYTES[dtype], _tiled(numbers, minor, layout)
      near = "S(1)" in layout
      found.append(Array(dtype, numbers, item * math.prod(numbers), item * math.prod(tiled), near))
  return found


def _tiled(sizes: tuple[int, ...], minor: tuple[int, ...], layout: str) -> list[int]:
  """Sizes rounded up to the first tile of a layout, whose last number is of the minor axis."""
  rounded = list(sizes)
  if match := re.match(r"T\(([\d,]+)\)", layout):
    for axis, side in zip(minor, reversed(_numbers(match[1])), strict=False):
      rounded[axis] = -(-sizes[axis] // side) * side
  return rounded


def _top(computations: Computations, entry: str) -> dict[str, int]:
  """Computations that run by themselves, each with how often."""
  trips, waiting = {}, [(entry, 1)]
  while waiting:
    name, times = waiting.pop(0)
    if name in trips or name not in computations:
      continue
    trips[name] = times
    for one in computations[name]:
      if one.kind in ("while", "conditional", "call"):
        count = int(one.attribute(r'known_trip_count":\{"n":"(\d+)"') or 1)
        branches = one.attribute(r"branch_computations=\{([^}]*)\}")
        called = _CALLED.findall(one.line) + re.findall(r"[\w.\-]+", branches)
        waiting += [(other, times * count) for other in called]
  return trips


def _moved(
  one: Instruction, by_name: Mapping[str, Instruction], computations: Computations
) -> Iterator[Array]:
  """The arrays that an operation reads and writes."""
  if one.kind.endswith("-start") and one.kind != "all-reduce-start":
    yield from one.arrays  # its result names the operands too
    return
  inside = computations.get(one.attribute(r"calls=%?([\w.\-]+)"), [])
  if one.kind != "fusion" or not inside:
    inside = [dataclasses.replace(one, root=True)]
    places = {name: [name] for name in one.operands}
  else:
    places = {}
    for i, name in enumerate(one.operands):
      inner = [p.name for p in inside if p.kind == "parameter" and f"parameter({i})" in p.line]
      places.setdefault(name, []).extend(inner)
  updated = _updates(inside)
  for name, inner in places.items():
    users = [user for user in inside if set(inner) & set(user.operands)]
    if name not in by_name or any(place in updated for place in inner):
      continue
    if users and all(user.kind in _SLICES and user.operands[0] in inner for user in users):
      yield from (array for user in users for array in user.arrays)
    else:
      yield from by_name[name].arrays
  if updated:
    shapes = {line.name: line for line in (*by_name.values(), *inside)}
    yield from (array for update in updated.values() for array in shapes[update].arrays)
  else:
    yield from one.arrays


def _updates(inside: list[Instruction]) -> dict[str, str]:
  """The array and the update of a computation whose result is one array, updated in place."""
  names = {one.name: one for one in inside}
  root = next(one for one in inside if one.root)
  while root.kind == "bitcast":
    root = names.get(root.operands[0], root)
    if root.kind == "parameter":
      return {}
  if root.kind != "dynamic-update-slice":
    return {}
  whole, update = root.operands[:2]
  while whole in names and names[whole].kind == "bitcast":
    whole = names[whole].operands[0]
  return {whole: update}


def _numbers(text: str) -> tuple[int, ...]:
  return tuple(int(number) for number in text.split(",") if number)


def _balanced(text: str) -> str:
  """The text before the parenthesis that closes one opened before it."""
  depth = 1
  for i, letter in enumerate(text):
    depth += (letter == "(") - (letter == ")")
    if not depth:
      return text[:i]
  return text
