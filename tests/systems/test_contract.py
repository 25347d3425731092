"""The contract between the engine and a system, for every folder of systems and for the toys.

A new system is tested by a config beside its other tests: tests/systems/NAME/tiny.py, small enough
to train in seconds on pairs of 24x24, or on pictures that its data set generates.
"""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import types

import jax
import numpy as np
import pytest
import toys
from command_line import ROOT, run
from full import only_full

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import feed, loop, sharding
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.workdir import logs
from cfi_jax.engine.workdir.checkpoint import Checkpoints
from cfi_jax.systems import files

toys.install()
REAL = tuple(name for name in systems.names() if name not in toys.NAMES)
ALL = (*REAL, *toys.NAMES)
# Systems of one learner that begin with weights; of others tests/systems/NAME has the test.
# Toys, of every shape that the engine carries; real systems, which compile for many seconds.
QUICK = [*toys.NAMES, *(pytest.param(name, marks=only_full) for name in REAL)]
AVERAGED = [n for n in REAL if n != "dfcnet" and hasattr(systems.find(n), "begin")]
CLOCK = logs.CLOCK


def config_file(name):
  folder = ROOT / "tests" / "systems" / name / "tiny.py"
  return str(folder) if name in REAL else f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:{name}"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, write_pairs):
  root = tmp_path_factory.mktemp("contract")
  write_pairs(root, 8)
  np.savez(root / "teacher.npz", gain=np.float32([0.25, 0.75]), bias=np.float32(0.125))
  return root


def has_files(name):
  """Whether the system's smallest config reads files; else its data set generates its pictures."""
  return "root" in config_lib.load(config_file(name)).data


@pytest.fixture(params=ALL)
def name(request):
  return request.param


def values_of(name, pairs):
  values = config_lib.load(config_file(name)).to_dict()
  if has_files(name):
    values["data"]["root"] = str(pairs)
  return values | ({"teacher": str(pairs / "teacher.npz")} if "teacher" in values else {})


@pytest.fixture
def opened(name, pairs, tmp_path):
  system, config = systems.configure(values_of(name, pairs))
  return system, run_lib.open_run(system, config, tmp_path / "run")


def command(name, pairs, workdir, *overrides):
  teacher = [f"--config.teacher={pairs / 'teacher.npz'}"] if name == "frozen" else []
  config = [f"--config={config_file(name)}"]
  config += [f"--config.data.root={pairs}"] if has_files(name) else []
  return [*config, f"--workdir={workdir}", *teacher, *(f"--config.{o}" for o in overrides)]


def rows(workdir):
  read = logs.read_metrics(workdir / logs.METRICS_FILE)
  return [{k: v for k, v in row.items() if k not in CLOCK} for row in read]


def first_batch(opened_run):
  items = next(feed.items(opened_run.feeds, 0, 1))
  return feed.cutter(opened_run.feeds)({n: () for n in items}, items, jax.random.key(3))


def test_the_config_builds_and_a_typo_is_refused(name, pairs):
  values = values_of(name, pairs)
  system, config = systems.configure(values)
  assert config.system == name and isinstance(config, system.Config)
  with pytest.raises(InputError, match=r"unknown 'sead' \(did you mean 'seed'\?\); valid keys: "):
    systems.configure(values | {"sead": 1})


# Real systems are traced for seconds; their compiled step refuses another state in its second step,
# which test_what_is_kept_is_restored_strictly_and_becomes_weights takes.
@pytest.mark.parametrize("name", QUICK)
def test_a_step_keeps_shapes_and_dtypes(opened):
  _, opened_run = opened
  procedure, batch = opened_run.procedure, first_batch(opened_run)
  state = opened_run.state_shapes()
  assert state.step.shape == () and state.step.dtype == np.int32
  key = jax.random.key(0)
  new, metrics = jax.eval_shape(procedure.train_step, state, batch, opened_run.constants, key)
  described = [jax.tree.map(lambda x: (x.shape, x.dtype), tree) for tree in (state, new)]
  assert described[0] == described[1]
  assert "loss" in metrics and all(x.shape == () for x in metrics.values())


def test_validation_measures_every_sample(opened):
  _, opened_run = opened
  if opened_run.held_out is None:
    pytest.skip("this system holds nothing out")
  stream, item = opened_run.held_out.stream, opened_run.held_out.item
  samples = jax.eval_shape(lambda i: feed.finish(stream, i, jax.random.key(0), "held_out"), item)
  evaluation = jax.eval_shape(
    opened_run.procedure.eval_step,
    opened_run.state_shapes(), samples, opened_run.constants, jax.random.key(0),
  )  # fmt: skip
  assert "loss" in evaluation.values
  for value in (*evaluation.values.values(), *evaluation.scores.values()):
    assert value.shape == (stream.rows,)
  pictures = evaluation.pictures
  assert pictures.dtype == np.uint8 and len(pictures) == stream.rows and pictures.ndim in (3, 4)


