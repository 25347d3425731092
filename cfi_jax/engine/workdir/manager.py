"""Orbax's manager of a folder of checkpoints, and its options in this project's words."""

import dataclasses
import logging
import pathlib
import sys
import warnings
from typing import Any

import jax
import orbax.checkpoint as ocp
from absl import logging as logging_absl
from orbax.checkpoint.checkpoint_managers import preservation_policy as preservation

from cfi_jax.core.types import InputError

DIRECTIONS = {"lower": "min", "higher": "max"}  # in Orbax's words
_LOOP_CLOSED = "Event loop is closed"


@dataclasses.dataclass(frozen=True)
class CheckpointOptions:
  """When checkpoints are written and which are kept.

  every: steps between saves. keep: so many of the last are kept, and the best one.
  best: the validation value that says which is best: "loss" or a metric's name; direction: "lower"
    or "higher", which of its values is better.
  """

  every: int
  keep: int
  best: str
  direction: str

  def __post_init__(self):
    """Refuses to keep nothing, and unknown directions."""
    if self.direction not in DIRECTIONS:
      raise InputError(
        f"checkpoint.direction is {self.direction!r}; valid: {', '.join(DIRECTIONS)}"
      )
    for name in ("every", "keep"):
      if getattr(self, name) < 1:
        raise InputError(f"checkpoint.{name} is {getattr(self, name)}; allowed: 1 or more")


def open_manager(
  folder: pathlib.Path, options: CheckpointOptions, *, read_only: bool, alone: bool = False
) -> ocp.CheckpointManager:
  """Orbax's manager of a folder.

  alone: only this process opens it, without a word to the others, which would be waited for.
  """
  mine = jax.process_index()
  processes = ocp.options.MultiprocessingOptions(
    primary_host=mine if alone else 0, active_processes={mine} if alone else None
  )
  best = preservation.BestN(
    get_metric_fn=lambda metrics: metrics[options.best],
    reverse=options.direction == "lower",  # the last of the sorted ones are kept
    n=1,
    keep_checkpoints_without_metrics=False,
  )
  return ocp.CheckpointManager(
    folder,
    item_handlers=ocp.StandardCheckpointHandler(),
    options=ocp.CheckpointManagerOptions(
      preservation_policy=preservation.AnyPreservationPolicy(
        [preservation.LatestN(options.keep), best]
      ),
      # Without best_fn Orbax does not store the metrics, and a reopened manager has no best.
      best_fn=lambda metrics: metrics[options.best],
      best_mode=DIRECTIONS[options.direction],
      cleanup_tmp_directories=not read_only,
      create=not (read_only or alone),  # that of a process alone is there
      read_only=read_only,
      save_interval_steps=1,
      multiprocessing_options=processes,
    ),
  )


class Quiet(logging.Filter):
  """Keeps Orbax's and TensorStore's own reports of an error from the user; a context manager.

  They are several tracebacks for each array, and the error is raised all the same.
  """

  def __enter__(self) -> None:
    if logging_absl.get_verbosity() <= logging_absl.ERROR:
      logging_absl.get_absl_logger().addFilter(self)
    self._warnings = warnings.catch_warnings()
    self._warnings.__enter__()
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    self._hooks = sys.excepthook, sys.unraisablehook  # TensorStore's threads call one of them
    sys.excepthook, sys.unraisablehook = self._report, self._report_unraisable

  def __exit__(self, *exception) -> None:
    logging_absl.get_absl_logger().removeFilter(self)
    self._warnings.__exit__(*exception)
    sys.excepthook, sys.unraisablehook = self._hooks

  def filter(self, record: logging.LogRecord) -> bool:
    """Whether a record is not Orbax's."""
    return "orbax" not in record.pathname

  def _report(self, kind: type, error: BaseException, trace: Any) -> None:
    if str(error) != _LOOP_CLOSED:
      self._hooks[0](kind, error, trace)

  def _report_unraisable(self, unraisable: Any) -> None:
    if str(unraisable.exc_value) != _LOOP_CLOSED:
      self._hooks[1](unraisable)


def one_line(error: Exception) -> str:
  """Kind and words of an error in one line, cut to 150 characters."""
  text = " ".join(str(error).split())
  return f"{type(error).__name__}: {text[:150]}{'...' if len(text) > 150 else ''}"
