"""The command for a GPU that is at hand for a quarter of an hour, without one."""

import json
import types

import numpy as np
import pytest
from full import only_full

from cfi_jax.benchmark import __main__ as command
from cfi_jax.benchmark import gpu
from cfi_jax.benchmark.harness import cases, contenders, exactness
from cfi_jax.benchmark.harness.cases import Case
from cfi_jax.benchmark.harness.roofline import Roofline

MODEL = {"features": 4, "grid": 2, "levels": 1}
SMALL = cases.Sizes("fusion_only", (2, 16), (2, 16), (16, 24), (1, 2), MODEL)


@pytest.fixture
def quick(monkeypatch):
  """Sizes that take seconds, and no PyTorch."""
  monkeypatch.setattr(cases, "REHEARSED", SMALL)
  monkeypatch.setattr(contenders, "has_torch", lambda: False)


def chosen(monkeypatch, names):
  """Cuts the cases that are timed."""
  every = cases.timed
  cut = lambda sizes: [case for case in every(sizes) if case.key in names]  # noqa: E731
  monkeypatch.setattr(cases, "timed", cut)


@only_full
def test_a_rehearsal_writes_all_tables(quick, monkeypatch, tmp_path, capsys):
  keys = [("train", "cfi_jax", "float32"), ("fuse_1", "cfi_jax", "bfloat16")]
  chosen(monkeypatch, keys)
  known = {"plain", "float64 on the CPU"}
  every = cases.exactness
  kept = lambda: [c for c in every() if c.name in known and c.dtype != "bfloat16"]  # noqa: E731
  monkeypatch.setattr(cases, "exactness", kept)
  arguments = ["gpu", "--rehearse", f"--output={tmp_path / 'out'}"]
  assert command.main(arguments) == 0
  said = capsys.readouterr().out
  assert "left out for want of time: nothing" in said and "failed: nothing" in said
  assert "git commit -m 'Benchmarks on cpu'" in said and contenders.NO_TORCH in said
  (row,) = json.loads((tmp_path / "out" / "exactness.json").read_text())["rows"]
  assert row["name"] == "plain" and row["from_plain"] == 0 and 0 < row["distance"] < 3e-5
  for table, name, dtype in keys:
    values = json.loads((tmp_path / "out" / f"{table}.json").read_text())
    (row,) = values["rows"]
    assert (row["name"], row["dtype"]) == (name, dtype) and row["times_floor"] > 0
    assert name in (tmp_path / "out" / f"{table}.txt").read_text()
  # The same command goes on where it stopped: nothing is left to do.
  monkeypatch.setattr(gpu, "Process", None)
  monkeypatch.setattr(exactness, "Process", None)
  assert command.main(arguments) == 0


class Player:
  """A process that answers at once."""

  started: list = []

  def __init__(self, spec, environment, seconds):
    self.started.append((spec.task, spec.name, spec.dtype))
    self.spec = spec
    if spec.name == "torch_all":
      raise contenders.ContenderError("out of memory")

  def output(self):
    if self.spec.task == "fuse":
      return {"fused": np.ones(3)}
    return {"loss": np.float64(2.0 if self.spec.name == "torch_amp" else 1.0)}

  def warm(self):
    pass

  def seconds(self):
    return 0.5 if self.spec.name == "cfi_jax" else 1.0

  def facts(self):
    facts = dict.fromkeys((*gpu.compare.FACTS, "flops", "bytes"))
    return facts | {"device": "cuda" if self.spec.name == "torch_tf32" else "cpu"}

  def close(self):
    pass


def prepare(session, folder):
  """Rates of the device, and no files, which a `Player` does not read."""
  session.folder = folder
  session.rates = {dtype: Roofline(1e9, 1e9, dtype, 1) for dtype in ("float32", "bfloat16")}


@pytest.fixture
def played(quick, monkeypatch):
  monkeypatch.setattr(contenders, "has_torch", lambda: True)
  monkeypatch.setattr(gpu, "Process", Player)
  monkeypatch.setattr(gpu.exactness, "measure", lambda *_: [])
  monkeypatch.setattr(gpu.Session, "prepare", prepare)
  Player.started = []


