"""The course of a run, by a system of two numbers per image: what happens after which step."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core import progress
from cfi_jax.core.types import InputError
from cfi_jax.engine import loop, programs
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.cluster.preemption import Preemption
from cfi_jax.engine.goodput import Goodput
from cfi_jax.engine.procedure import Evaluation
from cfi_jax.engine.workdir import logs, record
from cfi_jax.engine.workdir.lock import FILE, Lock
from cfi_jax.engine.workdir.mirror import Mirror

toys.install()


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_pairs):
  root = tmp_path_factory.mktemp("course")
  write_pairs(root, 8)
  return root


@pytest.fixture(scope="module")
def toy(root):
  """A function of changed values that gives the system and its config."""

  def make(**changes):
    values = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:one").to_dict()
    values["data"]["root"] = str(root)
    values["checkpoint"] |= changes.pop("checkpoint", {})
    values["input"] |= changes.pop("input", {})
    return systems.configure(values | changes)

  return make


def changed(system, **changes):
  """The system with other functions in its procedure."""
  procedure = system.procedure
  return types.SimpleNamespace(
    **{name: getattr(system, name) for name in dir(system) if not name.startswith("__")}
    | {"procedure": lambda config, steps: procedure(config, steps)._replace(**changes)}
  )


def course(workdir):
  """Steps of the rows of each kind, and of the checkpoints."""
  rows = logs.read_metrics(workdir / logs.METRICS_FILE)
  saved = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
  return (
    [row["step"] for row in rows if row["kind"] == "train"],
    [row["step"] for row in rows if row["kind"] == "validation"],
    saved,
  )


OFTEN = {"log_every": 3, "validate_every": 4, "checkpoint": {"every": 5, "keep": 9}, "steps": 11}


@pytest.mark.parametrize("most", [1, 4])
def test_a_run_logs_validates_and_saves_when_it_should(toy, tmp_path, capsys, most):
  workdir = tmp_path / "run"
  assert loop.train(*toy(**OFTEN, steps_per_dispatch=most), workdir) == 11
  assert course(workdir) == ([3, 6, 9, 11], [4, 8, 11], [4, 5, 8, 10, 11])
  said = capsys.readouterr().out
  assert "6 training pairs, 11 steps" in said and "trained 11 steps" in said
  assert str(workdir / logs.PICTURES) in said and "going on" not in said
  assert not (workdir / FILE).exists()  # the lock is given back

  # The same command again finds nothing to do, and more steps are another run.
  before = sorted((path, path.stat().st_mtime_ns) for path in workdir.rglob("*checkpoints/*"))
  assert loop.train(*toy(**OFTEN, steps_per_dispatch=most), workdir) == 11
  assert "already holds step 11 of 11: nothing to do" in capsys.readouterr().out
  after = sorted((path, path.stat().st_mtime_ns) for path in workdir.rglob("*checkpoints/*"))
  assert before == after and course(workdir)[0] == [3, 6, 9, 11]


@pytest.fixture(scope="module")
def whole(toy, root):
  """The folder of an undisturbed run."""
  loop.train(*toy(**OFTEN), root / "whole")
  return root / "whole"


@pytest.mark.parametrize("stop", [2, 7, 11])
def test_a_stopped_run_saves_there_and_ends_as_the_undisturbed_one(
  toy, whole, tmp_path, capsys, monkeypatch, checkpoint_leaves, stop
):
  broken, asked = tmp_path / "broken", []
  with monkeypatch.context() as patched:
    patched.setattr(Preemption, "reached", lambda self, k: asked.append(k) or k == stop)
    assert loop.train(*toy(**OFTEN), broken) == stop
  # Every dispatch asks, without a gap; the last step asks nobody.
  assert asked == list(range(1, min(stop, 10) + 1))
  said = capsys.readouterr().out
  assert (f"saved after step {stop} of 11" in said) == (stop < 11)
  assert course(broken)[2][-1] == stop
  if stop < 11:
    assert loop.train(*toy(**OFTEN), broken) == 11
    assert f"going on after step {stop} from {broken}" in capsys.readouterr().out
  ours, theirs = (checkpoint_leaves(folder, 11) for folder in (broken, whole))
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  # The best is kept by its validation, whichever start measured it.
  first, second = (logs.read_metrics(folder / logs.METRICS_FILE) for folder in (whole, broken))
  values = [
    {row["step"]: row["loss"] for row in rows if row["kind"] == "validation"}
    for rows in (first, second)
  ]
  assert values[0] == values[1] and list(values[0]) == [4, 8, 11]


def test_the_host_waits_for_the_device_when_something_is_due_and_not_else(
  toy, tmp_path, monkeypatch, capsys
):
  waited, flush, inputs = [], logs.Writer.flush, []

  def counting(self, compilations):
    waited.append(self._pending[-1][0][-1])
    return flush(self, compilations)

  monkeypatch.setattr(logs.Writer, "flush", counting)
  monkeypatch.setattr(Goodput, "waited", lambda self, seconds: inputs.append(seconds))
  for name in ("FIRST", "EVERY"):
    monkeypatch.setattr(progress, name, 0)  # every step is told
  rarely = {"log_every": 3, "validate_every": 99, "checkpoint": {"every": 5}, "steps": 11}
  loop.train(*toy(**rarely), tmp_path / "run")
  assert waited == [3, 5, 6, 9, 10, 11]
  assert len(inputs) == 11 and min(inputs) > 0
  told = [line for line in capsys.readouterr().err.splitlines() if "training: " in line]
  assert [", loss " in line for line in told] == [False] * 3 + [True] * 8  # once it was fetched


@pytest.mark.parametrize("due", ["log_every", "validate_every", "every", "stop"])
def test_a_loss_that_is_not_finite_is_neither_logged_nor_saved(toy, tmp_path, monkeypatch, due):
  """Whatever it is that makes the host look at step 5."""
  rarely = {"log_every": 99, "validate_every": 99, "checkpoint": {"every": 99}, "steps": 11}
  changes = {"every": {"checkpoint": {"every": 5}}, "stop": {}}.get(due, {due: 5})
  monkeypatch.setattr(Preemption, "reached", lambda self, k: due == "stop" and k == 5)
  system, config = toy(**rarely | changes)
  plain = system.procedure(config, 11).train_step

  def breaks_in_step_5(state, batch, constants, key):
    new, metrics = plain(state, batch, constants, key)
    return new, {"loss": jnp.where(state.step == 4, jnp.inf, metrics["loss"])}

  with pytest.raises(logs.DivergedError, match="step 5: loss = inf"):
    loop.train(changed(system, train_step=breaks_in_step_5), config, tmp_path / "run")
  assert course(tmp_path / "run") == ([], [], [])
  assert not (tmp_path / "run" / FILE).exists()


def test_a_run_without_held_out_pairs_has_no_validation_and_no_word_of_pictures(
  toy, tmp_path, capsys
):
  system, config = toy(**OFTEN)
  system = changed(system)
  system.held_out = lambda config: None
  assert loop.train(system, config, tmp_path / "run") == 11
  assert course(tmp_path / "run") == ([3, 6, 9, 11], [], [4, 5, 8, 10, 11])
  assert logs.PICTURES not in capsys.readouterr().out
  assert "validation" not in record.read(tmp_path / "run")["data"]


@pytest.mark.parametrize("owner", [Lock, Mirror])
def test_a_workdir_that_was_lost_stops_the_run_before_it_saves(toy, tmp_path, monkeypatch, owner):
  calls = []

  def require(self):
    calls.append(1)
    if len(calls) == 5:
      raise InputError("taken over")

  monkeypatch.setattr(owner, "require", require)
  with pytest.raises(InputError, match="taken over"):
    loop.train(*toy(**OFTEN), tmp_path / "run")
  assert course(tmp_path / "run")[2] == [4]


def test_training_and_validation_draw_from_the_runs_seed_and_the_step(toy, tmp_path):
  """Keys of a step depend on (seed, step), those of a validation on the seed alone."""
  system, config = toy(steps=3)

  def train_step(state, batch, constants, key):
    drawn = jax.random.uniform(key)
    return state.replace(step=state.step + 1), {"loss": drawn}

  def eval_step(state, samples, constants, key):
    drawn = jax.random.uniform(key) + 0 * samples.noise
    pictures = jnp.zeros((len(samples.noise), 2, 2), jnp.uint8)
    return Evaluation({"loss": drawn, "noise": samples.noise}, {}, pictures)

  system = changed(system, train_step=train_step, eval_step=eval_step)
  losses, drawn = {}, {}
  for name, seed in (("a", 0), ("again", 0), ("b", 1)):
    run = run_lib.open_run(system, dataclasses.replace(config, seed=seed), tmp_path / name)
    program, step = programs.compile_eval_step(run), programs.compile_train_step(run)
    state = run.initial_state()
    images = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), run.held_out.item)
    found = program(state, (), images)
    drawn[name] = float(found.values["loss"][0]), *map(float, found.values["noise"])
    losses[name] = []
    for chunk in loop._chunks(run, 0):
      state, metrics = step(state, {"pairs": ()}, (), chunk.inputs)
      losses[name].append(float(metrics["loss"]))
    expected = jax.random.key(seed)
    assert drawn[name][0] == jax.random.uniform(expected)
    assert losses[name] == [jax.random.uniform(jax.random.fold_in(expected, k)) for k in range(3)]
  assert drawn["a"] == drawn["again"] and losses["a"] == losses["again"]
  assert all(a != b for a, b in zip(drawn["a"], drawn["b"], strict=True))


def test_rows_of_a_batch_must_be_shared_evenly(toy, tmp_path, monkeypatch):
  system, config = toy()
  mesh = types.SimpleNamespace(size=3)
  monkeypatch.setattr(run_lib.sharding, "make_mesh", lambda rows: mesh)
  with pytest.raises(InputError, match=r"'pairs' has 4 rows .* 3 devices .* multiples of 3"):
    run_lib.open_run(system, config, tmp_path / "run")


@pytest.mark.parametrize(("epochs", "steps"), [(1.0, 2), (1.3, 2), (1.4, 3), (0.1, 1)])
def test_epochs_are_rounded_up_to_whole_steps(toy, epochs, steps):
  system, config = toy(epochs=epochs, steps=0)
  assert run_lib.count_steps(config, system.streams(config)["pairs"]) == steps  # of 6 pairs
  assert run_lib.count_steps(dataclasses.replace(config, steps=7), None) == 7


def test_a_stream_may_not_be_called_what_the_record_uses(toy):
  system, config = toy()
  stream = system.streams(config)["pairs"]
  for name in ("train", "validation", "constants"):
    with pytest.raises(InputError, match=f"a stream is called '{name}'"):
      run_lib.describe({"pairs": stream, name: stream}, None)
  found = run_lib.describe({"train": stream, "support": stream}, stream)
  assert list(found) == ["train", "support", "validation"] and found["train"]["pairs"] == 6


@pytest.mark.parametrize(("taken", "whole"), [(4, False), (5, True), (6, True)])
def test_steps_taken_tell_whether_they_are_all(taken, whole):
  found = loop.Steps.of(taken, types.SimpleNamespace(steps=5))
  assert found == taken and found.whole is whole
