"""Cases of `benchmark gpu` in the order of worth, and the time that is left for them."""

import dataclasses
import time
from collections.abc import Callable, Mapping

from cfi_jax.benchmark.harness.contenders import TORCH_NAMES
from cfi_jax.systems.isfuse.operations import PLAIN

# Ways of computing the network, by what they set of a config's `model`; "auto" is what a user gets.
WAYS = {
  "plain": PLAIN,
  "pallas": PLAIN | {"attention": "pallas"},
  "fused": PLAIN | {"kernels": "fused"},
  "auto": {},
}
PRECISE = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}  # products of float32 not in TF32
REFERENCE = {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_X64": "1"}


@dataclasses.dataclass(frozen=True)
class Case:
  """One contender in one table.

  table: the file of its row. name: of the row. contender: see `contenders`. model: fields of the
  config's model that it changes. environment: of its process. seconds: that it takes on an H100,
  compilation included, until another of its kind was measured.
  """

  table: str
  name: str
  contender: str
  dtype: str
  seconds: float
  model: Mapping[str, str] = dataclasses.field(default_factory=dict)
  environment: Mapping[str, str] = dataclasses.field(default_factory=dict)

  @property
  def key(self) -> tuple[str, str, str]:
    """The row's place."""
    return self.table, self.name, self.dtype

  @property
  def kind(self) -> tuple[str, str]:
    """Cases of one kind take about the same time."""
    return self.table.split("_")[0], self.contender

  @property
  def arithmetic(self) -> str:
    """The dtype of most of its work, which its floor is of."""
    return "bfloat16" if self.contender in ("torch_amp", "torch_all") else self.dtype


@dataclasses.dataclass(frozen=True)
class Sizes:
  """The recipe, and sizes: of the steps that check exactness and are timed, and of images.

  pace: the cases' seconds, in terms of those on an H100.
  """

  recipe: str
  exactness: tuple[int, int]
  train: tuple[int, int]
  fuse: tuple[int, int]
  batches: tuple[int, int]
  model: Mapping[str, int]
  pace: float = 1.0


MEASURED = Sizes("released", (4, 128), (16, 256), (480, 640), (1, 16), {})
# One view compiles in seconds. The kernels take powers of two from 16 tokens and features.
REHEARSED = Sizes(
  "fusion_only", (2, 32), (2, 32), (32, 48), (1, 2), {"features": 16, "grid": 4, "levels": 2}, 0.2
)


def exactness() -> list[Case]:
  """The reference first, then what is compared with it."""
  wide = {"dtype": "float64", "param_dtype": "float64"} | PLAIN
  found = [Case("exactness", "float64 on the CPU", "cfi_jax", "float64", 100, wide, REFERENCE)]
  for dtype, environment in (("float32", PRECISE), ("bfloat16", {})):
    for way, settings in WAYS.items():
      model = {"dtype": dtype} | settings
      found.append(Case("exactness", way, "cfi_jax", dtype, 100, model, environment))
  model = {"dtype": "float32"}
  found.append(Case("exactness", "auto, TF32", "cfi_jax", "float32", 100, model))
  for name in ("torch_eager", "torch_amp"):
    found.append(Case("exactness", name, name, "float32", 100))
  return found


def timed(sizes: Sizes) -> list[Case]:
  """All that is timed, the most worth first."""

  def ours(way: str, dtype: str, precise: bool = False) -> Case:
    model = {"dtype": dtype} | WAYS[way]
    name = "cfi_jax" if way == "auto" else f"cfi_jax, {way}"
    name += ", no TF32" * precise
    return Case("train", name, "cfi_jax", dtype, 60, model, PRECISE if precise else {})

  def theirs(name: str) -> Case:
    seconds = 75 if name in ("torch_all", "torch_compile") else 15
    return Case("train", name, name, "float32", seconds)

  first, second = (fuse(batch) for batch in sizes.batches)
  others = [name for name in TORCH_NAMES["train"] if name not in FIRST]
  return [
    ours("auto", "bfloat16"), *map(theirs, FIRST), ours("auto", "float32"),
    *first["bfloat16"], *second["bfloat16"], *map(theirs, others), *first["float32"],
    *second["float32"], ours("plain", "bfloat16"), ours("auto", "float32", precise=True),
  ]  # fmt: skip


FIRST = ("torch_all", "torch_amp", "torch_tf32", "torch_eager")


def fuse(batch: int) -> dict[str, list[Case]]:
  """Fusing `batch` pairs, by dtype."""
  return {
    dtype: [
      Case(f"fuse_{batch}", name, name, dtype, seconds)
      for name, seconds in (("cfi_jax", 25), ("torch_eager", 12), ("torch_compile", 40))
    ]
    for dtype in ("bfloat16", "float32")
  }


class Budget:
  """Seconds for all cases; what was measured says how long the next of its kind takes.

  pace: see `Sizes`.
  """

  def __init__(self, seconds: float, pace: float, clock: Callable[[], float] = time.monotonic):
    self._clock, self._pace = clock, pace
    self._end = clock() + seconds
    self._measured: dict[tuple[str, str], float] = {}

  @property
  def left(self) -> float:
    """Seconds that are left."""
    return self._end - self._clock()

  def fits(self, case: Case) -> bool:
    """Whether the case is likely to end in time."""
    return self._measured.get(case.kind, case.seconds * self._pace) <= self.left

  def ended(self, case: Case, seconds: float) -> None:
    """Takes in how long a case took."""
    self._measured[case.kind] = max(seconds, self._measured.get(case.kind, 0.0))
