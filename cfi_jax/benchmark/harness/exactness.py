"""Gradients of one step, computed in every way, against float64 on the CPU."""

import concurrent.futures
import dataclasses
import os
import pathlib
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from cfi_jax.benchmark.harness import machine
from cfi_jax.benchmark.harness.cases import Case
from cfi_jax.benchmark.harness.contenders import ContenderError, Process
from cfi_jax.benchmark.harness.spec import Spec

# Largest distance from float64 by dtype, and of a way from the plain one where products are exact.
# On a CPU, 2 crops of 48x48, were measured: plain float32 3.5e-4, PyTorch 3.2e-5, fused 2.3e-5; and
# in bfloat16 plain 0.14, PyTorch's AMP 0.11. A blank view multiplies rounding by 316.
LIMITS = {"float32": 1e-3, "bfloat16": 0.5, "TF32": 5e-2}
SAME = 1e-3
VANISHING = 1e-6  # of the largest array's norm
Gradient = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Row:
  """One way. Distances are norms of differences over the norm of what is compared with.

  distance: of the gradient from float64. worst: of that array whose own is largest. from_plain: of
  the gradient from the plain way in the same dtype. loss: relative. Left out are arrays whose
  gradient vanishes, as biases before a BatchNorm: what is computed there is rounding, which a
  blank view multiplies by 316.
  """

  name: str
  dtype: str
  distance: float | None = None
  worst: float | None = None
  worst_array: str | None = None
  from_plain: float | None = None
  loss: float | None = None
  limit: float | None = None
  failure: str | None = None


def shaken(weights: Any) -> Any:
  """First weights, of which many are 0 or 1, with noise, so that every array matters."""
  random = np.random.default_rng(0)
  return jax.tree.map(
    lambda x: (
      (np.asarray(x) * random.uniform(0.8, 1.2, x.shape)).astype(np.float32)
      + np.float32(random.uniform(0, 0.05, x.shape))
    ),
    weights,
  )


def play(case: Case, folder: pathlib.Path, seconds: float) -> Gradient | str:
  """The gradient of a case, or why there is none."""
  spec = Spec("gradients", case.contender, str(folder), case.dtype, True, case.model)
  try:
    process = Process(spec, case.environment, seconds)
  except ContenderError as error:
    return str(error)
  try:
    return process.output()
  except ContenderError as error:
    return str(error)
  finally:
    process.close()


def measure(cases: Sequence[Case], folder: pathlib.Path, left: Callable[[], float]) -> list[Row]:
  """Compares all cases with the first; several run at once, since compiling is most of the work."""
  most = max(2, (os.cpu_count() or 2) // 2)
  with concurrent.futures.ThreadPoolExecutor(most) as pool:
    results = list(pool.map(lambda case: play(case, folder, max(1.0, left())), cases))
  reference, found = results[0], list(zip(cases, results, strict=True))[1:]
  if isinstance(reference, str):
    return [Row(cases[0].name, cases[0].dtype, failure=reference)]
  plain = {c.dtype: g for c, g in found if c.name == "plain" and not isinstance(g, str)}
  return [compare(case, result, reference, plain) for case, result in found]


def compare(
  case: Case, result: Gradient | str, reference: Gradient, plain: dict[str, Gradient]
) -> Row:
  """The row of a case."""
  if isinstance(result, str):
    return Row(case.name, case.dtype, failure=result)
  norms = {name: np.linalg.norm(value) for name, value in reference.items() if name != "loss"}
  names = [name for name in sorted(norms) if norms[name] > VANISHING * max(norms.values())]
  worst = max(names, key=lambda name: apart(result, reference, [name]))
  kind = "TF32" if "TF32" in case.name else case.arithmetic
  row = Row(
    name=case.name,
    dtype=case.dtype,
    distance=apart(result, reference, names),
    worst=apart(result, reference, [worst]),
    worst_array=worst,
    from_plain=apart(result, plain[case.dtype], names) if case.dtype in plain else None,
    loss=float(abs(result["loss"] - reference["loss"]) / abs(reference["loss"])),
    limit=LIMITS[kind],
  )
  problems = []
  if not row.distance <= row.limit:
    problems.append(f"{row.distance:.1e} from float64, allowed {row.limit:.0e}")
  exact = case.contender == "cfi_jax" and case.environment and row.from_plain is not None
  if exact and not row.from_plain <= SAME:
    problems.append(f"{row.from_plain:.1e} from the plain way, allowed {SAME:.0e}")
  return dataclasses.replace(row, failure="; ".join(problems) or None)


def apart(one: Gradient, other: Gradient, names: Sequence[str]) -> float:
  """The norm of the difference over the norm of the other, over these arrays."""
  differences = [np.linalg.norm(one[name] - other[name]) for name in names]
  whole = np.linalg.norm([np.linalg.norm(other[name]) for name in names])
  return float(np.linalg.norm(differences) / whole)


def report(rows: Sequence[Row], case: dict[str, Any], command: str) -> dict[str, Any]:
  """All figures with the machine and the versions."""
  return {
    "command": command,
    "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    "part": "gpu",
    "machine": machine.machine(),
    "versions": machine.versions(),
    "case": case,
    "rows": [dataclasses.asdict(row) for row in rows],
  }


def table(values: dict[str, Any]) -> str:
  """The report as text."""
  case = ", ".join(f"{name}={value}" for name, value in values["case"].items())
  lines = [f"$ {values['command']}", f"{values['date']}, {values['machine']['device']}", case]
  lines.append(f"{'gradient of':14} {'dtype':9} from float64  worst array  from plain     loss")
  for row in values["rows"]:
    numbers = [row[name] for name in ("distance", "worst", "from_plain", "loss")]
    cells = ["" if number is None else f"{number:.1e}" for number in numbers]
    distances = f"{cells[0]:>12} {cells[1]:>12} {cells[2]:>11} {cells[3]:>8}"
    lines.append(f"{row['name']:14} {row['dtype']:9} {distances}")
  failed = (row for row in values["rows"] if row["failure"])
  lines += [f"{row['name']} {row['dtype']}: {row['failure']}" for row in failed]
  return "\n".join(lines) + "\n"
