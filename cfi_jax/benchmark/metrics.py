"""Scoring: pairs per second, and beside it the way public Python evaluators do it.

  python -m cfi_jax.benchmark metrics --output=FILE.json
  python -m cfi_jax.benchmark metrics --visible=DIR --infrared=DIR --images=42 --output=FILE.json

Always: all metrics of `strict` on generated triplets of --size, without FMI and FMI alone. With two
folders also our passes over the plain average of every pair, and the same by
`benchmark/rivals/public_metrics.py`: dense SciPy convolutions, scikit-learn, scikit-image, image
by image; the values are compared (`difference`, relative). The public loop over FMI's windows would
take hours: it is timed on a crop of every image and EXTRAPOLATED by the number of windows, which
one larger crop checks.
"""

import functools
import importlib.util
import pathlib
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.benchmark.harness import machine, results, roofline, timing, worker
from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.benchmark.harness.images import parse_size
from cfi_jax.benchmark.harness.scoring import CONVENTION, Names, ours, read_triplets
from cfi_jax.core.types import InputError
from cfi_jax.metrics import Triplet, find_metrics
from cfi_jax.metrics.table import score_levels

NEEDED = ("scipy", "sklearn", "skimage")
SCHEDULE = (
  "of the first row; schedule: each metric reads the three images once as float32; FLOPs as XLA "
  "counts them"
)


def run(options: SimpleNamespace) -> int:
  """Measures; returns the exit status."""
  if (options.visible is None) != (options.infrared is None):
    raise InputError("--visible and --infrared are given together or not at all")
  chosen = [metric.name for metric in find_metrics(options.metrics, CONVENTION)]
  fmi = tuple(n for n in chosen if n.startswith("FMI") and n != "FMI_w")
  names = Names(tuple(n for n in chosen if not n.startswith("FMI")), fmi)
  rates = roofline.measure("float32", 1, options)
  rows, needed = throughput(options, names, rates)
  notes = [
    "one device; TFLOP/s and GB/s: XLA's cost analysis of the program for one triplet of that size"
  ]
  if options.visible:
    missing = [package for package in NEEDED if importlib.util.find_spec(package) is None]
    if missing:
      notes.append(f"{', '.join(missing)} not installed: our side alone")
    more, said = folders(options, names, not missing)
    rows, notes = rows + more, notes + said
  case = {
    "size": options.size, "dtype": "float32", "convention": CONVENTION, "turns": options.turns,
    "metrics": " ".join(names.plain + names.fmi),
  }  # fmt: skip
  floor = results.Floor(needed, rates, SCHEDULE)
  return results.publish(results.Report("metrics", case, tuple(rows), floor, tuple(notes)), options)


def throughput(
  options: SimpleNamespace, names: Names, rates: roofline.Roofline
) -> tuple[list[results.Row], Cost]:
  """Rows of generated triplets, and what the first group needs."""
  size = parse_size(options.size)
  count = options.count or (4 if jax.default_backend() == "cpu" else 64)
  images = np.random.default_rng(0).integers(0, 256, (3, *size), dtype=np.uint8)
  triplets = [Triplet("m", str(k), *images) for k in range(count)]
  rows, first_needed = [], None
  for title, group in names.groups().items():
    _, first = timing.timed(functools.partial(ours, triplets, group))
    seconds = [
      timing.timed(functools.partial(ours, triplets, group))[1] for _ in range(options.turns)
    ]
    cost = scaled(program_cost(size, group), count)
    needed = Cost(cost.flops if cost else 0.0, 12.0 * size[0] * size[1] * count * len(group))
    first_needed = first_needed or needed
    rows.append(
      results.Row(
        name=f"{options.size} {title}",
        dtype="float32",
        samples=count,
        seconds=timing.spread(seconds),
        cost=cost,
        floor_seconds=rates.seconds(needed),
        peak_mb=worker.peak_mb(),
        device_peak_mb=machine.device_peak_mb(),
        compile_seconds=max(0.0, first - min(seconds)),
      )
    )
  return rows, first_needed


def program_cost(size: tuple[int, int], names: tuple[str, ...]) -> Cost | None:
  """XLA's counting of the program that scores one triplet."""
  image = jax.ShapeDtypeStruct((1, *size), jnp.uint8)
  sizes = jax.ShapeDtypeStruct((1, 2), jnp.int32)
  lowered = score_levels.lower(image, image, image, sizes, names, CONVENTION)
  return roofline.xla_cost(lowered.compile())


def scaled(cost: Cost | None, factor: float) -> Cost | None:
  """So many times the cost."""
  return Cost(cost.flops * factor, cost.bytes * factor) if cost else None


def folders(
  options: SimpleNamespace, names: Names, public: bool
) -> tuple[list[results.Row], list[str]]:
  """Rows and notes of the pairs of two folders, by us and by the public way."""
  triplets = read_triplets(
    pathlib.Path(options.visible), pathlib.Path(options.infrared), options.images
  )
  count, own, first, rows = len(triplets), {}, {}, []
  values: dict[tuple[str, str], float] = {}
  for title, group in names.groups().items():
    found, first[title] = timing.timed(functools.partial(ours, triplets, group))
    values |= found
    own[title] = [timing.timed(functools.partial(ours, triplets, group))[1]]
  peak = worker.peak_mb()
  theirs, differences, notes = {}, {}, []
  if public:
    from cfi_jax.benchmark.rivals import public_side

    theirs, differences, notes = public_side.measure(triplets, names, values, options)
    # Once before and once after the public way, in case the machine has changed.
    own = {
      t: s + [timing.timed(lambda t=t: ours(triplets, names.groups()[t]))[1]]
      for t, s in own.items()
    }
  for title, seconds in own.items():
    reference = theirs.get(title)
    if reference is not None:
      spread = timing.spread([reference])
      rows.append(results.Row(f"public way, {title}", "float64", count, spread, speedup=1.0))
    rows.append(
      results.Row(
        name=f"cfi_jax, {title}",
        dtype="float32",
        samples=count,
        seconds=timing.spread(seconds),
        speedup=None if reference is None else timing.speedup([reference], seconds, False),
        peak_mb=peak,
        compile_seconds=max(0.0, first[title] - min(seconds)),
        difference=differences.get(title),
      )
    )
  if len(theirs) > 1:
    total = sum(theirs.values()) / sum(timing.spread(s).median for s in own.values())
    notes.append(f"all metrics with FMI: {total:.1f}x the speed of the public way")
  return rows, [f"{count} pairs of {len({t.visible.shape for t in triplets})} sizes", *notes]
