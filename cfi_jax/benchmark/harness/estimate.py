"""Figures of a program that was compiled for chips that need not be there."""

import dataclasses
from collections import Counter
from typing import Any

import jax

from cfi_jax.benchmark.harness import collectives, hlo
from cfi_jax.benchmark.harness.chips import Chip
from cfi_jax.benchmark.harness.collectives import Traffic
from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.engine import memory

LARGEST = 20  # operations, and scopes, that a report names


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A program on `chips` chips, all figures those of one chip.

  samples: done in one call. floor: see `floors`. bytes: moved through memory, with the padding of
  tiles, by `source`; bare: without padding, by the HLO. compiler_seconds: the compiler's estimate;
  cycle_seconds: the sum of its estimates of all operations; None where it makes none.
  memory: bytes by use; total: what one call needs; chip: what there is. copies: operations that
  only move, and their bytes. largest: the operations that move most; scopes: the bytes of the
  layers that do (`hlo.scope`). failure: why there are no figures.
  """

  program: str
  chip: Chip
  chips: int
  samples: int
  floor: Cost
  bytes: float = 0.0
  bare: float = 0.0
  source: str = ""
  compiler_seconds: float | None = None
  cycle_seconds: float | None = None
  memory: dict[str, int] = dataclasses.field(default_factory=dict)
  traffic: Traffic = Traffic({}, 0, {}, ())
  copies: tuple[int, int] = (0, 0)
  largest: tuple[hlo.Operation, ...] = ()
  scopes: dict[str, int] = dataclasses.field(default_factory=dict)
  lowering_seconds: float = 0.0
  compile_seconds: float = 0.0
  failure: str = ""

  @property
  def times_floor(self) -> float:
    """Bytes over those of the floor."""
    return self.bytes / self.floor.bytes

  @property
  def bandwidth_seconds(self) -> float:
    """The time of the bytes at the chip's bandwidth, or of the floor's FLOPs at its rate."""
    return max(self.bytes / self.chip.bandwidth, self.floor.flops / self.chip.rate)

  @property
  def message_seconds(self) -> float:
    """The time of the messages, at the latency that is assumed for each."""
    if self.chips == 1:
      return 0.0
    sent = 2 * (self.chips - 1) / self.chips * self.traffic.bytes / self.chip.link
    return sent + sum(self.traffic.kinds.values()) * self.chip.latency

  @property
  def samples_per_second(self) -> float:
    """Samples per second of all chips together."""
    seconds = self.compiler_seconds or self.bandwidth_seconds
    return self.samples * self.chips / (seconds + self.message_seconds)

  @property
  def summary(self) -> str:
    """The bytes, their distance to the floor and the memory, or the failure, in a line."""
    if self.failure:
      return f"failed: {self.failure}"
    return (
      f"{self.bytes / 1e9:.1f} GB, {self.times_floor:.1f} floors, "
      f"{self.memory['temporary'] / 1e9:.2f} GB temporary, compiled in {self.compile_seconds:.0f} s"
    )

  def to_json(self) -> dict[str, Any]:
    """All fields and what follows from them."""
    values = dataclasses.asdict(self) | {"chip": self.chip.name}
    if not self.failure:
      values |= {
        name: getattr(self, name)
        for name in ("times_floor", "bandwidth_seconds", "message_seconds", "samples_per_second")
      }
    return values


def estimate(
  empty: Estimate, compiled: jax.stages.Compiled, lowering: float, compiling: float
) -> Estimate:
  """The figures of a compiled program; the seconds are those that it took to make."""
  text = compiled.as_text()
  operations, cost = hlo.operations(text), compiled.cost_analysis() or {}
  counted = cost.get("bytes accessed")
  seconds = cost.get("optimal_seconds", 0.0)  # at higher efforts libtpu gives negative ones
  copies = hlo.copies(operations)
  clock, stats = empty.chip.clock, compiled.memory_analysis()
  return dataclasses.replace(
    empty,
    bytes=float(sum(one.padded for one in operations) if counted is None else counted),
    bare=float(sum(one.bytes for one in operations)),
    source="HLO" if counted is None else "cost analysis",
    compiler_seconds=seconds if seconds > 0 else None,
    cycle_seconds=sum(one.cycles for one in operations) / clock if clock else None,
    memory={
      "arguments": stats.argument_size_in_bytes,
      "results": stats.output_size_in_bytes,
      "temporary": stats.temp_size_in_bytes,
      "shared": stats.alias_size_in_bytes,
      "total": int(memory.needed(compiled)),
      "chip": int(empty.chip.memory),
    },
    traffic=collectives.read(text),
    copies=(len(copies), sum(one.padded for one in copies)),
    largest=tuple(sorted(operations, key=lambda one: -one.padded)[:LARGEST]),
    scopes=_by_scope(operations),
    lowering_seconds=lowering,
    compile_seconds=compiling,
  )


def _by_scope(operations: list[hlo.Operation]) -> dict[str, int]:
  """Bytes by scope, the most first."""
  found: Counter[str] = Counter()
  for one in operations:
    found[hlo.scope(one.source) or "(no scope)"] += one.padded
  return dict(found.most_common(LARGEST))
