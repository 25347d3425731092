"""Reports of a part: rows with every figure, as a table and as JSON."""

import dataclasses
import json
import os
import pathlib
import time
from types import SimpleNamespace
from typing import Any

from cfi_jax.benchmark.harness import machine
from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.benchmark.harness.roofline import Roofline
from cfi_jax.benchmark.harness.timing import Spread
from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError


@dataclasses.dataclass(frozen=True)
class Row:
  """One contender; None where a figure does not apply or cannot be had.

  samples: pairs done in `seconds`. speedup: over the first row that ran, medians.
  cost: of the compiled program as XLA's cost analysis counts it, all devices together.
  floor_seconds: see `Report.floor`. peak_mb: largest resident size of the process, growth_mb: above
  what it was once libraries, weights and data were loaded. device_peak_mb: of an accelerator's
  memory, program_mb: what our compiled program itself needs, arguments included, on one device (a
  process's peak may be the compiler's). compile_seconds: includes the first run where a framework
  compiles while running. difference: from the first row, as the part says. failure: why there are
  no figures.
  """

  name: str
  dtype: str
  samples: float
  seconds: Spread | None = None
  speedup: float | None = None
  cost: Cost | None = None
  floor_seconds: float | None = None
  peak_mb: float | None = None
  growth_mb: float | None = None
  device_peak_mb: float | None = None
  program_mb: float | None = None
  compile_seconds: float | None = None
  difference: float | None = None
  failure: str | None = None

  def per_second(self, amount: float | None) -> float | None:
    """An amount done in one run, per second."""
    return None if amount is None or self.seconds is None else amount / self.seconds.median

  def to_json(self) -> dict[str, Any]:
    """All fields and what follows from them."""
    flops, moved = (self.cost.flops, self.cost.bytes) if self.cost else (None, None)
    values = dataclasses.asdict(self)
    del values["cost"]
    return values | {
      "samples_per_second": self.per_second(self.samples),
      "xla_flops": flops,
      "xla_bytes": moved,
      "tflops_per_second": self.per_second(None if flops is None else flops / 1e12),
      "gigabytes_per_second": self.per_second(None if moved is None else moved / 1e9),
      "times_floor": None
      if self.seconds is None or not self.floor_seconds
      else self.seconds.median / self.floor_seconds,
    }


@dataclasses.dataclass(frozen=True)
class Floor:
  """The least time for one run: what it needs against what the device can do."""

  needed: Cost
  roofline: Roofline
  schedule: str

  @property
  def seconds(self) -> float:
    """The floor."""
    return self.roofline.seconds(self.needed)

  def to_json(self) -> dict[str, Any]:
    """All figures."""
    return {
      "seconds": self.seconds,
      "bound": self.roofline.bound(self.needed),
      "needed_bytes": self.needed.bytes,
      "needed_flops": self.needed.flops,
      "measured_bytes_per_second": self.roofline.bandwidth,
      "measured_flops_per_second": self.roofline.rate,
      "rate_dtype": self.roofline.dtype,
      "devices": self.roofline.devices,
      "schedule": self.schedule,
    }


@dataclasses.dataclass(frozen=True)
class Report:
  """Everything of one measurement. case: sizes, dtype, number of turns and so on."""

  part: str
  case: dict[str, Any]
  rows: tuple[Row, ...]
  floor: Floor
  notes: tuple[str, ...]

  def to_json(self, command: str) -> dict[str, Any]:
    """The report with the command, the time and the machine."""
    return {
      "command": command,
      "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
      "part": self.part,
      "machine": machine.machine(),
      "versions": machine.versions(),
      "case": self.case,
      "floor": self.floor.to_json(),
      "rows": [row.to_json() for row in self.rows],
      "notes": list(self.notes),
    }