def test_rows_that_fail_do_not_stop_the_others(played, tmp_path, capsys):
  assert command.main(["gpu", "--rehearse", f"--output={tmp_path}"]) == 1
  rows = json.loads((tmp_path / "train.json").read_text())["rows"]
  failures = {row["name"]: row["failure"] for row in rows if row["failure"]}
  assert failures == {
    "torch_all": "out of memory",
    "torch_amp": "differs by 1.0e+00 from the first; allowed: 5e-02",
    "torch_tf32": "it ran on cuda",
  }
  speedups = {(row["name"], row["dtype"]): row["speedup"] for row in rows}
  assert speedups["cfi_jax", "bfloat16"] == 2 and speedups["torch_compile", "float32"] == 1
  assert "failed: train torch_all float32, train torch_amp" in capsys.readouterr().out
  assert len(Player.started) == 10 + 4 * 3
  # Those that failed are tried again.
  Player.started = []
  command.main(["gpu", "--rehearse", f"--output={tmp_path}"])
  assert [name for _, name, _ in Player.started] == list(failures)


def test_what_does_not_end_in_time_is_left_out(played, tmp_path, capsys):
  assert command.main(["gpu", "--rehearse", f"--output={tmp_path}", "--seconds=30"]) == 1
  assert "train cfi_jax bfloat16" in capsys.readouterr().out.split("left out for want of time: ")[1]
  assert ("train", "torch_eager", "float32") in Player.started
  assert ("train", "cfi_jax", "bfloat16") not in Player.started


def test_the_budget_learns_how_long_a_kind_takes():
  now = [0.0]
  budget = cases.Budget(100, 2.0, lambda: now[0])
  case = Case("fuse_1", "a", "cfi_jax", "float32", 30)
  other = Case("fuse_16", "b", "cfi_jax", "bfloat16", 60)
  assert budget.fits(case)
  now[0] = 45
  assert budget.left == 55 and not budget.fits(case)
  budget.ended(case, 20)
  assert budget.fits(case) and budget.fits(other)
  budget.ended(other, 56)
  assert not budget.fits(case)


def test_a_way_that_computes_something_else_is_found():
  random = np.random.default_rng(0)
  exact = {name: random.normal(size=(4, 4)) for name in ("a", "b")} | {"loss": np.float64(1)}
  plain = {"float32": {k: v * (1 + 1e-6) for k, v in exact.items()}}
  case = Case("exactness", "fused", "cfi_jax", "float32", 0, {}, cases.PRECISE)

  def row(a, loss=1.0):
    return exactness.compare(case, plain["float32"] | {"a": a, "loss": loss}, exact, plain)

  good = row(exact["a"], 1.5)
  assert good.failure is None and good.worst_array == "b" and good.loss == 0.5
  assert good.distance < 1.1e-6 and good.worst == pytest.approx(1e-6)
  # Further than 1e-3 from plain, though within as much of float64.
  plain["float32"] = {k: v * (1 - 9e-4) for k, v in exact.items()}
  near = row(exact["a"] * (1 + 9e-4))
  assert (
    near.failure.endswith("from the plain way, allowed 1e-03") and "float64" not in near.failure
  )
  far = row(exact["a"] * 1.1)
  assert "from float64, allowed 1e-03" in far.failure
  assert exactness.compare(case, "crashed", exact, plain).failure == "crashed"
  text = exactness.table(
    exactness.report([good, far], {"size": "x"}, "command") | {"machine": {"device": "d"}}
  )
  assert text.count("fused") == 3 and "allowed" in text


def test_the_plan_has_every_way_and_every_variant():
  plan = cases.timed(cases.MEASURED)
  assert len({case.key for case in plan}) == len(plan) == 22
  names = {case.contender for case in plan if case.table == "train"}
  assert names == {"cfi_jax", *contenders.TORCH_NAMES["train"]}
  assert [case.name for case in cases.exactness()[1:5]] == list(cases.WAYS)
  assert plan[0].dtype == "bfloat16" and plan[0].contender == "cfi_jax"
  # So much fits into the time that is given by default, with the check of exactness.
  assert sum(case.seconds for case in plan[:6]) + 100 < 480


def test_it_needs_a_gpu_or_a_rehearsal(capsys, tmp_path):
  assert command.main(["gpu"]) == 2
  assert "--output=DIR is missing" in capsys.readouterr().err
  assert command.main(["gpu", f"--output={tmp_path}"]) == 2
  assert "no GPU is at hand" in capsys.readouterr().err


def test_it_commits_the_tables(played, monkeypatch, tmp_path):
  called = []
  chosen(monkeypatch, [("fuse_1", "cfi_jax", "bfloat16")])
  run = lambda arguments, check: called.append(arguments)  # noqa: E731
  monkeypatch.setattr(gpu, "subprocess", types.SimpleNamespace(run=run))
  assert command.main(["gpu", "--rehearse", "--commit", f"--output={tmp_path}"]) == 0
  assert [arguments[1] for arguments in called] == ["add", "commit"]
  assert called[1][-1] == str(tmp_path)
