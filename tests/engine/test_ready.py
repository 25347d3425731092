"""Order of what comes before a run's first step and after its last; nothing is compiled."""

import contextlib
import errno
import types

import jax
import numpy as np
import pytest

from cfi_jax.core.types import StorageError
from cfi_jax.engine import loop, programs, sharding
from cfi_jax.engine.goodput import Goodput


@pytest.fixture
def events(monkeypatch):
  """Happenings in their order; the places where processes wait for each other are noted here."""
  noted = []
  monkeypatch.setattr(sharding, "wait_for_processes", lambda place: noted.append(f"at {place}"))
  return noted


class Images:
  """Six images of a stream."""

  def __init__(self, name):
    self.description = f"images of {name}"

  def __len__(self):
    return 6


@pytest.fixture
def run(events, tmp_path):
  """A run of two streams."""

  def make_feed(name):
    return types.SimpleNamespace(
      stream=types.SimpleNamespace(source=Images(name)),
      description=f"{name} stays",
      advice=", or less" if name == "a" else "",
      load=lambda mesh: events.append(f"load {name}") or name,
    )

  return types.SimpleNamespace(
    mesh=sharding.make_mesh(1),
    feeds={name: make_feed(name) for name in "ab"},
    held_out=make_feed("c"),
    constants={"c": np.ones(1)},
    config=types.SimpleNamespace(
      checkpoint="options", memory_gb=1.5, batch_size=4, input=types.SimpleNamespace(crop=16)
    ),
    say=events.append,
    seed=lambda: 7,
    steps=9,
    workdir=tmp_path,
    identity="identity",
  )


@pytest.mark.parametrize("process", [0, 1])
def test_nothing_is_written_before_all_is_ready_and_then_by_process_0(
  run, events, monkeypatch, process
):
  def prepare(given, constants):
    assert given is run and isinstance(constants["c"], jax.Array)
    return "validation"

  def note(name):
    return lambda *given: events.append((name, *given))

  monkeypatch.setattr(programs, "compile_train_step", lambda run: events.append("compile"))
  monkeypatch.setattr(loop.validation, "prepare", prepare)
  monkeypatch.setattr(loop.record, "check", note("check"))
  monkeypatch.setattr(loop.record, "write", note("write"))
  monkeypatch.setattr(jax, "process_index", lambda: process)
  compilations = types.SimpleNamespace(describe=lambda: ", 1 of 2 programs from the cache")
  lock = types.SimpleNamespace(acquire=lambda: events.append("lock"))
  ready = loop.get_ready(run, compilations, lock)
  (compiled,) = (line for line in events if line[:8] == "compiled")
  assert compiled.endswith(" s, 1 of 2 programs from the cache")
  assert events == [
    "6 training pairs, 9 steps",
    *("images of a", "images of b", "images of c"),
    *("a stays; compiling", "b stays"),
    *("compile", compiled, "load a", "load b", "at compiled"),
    *(("lock", ("check", run.workdir, "identity"), ("write", run.workdir, "identity"))
      if process == 0 else ()),
  ]  # fmt: skip
  assert ready.validation == "validation" and ready.canvases == {"a": "a", "b": "b"}
  assert ready.goodput.row()["seconds_compiling"] > 0


@pytest.mark.parametrize("process", [0, 1])
def test_process_0_makes_the_workdir_ready_for_the_others(run, events, monkeypatch, process):
  def make(workdir, require):
    events.append("mirror")
    return types.SimpleNamespace(folder=workdir, sync=lambda: events.append("sync"))

  def look(folder, options):
    assert (folder, options) == (run.workdir, "options")
    return ["x is damaged"]

  monkeypatch.setattr(loop, "Mirror", make)
  monkeypatch.setattr(loop, "set_aside_unreadable", look)
  monkeypatch.setattr(jax, "process_index", lambda: process)
  found = loop.take_workdir(run, types.SimpleNamespace(require=None))
  assert found.folder == run.workdir
  line = f"x is damaged; moved to {run.workdir / 'damaged'}"
  first = ["mirror", line, "sync", "at workdir ready"]
  assert events == (first if process == 0 else ["at workdir ready", "mirror"])


@pytest.mark.parametrize(
  ("asked_by", "done", "line"),
  [
    ("", 4, "SIGTERM: saved after step 4 of 9; the same command goes on from there"),
    ("SIGHUP", 4, "SIGHUP: saved after step 4 of 9; the same command goes on from there"),
    ("", 9, "trained 9 steps; checkpoints: "),
  ],
)
def test_what_was_saved_is_on_the_disk_before_it_is_said(
  run, events, monkeypatch, asked_by, done, line
):
  kept = types.SimpleNamespace(wait=lambda: events.append("wait"))
  monkeypatch.setattr(loop, "Checkpoints", lambda *given, **options: contextlib.nullcontext(kept))
  monkeypatch.setattr(loop.record, "about", lambda identity: identity)
  monkeypatch.setattr(loop, "_restore", lambda run, checkpoints: (2, "state"))
  monkeypatch.setattr(loop, "_loop", lambda *given: done)
  preemption = types.SimpleNamespace(begin=lambda: events.append("begin"), asked_by=asked_by)
  mirror = types.SimpleNamespace(folder=run.workdir, is_copy=False)
  ready = types.SimpleNamespace(goodput=Goodput())
  assert loop._go_on(run, ready, preemption, None, mirror) == done
  first, *others = events
  assert first == f"going on after step 2 from {run.workdir / 'checkpoints'}"
  assert others[:2] == ["begin", "wait"] and " % in steps, " in others[2]
  assert others[3].startswith(line)
  assert others[4:] == ([f"pictures: {run.workdir / 'pictures'}"] if done == 9 else [])


@pytest.fixture
def train(run, monkeypatch):
  """`loop.train` of a run in whose steps an error is raised."""

  def call(error):
    def fail(*given):
      raise error

    monkeypatch.setattr(loop, "open_run", lambda *given: run)
    monkeypatch.setattr(loop, "get_ready", lambda *given: None)
    monkeypatch.setattr(loop, "take_workdir", lambda *given: contextlib.nullcontext())
    monkeypatch.setattr(loop, "_go_on", fail)
    return loop.train("system", "config", run.workdir)

  return call


@pytest.mark.parametrize(
  ("error", "words"),
  [
    (OSError(errno.ENOSPC, "full", "x.png"), "x.png: No space left on device"),
    (StorageError("s3://b: no room"), "s3://b: no room"),
  ],
)
def test_an_accident_ends_a_run_with_what_is_left_of_it(train, error, words):
  with pytest.raises(StorageError) as found:
    train(error)
  assert str(found.value) == (
    f"{words}; what was saved before is whole, and the same command goes on from there"
  )


def test_an_error_that_may_be_the_programs_stays_itself(train):
  error = OSError(errno.EPIPE, "broken")
  with pytest.raises(BrokenPipeError) as found:
    train(error)
  assert found.value is error


def test_a_step_that_memory_cannot_hold_is_refused_with_what_may_help(run, monkeypatch):
  checked = []
  lowered = types.SimpleNamespace(compile=lambda: "compiled")
  monkeypatch.setattr(programs, "lower_train_step", lambda run: lowered)
  monkeypatch.setattr(programs.memory, "check", lambda *given: checked.append(given))
  run.feeds["again"] = run.feeds["a"]
  step = programs.compile_train_step(run)
  assert (step.compiled, step.seed) == ("compiled", 7)
  advice = "give a smaller --config.batch_size (now 4) or --config.input.crop (now 16), or less"
  assert checked == [("compiled", 1.5, advice)]
