"""Options of checkpoints at their limits, and which reports of Orbax reach the user."""

import logging
import sys
import types
import warnings

import jax
import pytest
from absl import logging as logging_absl

from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir import manager
from cfi_jax.engine.workdir.manager import CheckpointOptions, Quiet, one_line


def test_options_at_and_beyond_their_limits():
  assert CheckpointOptions(1, 1, "loss", "higher").keep == 1
  with pytest.raises(InputError, match="checkpoint.every is 0; allowed: 1 or more"):
    CheckpointOptions(0, 1, "loss", "lower")
  with pytest.raises(InputError, match="checkpoint.keep is 0; allowed: 1 or more"):
    CheckpointOptions(1, 0, "loss", "lower")
  with pytest.raises(InputError, match="checkpoint.direction is 'up'; valid: lower, higher"):
    CheckpointOptions(1, 1, "loss", "up")


def test_an_error_is_one_line_of_at_most_150_characters():
  assert one_line(ValueError("a\n  b")) == "ValueError: a b"
  assert one_line(ValueError("x" * 150)) == "ValueError: " + "x" * 150
  assert one_line(ValueError("x" * 151)) == "ValueError: " + "x" * 150 + "..."


def test_errors_of_threads_are_reported_but_for_those_of_a_closed_loop(monkeypatch):
  told = []
  hooks = (lambda *given: told.append(given)), (lambda given: told.append(given))
  monkeypatch.setattr(sys, "excepthook", hooks[0])
  monkeypatch.setattr(sys, "unraisablehook", hooks[1])
  with Quiet():
    for text in ("Event loop is closed", "another"):
      error = RuntimeError(text)
      unraisable = types.SimpleNamespace(exc_value=error)
      sys.excepthook(RuntimeError, error, None)
      sys.unraisablehook(unraisable)
  assert told == [(RuntimeError, error, None), unraisable]
  assert (sys.excepthook, sys.unraisablehook) == hooks


@pytest.mark.parametrize("verbosity", [logging_absl.INFO, logging_absl.ERROR, logging_absl.FATAL])
def test_reports_of_orbax_are_kept_back_meanwhile_unless_asked_for(verbosity, monkeypatch):
  monkeypatch.setattr(logging_absl, "get_verbosity", lambda: verbosity)
  logger = logging_absl.get_absl_logger()

  def passes(path):
    return bool(logger.filter(logging.LogRecord("absl", logging.ERROR, path, 1, "", (), None)))

  with Quiet(), warnings.catch_warnings(record=True) as shown:
    warnings.warn("coroutine 'a' was never awaited", RuntimeWarning, stacklevel=1)
    warnings.warn("another", RuntimeWarning, stacklevel=1)
    kept_back = verbosity <= logging_absl.ERROR
    assert passes("/lib/jax/a") and passes("/lib/orbax/a") != kept_back
  assert [str(one.message) for one in shown] == ["another"]
  assert passes("/lib/orbax/a")


@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize(
  ("read_only", "alone", "create"),
  [(False, False, True), (True, False, False), (False, True, False), (True, True, False)],
)
def test_who_makes_and_cleans_the_folder(tmp_path, monkeypatch, process, read_only, alone, create):
  given = []
  monkeypatch.setattr(jax, "process_index", lambda: process)
  monkeypatch.setattr(
    manager.ocp, "CheckpointManager", lambda folder, **more: given.append((folder, more["options"]))
  )
  options = CheckpointOptions(1, 2, "loss", "lower")
  given_alone = {"alone": True} if alone else {}  # with all others unless it says so
  manager.open_manager(tmp_path, options, read_only=read_only, **given_alone)
  ((folder, made),) = given
  assert folder == tmp_path and made.read_only == read_only and made.create == create
  assert made.cleanup_tmp_directories == (not read_only)
  assert read_only or made.save_interval_steps == 1
  among = made.multiprocessing_options
  expected = (process, {process}) if alone else (0, None)
  assert (among.primary_host, among.active_processes) == expected
