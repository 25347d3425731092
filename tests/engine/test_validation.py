"""Means over held-out samples by a program whose values are known; nothing is compiled."""

import contextlib
import pathlib
import types

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding, validation
from cfi_jax.engine.procedure import Evaluation
from cfi_jax.engine.validation import Validation
from cfi_jax.engine.workdir.logs import DivergedError


@pytest.fixture
def prepare(monkeypatch):
  """A function of the samples' values and scores: a validation in twos, and the rows it asked."""

  def run(losses, scores, *, pairs=100, pictures=100):
    asked = []

    def batches(source, given, **options):
      assert options["batch_size"] == 2 and options["process_index"] == 0
      count = min(options["most"], len(losses))
      for first in range(0, count, 2):
        asked.append(first)
        rows = range(first, first + 2)
        yield tuple(f"s{i}" for i in rows if i < count), np.array(rows) % len(losses)

    def program(state, constants, images):
      assert (state, constants) == ("state", "constants")
      rows = np.asarray(images)
      picture = np.broadcast_to(rows.astype(np.uint8)[:, None, None], (2, 3, 4))
      return Evaluation({"loss": np.array(losses)[rows]}, {"S": np.array(scores)[rows]}, picture)

    monkeypatch.setattr(validation.pipeline, "validation_batches", batches)
    stream = types.SimpleNamespace(source=None, input=None, rows=2)
    run = types.SimpleNamespace(
      config=types.SimpleNamespace(validation_pairs=pairs, pictures=pictures),
      held_out=types.SimpleNamespace(stream=stream),
      mesh=sharding.make_mesh(1),
    )
    return Validation(run, program, "constants"), asked

  return run


@pytest.fixture
def measure(prepare):
  """As `prepare`: the means that the validation gives, its pictures, and the rows it asked for."""

  def run(*values, **options):
    validation, asked = prepare(*values, **options)
    means = validation.measure(7, "state")
    return means.values, {name: int(p[0, 0]) for name, p in means.pictures.items()}, asked

  return run


def test_a_sample_that_a_score_cannot_measure_is_left_out_of_its_mean(measure):
  values, _, _ = measure([1.0, 2.0, 6.0], [0.25, np.nan, 0.75])
  assert values == {"loss": 3.0, "S": 0.5}


def test_samples_have_each_its_name_value_and_score(prepare):
  found = prepare([1.0, 2.0, 6.0], [0.25, np.nan, 0.75])[0].samples("state")
  assert found.names == ("s0", "s1", "s2")
  np.testing.assert_array_equal(found.values["loss"], [1, 2, 6])
  np.testing.assert_array_equal(found.scores["S"], [0.25, np.nan, 0.75])


def test_a_score_of_no_sample_is_left_out(measure):
  assert measure([1.0, 2.0], [np.nan, np.nan])[0] == {"loss": 1.5}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_value_that_is_not_finite_stops_the_run(measure, bad):
  with pytest.raises(DivergedError, match=rf"step 7: validation loss = {bad}"):
    measure([1.0, 2.0, bad, 4.0], [0.0] * 4)


@pytest.mark.parametrize(
  ("pairs", "asked"), [(1, [0]), (2, [0]), (3, [0, 2]), (4, [0, 2]), (5, [0, 2, 4])]
)
def test_so_many_samples_are_measured_and_no_batch_more_is_read(measure, pairs, asked):
  losses = [1.0, 3.0, 5.0, 9.0, 17.0]
  values, pictures, read = measure(losses, losses, pairs=pairs)
  assert values["loss"] == values["S"] == pytest.approx(np.mean(losses[:pairs]))
  assert list(pictures) == [f"s{i}" for i in range(pairs)] and read == asked


@pytest.mark.parametrize("pictures", [0, 1, 2, 3])
def test_pictures_are_those_of_the_first_samples(measure, pictures):
  found = measure([0.0] * 5, [0.0] * 5, pictures=pictures)[1]
  assert found == {f"s{i}": i for i in range(pictures)}


def test_nothing_is_prepared_without_held_out_samples(monkeypatch):
  monkeypatch.setattr(validation, "compile_eval_step", lambda run: pytest.fail("compiled"))
  empty = types.SimpleNamespace(stream=types.SimpleNamespace(source=[]))
  for held_out in (None, empty):
    assert validation.prepare(types.SimpleNamespace(held_out=held_out), ()) is None


@pytest.fixture
def measure_run(monkeypatch):
  """`validation.measure_run` of a run with such checkpoints, that holds samples out or none."""

  def measure(steps, held_out=True):
    run = types.SimpleNamespace(mesh="mesh", constants="constants", state_shapes=lambda: "shapes")
    kept = types.SimpleNamespace(steps=steps, restore=lambda *given: ("restored", *given))

    def prepare(given, constants):
      assert given is run and constants == ("mesh", "constants")
      return types.SimpleNamespace(samples=lambda state: state) if held_out else None

    def open_checkpoints(workdir, options, read_only):
      assert (workdir, options, read_only) == (pathlib.Path("run"), "options", True)
      return contextlib.nullcontext(kept)

    monkeypatch.setattr(validation, "open_run", lambda *given: run)
    monkeypatch.setattr(validation.sharding, "replicated", lambda mesh: mesh)
    monkeypatch.setattr(validation.sharding, "to_devices", lambda where, values: (where, values))
    monkeypatch.setattr(validation, "prepare", prepare)
    monkeypatch.setattr(validation, "Checkpoints", open_checkpoints)
    config = types.SimpleNamespace(checkpoint="options")
    return validation.measure_run("system", config, pathlib.Path("run"))

  return measure


def test_a_run_is_measured_at_its_last_checkpoint(measure_run):
  assert measure_run([2, 5, 9]) == ("restored", "shapes", "mesh", 9)


@pytest.mark.parametrize(
  ("given", "words"),
  [(([],), "run/checkpoints: holds no checkpoint"), (([3], False), "run: .* holds no samples out")],
)
def test_a_run_that_cannot_be_measured_says_why(measure_run, given, words):
  with pytest.raises(InputError, match=words):
    measure_run(*given)
