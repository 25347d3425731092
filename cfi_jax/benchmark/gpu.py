"""For the quarter of an hour that a GPU is at hand: exactness, then the step and fusing, in time.

  python -m cfi_jax.benchmark gpu --output=benchmarks/results/gpu
  python -m cfi_jax.benchmark gpu --rehearse --output=/tmp/rehearsal     # on a CPU, tiny sizes

Tables, each as FILE.txt and FILE.json in the output folder, written anew after every row:

- exactness: the gradient of the released step (4 crops of 128x128) by every way of computing it
  (plain, the attention and the BatchNorm kernels, all that a user gets) in float32 without TF32 and
  in bfloat16, and by PyTorch, against float64 on the CPU;
- train: the step of 16 crops of 256x256, ours beside PyTorch eager, TF32, AMP, channels-last,
  torch.compile and all of these;
- fuse_1, fuse_16: pairs of 480x640 from device to device, beside PyTorch eager and torch.compile.

Rows come in the order of worth, each in a process of its own. A row that would not end within
--seconds is left out, and the end lists it; rows that the folder has from the same device are kept,
so the same command goes on where it stopped. Speed-ups are over torch_eager. `x floor` compares
with the floor in the dtype of the row's products (bfloat16 with AMP), whose rates are measured here
first. Exits with 1 when a row failed or something is not exact.
"""

import dataclasses
import functools
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace
from typing import Any

import jax

from cfi_jax.benchmark import fuse, train
from cfi_jax.benchmark.harness import cases as cases_lib
from cfi_jax.benchmark.harness import (
  compare,
  contenders,
  exactness,
  floors,
  machine,
  ours,
  results,
  roofline,
)
from cfi_jax.benchmark.harness.cases import Case, Sizes
from cfi_jax.benchmark.harness.contenders import ContenderError, Process
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.benchmark.subjects import isfuse as subject
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.systems import files, isfuse
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.config import Config

TOLERANCE = 5e-2  # of the loss, relative, and of pixels; float32 on a GPU is TF32
REHEARSAL = {"turns": 2, "floor_mb": 1.0, "floor_side": 64}


def run(options: SimpleNamespace) -> int:
  """Measures; returns the exit status."""
  if not options.output:
    raise InputError("--output=DIR is missing: the folder of the results")
  if not options.rehearse and jax.default_backend() == "cpu":
    raise InputError(
      f"no GPU is at hand: JAX finds {jax.devices()[0].device_kind} only; install the extra `cuda` "
      f"on a machine with one, or try the command with --rehearse"
    )
  if options.rehearse:
    options = SimpleNamespace(**vars(options) | REHEARSAL)
  session = Session(options)
  with tempfile.TemporaryDirectory() as temporary:
    session.prepare(pathlib.Path(temporary))
    session.check_exactness()
    for case in session.chosen:
      session.play(case)
  return session.end()