# Title, key of a row's JSON, format.
COLUMNS = (
  ("samples/s", "samples_per_second", "{:.4g}"),
  ("speed-up", "speedup", "{:.2f}x"),
  ("TFLOP/s", "tflops_per_second", "{:.3g}"),
  ("GB/s", "gigabytes_per_second", "{:.3g}"),
  ("x floor", "times_floor", "{:.2f}"),
  ("peak MB", "peak_mb", "{:.0f}"),
  ("growth MB", "growth_mb", "{:.0f}"),
  ("device MB", "device_peak_mb", "{:.0f}"),
  ("program MB", "program_mb", "{:.0f}"),
  ("compile s", "compile_seconds", "{:.1f}"),
  ("difference", "difference", "{:.1e}"),
)


def table(values: dict[str, Any]) -> str:
  """A report's JSON as text."""
  host = values["machine"]
  lines = [
    f"$ {host['malloc']} {values['command']}".replace("$  ", "$ "),
    f"{values['date']}, {host['cpu_count']} x {host['cpu']}, JAX on {host['device_count']} x "
    f"{host['device']} ({host['backend']}), {host['system']}",
    ", ".join(f"{name} {version}" for name, version in values["versions"].items()),
    ", ".join(f"{name}={value}" for name, value in values["case"].items()),
  ]
  lines.append(_floor_line(values["floor"]))
  cells = [["", "dtype", "median s", "quartiles", *(title for title, _, _ in COLUMNS)]]
  cells += [_cells(row) for row in values["rows"]]
  widths = [max(len(line[i]) for line in cells if i < len(line)) for i in range(len(cells[0]))]
  used = [i for i in range(len(widths)) if any(i < len(c) and c[i] for c in cells[1:])]
  for line in cells:
    aligned = [line[i].ljust(widths[i]) if i < 2 else line[i].rjust(widths[i]) for i in used]
    lines.append("  ".join(aligned).rstrip())
  lines += [f"{row['name']}: failed: {row['failure']}" for row in values["rows"] if row["failure"]]
  return "\n".join([*lines, *(f"- {note}" for note in values["notes"])]) + "\n"


def _floor_line(floor: dict[str, Any]) -> str:
  return (
    f"floor {floor['seconds']:.4g} s, bound by {floor['bound']}: "
    f"{floor['needed_bytes'] / 1e6:.0f} MB at {floor['measured_bytes_per_second'] / 1e9:.1f} GB/s, "
    f"{floor['needed_flops'] / 1e9:.1f} GFLOP at "
    f"{floor['measured_flops_per_second'] / 1e12:.3g} TFLOP/s ({floor['rate_dtype']}), both rates "
    f"measured in this run, {floor['devices']} device(s); {floor['schedule']}"
  )


def _cells(row: dict[str, Any]) -> list[str]:
  seconds = row["seconds"]
  first = [row["name"], row["dtype"], "", ""]
  if seconds:
    first[2:] = [f"{seconds['median']:.4g}", f"{seconds['low']:.4g}-{seconds['high']:.4g}"]
  return first + [
    "" if row[key] is None else template.format(row[key]) for _, key, template in COLUMNS
  ]


def output_path(options: SimpleNamespace) -> pathlib.Path | None:
  """--output, checked before anything is measured."""
  if not options.output:
    return None
  path = pathlib.Path(options.output)
  if path.suffix != ".json":
    raise InputError(f"--output={options.output}: must end in .json; the table goes beside it")
  path.parent.mkdir(parents=True, exist_ok=True)
  if not os.access(path.parent, os.W_OK):
    raise InputError(f"--output={options.output}: {path.parent} cannot be written to")
  return path


def write(values: dict[str, Any], text: str, options: SimpleNamespace) -> None:
  """Prints the text, and writes it and the values to FILE.txt and FILE.json."""
  print(text, flush=True)
  if path := output_path(options):
    write_atomically(path, (json.dumps(values, indent=1) + "\n").encode())
    write_atomically(path.with_suffix(".txt"), text.encode())


def publish(report: Report, options: SimpleNamespace) -> int:
  """Prints the table and writes FILE.json and FILE.txt; the exit status: 1 if a row failed."""
  values = report.to_json(options.command)
  write(values, table(values), options)
  return 1 if any(row.failure for row in report.rows) else 0