def test_the_seed_alone_decides_the_first_state(opened):
  _, opened_run = opened
  states = [opened_run.initial_state() for _ in range(2)]
  jax.tree.map(np.testing.assert_array_equal, *states)
  assert int(states[0].step) == 0


@pytest.mark.parametrize("name", QUICK)
def test_key_and_step_alone_decide(opened):
  _, opened_run = opened
  batch = first_batch(opened_run)
  step = jax.jit(opened_run.procedure.train_step)
  states = [opened_run.initial_state() for _ in range(2)]
  once, again = (step(s, batch, opened_run.constants, jax.random.key(5)) for s in states)
  jax.tree.map(np.testing.assert_array_equal, once, again)
  assert int(once[0].step) == 1


def test_samples_depend_on_their_own_keys(opened):
  _, opened_run = opened
  feeds = opened_run.feeds
  items = next(feed.items(feeds, 0, 1))
  cut = feed.cutter(feeds)
  same, other = (cut({n: () for n in items}, items, jax.random.key(k)) for k in (3, 3))
  jax.tree.map(np.testing.assert_array_equal, same, other)
  for batch in same.values():
    if hasattr(batch, "noise"):
      assert len(np.unique(batch.noise)) == len(batch.noise)


def test_other_streams_draw_otherwise(pairs, tmp_path):
  system, config = systems.configure(values_of("duel", pairs))
  feeds = run_lib.open_run(system, config, tmp_path / "run").feeds
  assert feeds["pairs"].seed == 0 and feeds["support"].seed not in (0, feeds["pairs"].seed)
  first = {name: next(each.items(0, 1)) for name, each in feeds.items()}
  assert first["support"]["visible"].shape == (8, 16, 16, 1)
  assert not np.array_equal(first["pairs"]["visible"], first["support"]["visible"][:4])


# Of ISFuse see tests/engine/test_resume.py; that real systems restore all that they keep, below.
@pytest.mark.parametrize("name", QUICK)
def test_runs_that_are_killed_and_stopped_end_as_the_undisturbed_one(
  name, pairs, tmp_path, checkpoint_leaves
):
  whole, broken = tmp_path / "whole", tmp_path / "broken"
  done = run("toys.train", *command(name, pairs, whole))
  assert done.returncode == 0, done.stderr
  killed = run("toys.train", *command(name, pairs, broken), SIGNAL="SIGKILL", SIGNAL_AFTER="8")
  assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
  stopped = run("toys.train", *command(name, pairs, broken), SIGNAL="SIGTERM", SIGNAL_AFTER="17")
  assert stopped.returncode == 0 and "SIGTERM: saved after step" in stopped.stdout, stopped.stdout
  assert "taken over from process" in stopped.stdout
  assert run("toys.train", *command(name, pairs, broken)).returncode == 0
  ours, theirs = checkpoint_leaves(broken, 40), checkpoint_leaves(whole, 40)
  assert ours.keys() == theirs.keys()
  for leaf in theirs:
    np.testing.assert_array_equal(ours[leaf], theirs[leaf], err_msg=leaf)
  assert rows(broken) == rows(whole)
  assert (whole / "pictures").is_dir() == any(row["kind"] == "validation" for row in rows(whole))


# Of ISFuse see tests/engine/test_resume.py; both ways of feeding occur, both with two streams.
@pytest.mark.parametrize(
  ("name", "device_gb"),
  [
    ("one", 0), ("frozen", 1), ("duel", 0), ("duel", 1),
    pytest.param("dfcnet", 0, marks=only_full), pytest.param("perception", 0, marks=only_full),
  ],
)  # fmt: skip
def test_one_and_four_devices_take_the_same_steps(
  name, device_gb, pairs, tmp_path, checkpoint_leaves
):
  overrides = ("steps=5", "checkpoint.every=5", f"input.device_gb={device_gb}")
  for devices in (1, 4):
    flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
    done = run(
      "toys.train", *command(name, pairs, tmp_path / str(devices), *overrides), XLA_FLAGS=flags
    )
    assert done.returncode == 0, done.stderr
  one, four = (checkpoint_leaves(tmp_path / str(n), 5) for n in (1, 4))
  for leaf in one:
    np.testing.assert_allclose(four[leaf], one[leaf], rtol=2e-5, atol=1e-6, err_msg=leaf)