class Session:
  """Everything of one command: what is left to do, and the tables so far."""

  def __init__(self, options: SimpleNamespace):
    self.options = SimpleNamespace(**vars(options), sequential=True)  # one after the other
    self.sizes: Sizes = cases_lib.REHEARSED if options.rehearse else cases_lib.MEASURED
    self.budget = cases_lib.Budget(options.seconds, self.sizes.pace)
    self.output = pathlib.Path(options.output)
    self.output.mkdir(parents=True, exist_ok=True)
    self.device = jax.devices()[0].device_kind
    self.chosen = [c for c in cases_lib.timed(self.sizes) if self.is_possible(c)]
    self.rows = {case.table: self.kept(case.table) for case in self.chosen}
    self.left_out: list[str] = []
    self.failed: list[str] = []
    self.first: dict[str, compare.Output] = {}
    self.floor = functools.cache(self._floor)  # by table and dtype; a second of tracing each

  def is_possible(self, case: Case) -> bool:
    """Whether what it needs is installed."""
    return contenders.has_torch() or not case.contender.startswith("torch")

  def kept(self, table: str) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows of a table that an earlier command measured on such a device, by name and dtype."""
    path = self.output / f"{table}.json"
    if not path.exists():
      return {}
    values = json.loads(path.read_text())
    same = values["machine"]["device"] == self.device and values["versions"] == machine.versions()
    rows = values["rows"] if same else []
    return {(row["name"], row["dtype"]): row for row in rows if not row["failure"]}

  def config(self, size: tuple[int, int]) -> tuple[Config, dict]:
    """The recipe with so many crops of such a side, and its values."""
    values = recipes.get(self.sizes.recipe).to_dict()
    values["batch_size"], values["input"]["crop"] = size
    values["model"] |= self.sizes.model
    values["masks"]["size"] = tuple(min(side, size[1] // 4) for side in values["masks"]["size"])
    return config_lib.build(Config, values), values

  def prepare(self, folder: pathlib.Path) -> None:
    """The files of all cases, and the rates of the device."""
    self.folder = folder
    weights = ours.first_weights(ours.make_run(isfuse, self.config(self.sizes.train)[0]))
    both = {"train": (self.sizes.train, weights)}
    both["exactness"] = (self.sizes.exactness, exactness.shaken(weights))
    for table, (size, own) in both.items():
      (folder / table).mkdir()
      # Masks are many small programs, which a CPU compiles sooner.
      with jax.default_device(jax.local_devices(backend="cpu")[0]):
        train.write(*self.config(size), folder / table, own)
    for batch in self.sizes.batches:
      (folder / f"fuse_{batch}").mkdir()
      variables, card = files.load(self.options.weights)
      fuse.write(variables, card, batch, self.sizes.fuse, folder / f"fuse_{batch}", {})
    dtypes = {case.arithmetic for case in self.chosen}
    self.rates = {d: roofline.measure(d, jax.device_count(), self.options) for d in sorted(dtypes)}

  def check_exactness(self) -> None:
    """The first table."""
    path = self.output / "exactness.json"
    chosen = [case for case in cases_lib.exactness() if self.is_possible(case)]
    if len(self.kept("exactness")) == len(chosen) - 1:  # the reference has no row
      return
    rows = exactness.measure(chosen, self.folder / "exactness", lambda: self.budget.left)
    case = {"size": "{} crops of {}".format(*self.sizes.exactness), "recipe": self.sizes.recipe}
    values = exactness.report(rows, case, self.options.command)
    results.write(values, exactness.table(values), SimpleNamespace(output=str(path)))
    self.failed += [f"exactness: {row.name} {row.dtype}" for row in rows if row.failure]

  def play(self, case: Case) -> None:
    """Measures a row if there is time, and writes its table."""
    place = (case.name, case.dtype)
    if place in self.rows[case.table]:
      return
    if not self.budget.fits(case):
      self.left_out.append(" ".join(case.key))
      return
    began = time.monotonic()
    row = self.measure(case)
    self.budget.ended(case, time.monotonic() - began)
    if row.failure:
      self.failed.append(" ".join(case.key))
    self.rows[case.table][place] = row.to_json()
    self.publish(case.table)

  def measure(self, case: Case) -> results.Row:
    """The row of a case."""
    task, samples = case.table.split("_")[0], self.samples(case.table)
    spec = Spec(task, case.contender, str(self.folder / case.table), case.dtype, True, case.model)
    failed = functools.partial(results.Row, case.name, case.dtype, samples)
    try:
      process = Process(spec, case.environment, max(1.0, self.budget.left))
    except ContenderError as error:
      return failed(failure=str(error))
    try:
      output = process.output()
      process.warm()
      seconds = [process.seconds() for _ in range(self.options.turns)]
      facts = process.facts()
    except ContenderError as error:
      return failed(failure=str(error))
    finally:
      process.close()
    if (facts["device"] == "cpu") != self.options.rehearse:
      return failed(failure=f"it ran on {facts['device']}")
    difference = DIFFER[task](self.first.setdefault(case.table, output), output)
    if not difference <= TOLERANCE:
      return failed(failure=f"differs by {difference:.1e} from the first; allowed: {TOLERANCE:.0e}")
    outcome = compare.Outcome(spec, difference, tuple(seconds), facts)
    floor = self.floor(case.table, case.arithmetic).seconds
    (row,) = compare.rows([outcome], self.options, samples, floor)
    return dataclasses.replace(row, name=case.name, speedup=None)

  def samples(self, table: str) -> int:
    """Pairs done in one run."""
    return self.sizes.train[0] if table == "train" else int(table.split("_")[1])

  def _floor(self, table: str, dtype: str) -> results.Floor:
    """The floor of a table's work in that dtype."""
    if table == "train":
      values = self.config(self.sizes.train)[1]
      values["model"]["dtype"] = dtype
      cost = subject.step_cost(config_lib.build(Config, values))
    else:
      architecture = files.load(self.options.weights)[1].architecture
      cost = subject.fuse_cost(architecture, self.samples(table), *self.sizes.fuse, dtype)
    return results.Floor(cost, self.rates[dtype], floors.SCHEDULE)

  def publish(self, table: str) -> None:
    """Writes a table with the rows so far, with their speed-ups over eager PyTorch."""
    case = {
      "recipe": self.sizes.recipe,
      "size": self.size(table),
      "batch": self.samples(table),
      "turns": self.options.turns,
    }
    if self.options.rehearse:
      case["rehearsal"] = True
    notes = ("x floor: of the floor in the dtype of the row's products",)
    floor = self.floor(table, "bfloat16")
    values = results.Report(table, case, (), floor, notes).to_json(self.options.command)
    rows = list(self.rows[table].values())
    for row in rows:
      eager = self.rows[table].get(("torch_eager", reference_dtype(table, row["dtype"])))
      if row["seconds"] and eager and eager["seconds"]:
        row["speedup"] = eager["seconds"]["median"] / row["seconds"]["median"]
    values["rows"] = rows
    path = SimpleNamespace(output=str(self.output / f"{table}.json"))
    results.write(values, results.table(values), path)

  def size(self, table: str) -> str:
    """Height and width of the images."""
    crop = self.sizes.train[1]
    return "x".join(map(str, (crop, crop) if table == "train" else self.sizes.fuse))

  def end(self) -> int:
    """Says what was done and what not; commits if asked to."""
    if not contenders.has_torch():
      print(contenders.NO_TORCH)
    print(f"{self.options.seconds - self.budget.left:.0f} s")
    for title, names in (("left out for want of time", self.left_out), ("failed", self.failed)):
      print(f"{title}: {', '.join(names) or 'nothing'}")
    commands = [
      ["git", "add", str(self.output)],
      ["git", "commit", "-m", f"Benchmarks on {self.device}", "--", str(self.output)],
    ]
    for command in commands:
      if self.options.commit:
        subprocess.run(command, check=True)
      else:
        print(shlex.join(command))
    sys.stdout.flush()
    return 1 if self.failed else 0


def reference_dtype(table: str, dtype: str) -> str:
  """The dtype of the eager PyTorch that a row is compared with."""
  return "float32" if table == "train" else dtype


def fused_apart(reference: compare.Output, output: compare.Output) -> float:
  """The largest difference of a pixel."""
  return subject.differ(reference["fused"], output["fused"])


def loss_apart(reference: compare.Output, output: compare.Output) -> float:
  """The relative difference of the whole loss; small parts of it differ by more in bfloat16."""
  return float(abs(output["loss"] - reference["loss"]) / abs(reference["loss"]))


DIFFER = {"train": loss_apart, "fuse": fused_apart}
