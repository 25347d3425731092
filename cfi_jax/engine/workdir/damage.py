"""Damaged checkpoints: found, and moved out of the way of the whole ones."""

import itertools
import json
import os
import pathlib
import tempfile

from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.manager import CheckpointOptions, Quiet, one_line, open_manager

DAMAGED = "damaged"  # folder of the workdir that damaged checkpoints are moved to
METRICS = pathlib.Path("metrics", "metrics")  # Orbax's file in a checkpoint: values that rank it


class DamagedError(InputError):
  """A checkpoint is not what was saved."""


def set_aside_unreadable(workdir: pathlib.Path, options: CheckpointOptions) -> list[str]:
  """Moves out of the way, to `DAMAGED`, what keeps Orbax from listing the checkpoints.

  These are damaged validation values, without their checkpoint, and checkpoints with damaged
  metadata, unless all are. Returns a line on each.
  """
  folder, lines = workdir.resolve() / record.CHECKPOINTS, []
  for path, reason in damaged_rankings(folder, options.best):
    set_aside(path / METRICS.parent)
    lines.append(f"{path / METRICS} is damaged ({reason}); the checkpoint cannot be the best")
  steps = [path for path in sorted(folder.glob("*")) if path.name.isdecimal()]
  if not steps or why_closed(folder, options) is None:
    return lines
  reasons = {}
  for path in steps:
    with tempfile.TemporaryDirectory() as alone:
      os.symlink(path, pathlib.Path(alone, path.name))
      reasons[path] = why_closed(pathlib.Path(alone), options)
  unreadable = {path: reason for path, reason in reasons.items() if reason is not None}
  if len(unreadable) < len(steps):
    for path, reason in unreadable.items():
      set_aside(path)
      lines.append(f"{path} is damaged ({reason})")
  return lines


def why_closed(folder: pathlib.Path, options: CheckpointOptions) -> str | None:
  """Why Orbax cannot open a folder; None where it can."""
  quiet = Quiet()
  quiet.__enter__()
  try:
    open_manager(folder, options, read_only=True, alone=True).close()
  except Exception as error:  # see `_reading`
    return one_line(error)
  finally:
    quiet.__exit__()
  return None


def damaged_rankings(folder: pathlib.Path, best: str) -> list[tuple[pathlib.Path, str]]:
  """The checkpoints whose validation values cannot be read, and why."""
  damaged = []
  for path in sorted(folder.glob("*")):
    if not path.name.isdecimal() or not (path / METRICS).exists():
      continue
    try:
      values = json.loads((path / METRICS).read_bytes())
      if not isinstance(values, dict) or not isinstance(values.get(best), int | float):
        raise ValueError(f"no number {best!r}")
    except (OSError, ValueError, RecursionError) as error:
      damaged.append((path, one_line(error)))
  return damaged


def set_aside(path: pathlib.Path) -> None:
  """Moves a part of WORKDIR/checkpoints to a new name in WORKDIR/damaged."""
  workdir = next(parent.parent for parent in path.parents if parent.name == record.CHECKPOINTS)
  name = "-".join(path.relative_to(workdir / record.CHECKPOINTS).parts)
  (workdir / DAMAGED).mkdir(exist_ok=True)
  names = (name if not count else f"{name}.{count}" for count in itertools.count())
  os.rename(path, next(to for each in names if not (to := workdir / DAMAGED / each).exists()))