def test_what_is_kept_is_restored_strictly_and_becomes_weights(
  name, pairs, tmp_path, checkpoint_leaves
):
  system, config = systems.configure(values_of(name, pairs) | {"steps": 2})
  workdir = tmp_path / "run"
  assert loop.train(system, config, workdir) == 2
  template = jax.eval_shape(system.procedure(config, 1).init, jax.random.key(0))
  mesh = sharding.make_mesh(config.batch_size)
  with Checkpoints(workdir, config.checkpoint, read_only=True) as checkpoints:
    state = checkpoints.restore(template, mesh)
    for wrong, words in (
      (dataclasses.replace(template, step={}), "extra step"),
      (
        dataclasses.replace(template, step=jax.ShapeDtypeStruct((2,), np.int32)),
        r"step is int32\[\]",
      ),
    ):
      with pytest.raises(InputError, match=words):
        checkpoints.restore(wrong, mesh)
  variables, card = files.from_workdir(workdir)
  assert card.system == name and json.loads(card.recipe)["step"] == 2
  expected = jax.device_get(system.product(config, state)[0])
  jax.tree.map(np.testing.assert_array_equal, variables, expected)
  path = tmp_path / "weights.safetensors"
  files.save(path, variables, card)
  loaded, read_card = files.load(path)
  assert read_card == card
  jax.tree.map(np.testing.assert_array_equal, loaded, jax.tree.map(np.float32, expected))
  assert system.load(loaded, read_card.architecture) is not None
  if name in toys.NAMES:
    with pytest.raises(InputError, match=f"weights of the system '{name}', which fuses no images"):
      files.load_fuser(path)


def test_frozen_constants_are_part_of_a_runs_identity(pairs, tmp_path):
  values = values_of("frozen", pairs) | {"steps": 1}
  loop.train(*systems.configure(values), tmp_path / "run")
  other = tmp_path / "other.npz"
  np.savez(other, gain=np.float32([1, 0]), bias=np.float32(0))
  with pytest.raises(InputError, match="data.constants.teacher"):
    loop.train(*systems.configure(values | {"teacher": str(other)}), tmp_path / "run")


def test_an_unknown_system_is_named_with_those_there_are(pairs):
  with pytest.raises(InputError, match="config.system is 'isfuze'; valid: .*isfuse"):
    systems.configure(values_of("one", pairs) | {"system": "isfuze"})


def test_the_engine_knows_no_system_and_no_pair():
  for path in (ROOT / "cfi_jax" / "engine").rglob("*.py"):
    text = path.read_text()
    assert "cfi_jax.systems" not in text.replace("`cfi_jax.systems.NAME`", ""), path
    assert "Pair" not in text and "isfuse" not in text.replace('"system": "isfuse"', ""), path


def test_a_process_of_its_own_finds_no_toy():
  code = "from cfi_jax import systems; print(systems.names())"
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
  assert done.stdout.strip() == str(tuple(REAL)), done.stderr


def test_the_example_of_the_documents_trains(pairs, tmp_path, monkeypatch):
  text = (ROOT / "docs" / "adding_a_system.md").read_text()
  (code,) = [c for c in re.findall("```python\n(.*?)```", text, re.DOTALL) if "class Config" in c]
  package = tmp_path / "average"
  package.mkdir()
  (package / "__init__.py").write_text(code)
  monkeypatch.setattr(systems, "__path__", [*systems.__path__, str(tmp_path)])
  values = values_of("one", pairs) | {"system": "average", "rate": 0.3, "steps": 20}
  assert loop.train(*systems.configure(values), tmp_path / "run") == 20
  losses = [row["loss"] for row in rows(tmp_path / "run") if row["kind"] == "train"]
  assert losses[-1] < losses[0]
  variables, card = files.from_workdir(tmp_path / "run")
  files.save(tmp_path / "average.safetensors", variables, card)
  assert files.load(tmp_path / "average.safetensors")[1].system == "average"


def test_streams_that_cannot_be_are_named(pairs, tmp_path, monkeypatch):
  system, config = systems.configure(values_of("one", pairs))
  mesh = sharding.make_mesh(config.batch_size)
  monkeypatch.setattr(sharding, "make_mesh", lambda rows: types.SimpleNamespace(size=3))
  with pytest.raises(InputError, match="'pairs' has 4 rows.*3 devices.*multiples of 3"):
    run_lib.open_run(system, config, tmp_path / "run")
  monkeypatch.setattr(sharding, "make_mesh", lambda rows: mesh)
  monkeypatch.setattr(
    system, "streams", lambda c: dict.fromkeys(("pairs", "validation"), system.held_out(c))
  )
  with pytest.raises(InputError, match="a stream is called 'validation'"):
    run_lib.open_run(system, config, tmp_path / "run")


class Fields(types.SimpleNamespace):
  """A state of any fields."""

  def replace(self, **changed):
    return Fields(**vars(self) | changed)


@pytest.mark.parametrize("decay", [0.0, 0.9])
@pytest.mark.parametrize("name", AVERAGED)
def test_a_run_that_begins_with_weights_averages_from_them(name, decay, pairs):
  values = values_of(name, pairs)
  values["optim"]["ema_decay"] = decay
  system, config = systems.configure(values)
  given = {"params": {"w": 1}, "batch_stats": {"m": 2}}
  begun = system.begin(config, Fields(step=0, params={}, opt_state="s", ema_params=None), given)
  assert (begun.step, begun.opt_state, begun.params) == (0, "s", {"w": 1})
  assert begun.ema_params == ({"w": 1} if decay else {})
  if hasattr(begun, "batch_stats"):
    assert begun.batch_stats == {"m": 2}
