"""The grid of rows and seeds, with a training that only counts; and the command of studies."""

import dataclasses

import pytest
from command_line import ROOT, run

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.engine.workdir.logs import DivergedError
from cfi_jax.study import __main__ as command
from cfi_jax.study import (
  ablations,
  dissect,
  downstream,
  grid,
  models,
  options,
  results,
  shift,
  transfers,
  weather,
)
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.config import Config

CONFIGS = (
  "amgfuse_ablations", "dissect", "downstream", "levers", "medical_results", "results",
  "rule_options", "shift", "weather",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Identity:
  """Values that must stay in a workdir of these tests."""

  metric: str


@dataclasses.dataclass(frozen=True)
class Rows(grid.Rows):
  """Rows whose trainings differ in the batch size."""

  def __post_init__(self):
    self.check_rows(("a", "b"))

  def config(self, row, seed):
    base = config_lib.build(Config, recipes.released().to_dict())
    return dataclasses.replace(base, seed=seed, batch_size=1 + (row == "b"))


@pytest.fixture
def trained(monkeypatch):
  """The runs that were trained, by (batch size, seed); the next are stopped where it holds None."""
  done = []

  def train(config, folder, steps):
    assert steps == 10 * config.batch_size
    if None in done:
      return False
    done.append((config.batch_size, config.seed))
    return True

  def count_steps(config, folder):
    if config.seed == 7:
      raise InputError("seven is refused")
    return 10 * config.batch_size

  monkeypatch.setattr(models, "train", train)
  monkeypatch.setattr(models, "count_steps", count_steps)
  return done


def complete(workdir, rows, seeds, metric="EN", **options):
  """Completes a grid; gives whether all is done, and the runs of every report."""
  reports = []

  def finish(run):
    file = cells.file(*run)
    file.parent.mkdir(exist_ok=True)
    file.write_text(f"{cells.folder(*run).name} {cells.steps[run]}")

  with Lock(workdir) as lock:
    cells = grid.Grid(Rows(rows, seeds), workdir, "kept/{}.txt", lock)
    own, scores = (record.Identity(Identity(metric), data) for data in ({}, {"pairs": 1}))
    cells.claim({"": own, "scores/tno": scores})
    return cells.complete(finish, lambda done: reports.append(tuple(done)), **options), reports


def test_seeds_are_the_outer_loop_and_tables_follow_every_run(trained, tmp_path):
  done, reports = complete(tmp_path, ("b", "a"), (3, 1))
  assert done and trained == [(2, 3), (1, 3), (2, 1), (1, 1)]
  assert [len(runs) for runs in reports] == [0, 1, 2, 3, 4]
  assert reports[-1] == (("b", 3), ("a", 3), ("b", 1), ("a", 1))
  assert (tmp_path / "kept" / "b-3.txt").read_text() == "b-3 20"


def test_what_is_there_is_kept_and_what_is_added_trained(trained, tmp_path):
  complete(tmp_path, ("a",), (0, 1))
  trained.clear()
  done, reports = complete(tmp_path, ("a", "b"), (0, 1))
  assert done and trained == [(2, 0), (2, 1)]
  assert reports[0] == (("a", 0), ("a", 1)) and len(reports) == 3
  (tmp_path / "kept" / "a-1.txt").unlink()
  trained.clear()
  assert complete(tmp_path, ("a", "b"), (0, 1))[0] and trained == [(1, 1)]


def test_tables_of_whole_seeds_wait_for_all_rows(trained, tmp_path):
  complete(tmp_path, ("a",), (0, 1))
  _, reports = complete(tmp_path, ("a", "b"), (0, 1), whole_seeds=True)
  first, second = (("a", 0), ("b", 0)), (("a", 1), ("b", 1))
  assert reports == [(), first, first + second]
  assert complete(tmp_path, ("b", "a"), (1,), whole_seeds=True)[1] == [second[::-1]]


def test_a_stopped_study_says_so_and_goes_on(trained, tmp_path):
  trained.append(None)
  done, reports = complete(tmp_path, ("a", "b"), (0,))
  assert not done and reports == [()] and not (tmp_path / "kept").exists()
  trained.clear()
  assert complete(tmp_path, ("a", "b"), (0,))[0] and len(trained) == 2


def test_another_study_is_refused_and_a_refused_one_writes_nothing(trained, tmp_path):
  with pytest.raises(InputError, match="seven is refused"):
    complete(tmp_path / "new", ("a",), (0, 7))
  assert not (tmp_path / "new").exists() and not trained
  complete(tmp_path, ("a",), (0,))
  before = (tmp_path / record.FILE).read_bytes()
  with pytest.raises(InputError, match="holds another run; differences .*'EN', 'SSIM'"):
    complete(tmp_path, ("a",), (0,), metric="SSIM")
  assert (tmp_path / record.FILE).read_bytes() == before
  (tmp_path / record.FILE).unlink()  # then the other record refuses, before this one is written
  with pytest.raises(InputError, match="scores/tno holds another run"):
    complete(tmp_path, ("a",), (0,), metric="SSIM")
  assert not (tmp_path / record.FILE).exists()


@pytest.mark.parametrize(
  ("rows", "seeds", "message"),
  [
    (("a", "c"), (0,), "config.order: there is no 'c'; valid: a, b"),
    ((), (0,), r"config.order is \(\); allowed: one or more, each once"),
    (("a", "a"), (0,), "config.order is .*; allowed: one or more, each once"),
    (("a",), (1, 1), r"config.seeds is \(1, 1\); allowed: one or more, each once"),
    (("a",), (), r"config.seeds is \(\); allowed"),
    (("a",), (-1,), "config.seed is -1; allowed: 0 to"),
  ],
)
def test_bad_rows_and_seeds_are_named(rows, seeds, message):
  with pytest.raises(InputError, match=message):
    Rows(rows, seeds)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_config_says_which_study_it_is_or_it_is_told(name, tmp_path, monkeypatch):
  file = ROOT / "configs" / f"{name}.py"
  assert f"python -m cfi_jax.study --config=configs/{name}.py" in file.read_text()
  began = []
  packages = (results, shift, weather, ablations, transfers, options, downstream, dissect)
  for study, package in zip(command.STUDIES, packages, strict=True):
    monkeypatch.setattr(
      package, "run", lambda built, workdir, study=study: began.append((study, built, workdir))
    )
  values = config_lib.load(str(file)).to_dict()
  if name == "weather":
    values["methods"]["weather"] = "medical"
  if name == "amgfuse_ablations":
    with pytest.raises(InputError, match="config.rows.full: loss.tdas is 5.0, which needs"):
      command.run(values, tmp_path)
    for row in values["rows"].values():
      row["restoration"]["weights"] = "some.safetensors"
  command.run(values, tmp_path)
  kind = values["study"]
  assert began[0][0] == {"amgfuse_ablations": "ablations", "rule_options": "options"}.get(
    name, name if name in command.STUDIES else "results"
  )
  if kind in ("results", "shift"):
    del values["study"]  # as in config files of before there was such a field
    command.run(values, tmp_path)
    assert began[0] == began[1]
  with pytest.raises(InputError, match="config.study is 'levers'; valid: results, shift, weather"):
    command.run(values | {"study": "levers"}, tmp_path)


def test_flags_are_required_and_known():
  assert "--config is missing" in run("cfi_jax.study").stderr
  missing = run("cfi_jax.study", f"--config={ROOT / 'configs' / 'shift.py'}")
  assert missing.returncode == 2 and "--workdir is missing" in missing.stderr


@pytest.mark.parametrize("outcome", ["done", "stopped", "diverged"])
def test_the_command_says_how_it_ended(outcome, tmp_path, monkeypatch, capsys):
  def study(values, workdir):
    assert values == {"rows": {}} and workdir == tmp_path
    if outcome == "diverged":
      raise DivergedError("step 3: loss = nan")
    return outcome == "done"

  given = {"config": {"rows": {}}, "workdir": str(tmp_path)}
  monkeypatch.setattr(command, "run", study)
  status, printed = command.main(given), capsys.readouterr()
  assert status == (outcome == "diverged")
  assert printed.out == ("stopped; the same command goes on from there\n" * (outcome == "stopped"))
  assert ("the loss is not finite at step 3: loss = nan" in printed.err) == (outcome == "diverged")
