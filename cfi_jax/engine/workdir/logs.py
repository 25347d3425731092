"""The logs of a run: metrics as JSON lines and TensorBoard events, pictures as PNG."""

import contextlib
import io
import json
import math
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from PIL import Image
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2, summary_pb2

from cfi_jax.core.files import write_atomically
from cfi_jax.engine.config import Config
from cfi_jax.engine.dispatch import Chunk
from cfi_jax.engine.goodput import FIELDS, Goodput
from cfi_jax.engine.workdir.mirror import PARTED, read_parts

METRICS_FILE = PARTED
KINDS = ("train", "validation")  # of rows
# Values of a row that tell of the clock and of this machine, not of the run's result.
CLOCK = ("step_seconds", "samples_per_second", "input_wait", "compilations", *FIELDS)
PICTURES = "pictures"
TENSORBOARD = "tensorboard"


class DivergedError(RuntimeError):
  """A loss became NaN or infinite; the message names the step and the parts."""


def check_finite(step: int, metrics: Mapping[str, float]) -> None:
  """Raises `DivergedError` if a metric of that step is NaN or infinite."""
  bad = {name: value for name, value in metrics.items() if not math.isfinite(value)}
  if bad:
    listed = ", ".join(f"{name} = {value}" for name, value in bad.items())
    raise DivergedError(f"step {step}: {listed}")


class Events:
  """Owns a file of TensorBoard events.

  Written at once, unlike by tensorboardX.SummaryWriter, whose thread would die of a full disk.
  """

  def __init__(self, folder: pathlib.Path, purge_step: int):
    """Opens a new file in a folder, made if need be; hides earlier events from `purge_step` on."""
    folder.mkdir(exist_ok=True)
    self._writer = event_file_writer.EventsWriter(str(folder / "events"))
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(purge_step, session_log=start)

  def add(self, step: int, *summaries: summary_pb2.Summary) -> None:
    """Writes what `tensorboardX.summary` makes."""
    for each in summaries:
      self._write(step, summary=each)
    self._writer.flush()

  def close(self) -> None:
    """Closes the file."""
    self._writer.close()

  def _write(self, step: int, **content: Any) -> None:
    self._writer.write_event(event_pb2.Event(wall_time=time.time(), step=step, **content))


class Logs:
  """Owns the metric files of a run; a context manager. Only one process of a run may own them."""

  def __init__(self, workdir: pathlib.Path, step: int):
    """Opens the logs to go on after `step`: later rows, of a run that was cut off, are dropped."""
    path = workdir / METRICS_FILE
    _drop_rows_after(path, step)
    self._file = path.open("a")
    self._events = Events(workdir / TENSORBOARD, purge_step=step + 1)
    self._pictures = workdir / PICTURES

  def __enter__(self) -> "Logs":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Closes the files."""
    for file in (self._file, self._events):
      # What a full disk did not take when it was written is tried, and fails, once more.
      with contextlib.suppress(OSError) if exception[0] else contextlib.nullcontext():
        file.close()

  def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
    """Adds one row; kind: of `KINDS`."""
    print(json.dumps({"kind": kind, "step": step, **values}), file=self._file, flush=True)
    self._events.add(step, *(summary.scalar(f"{kind}/{n}", value) for n, value in values.items()))

  def picture(self, step: int, name: str, image: np.ndarray) -> pathlib.Path:
    """Saves a picture, uint8 [H, W] or [H, W, 3], as PNG, atomically, and returns its path."""
    path = self._pictures / f"step{step:07d}_{name}.png"
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    write_atomically(path, content.getvalue())
    layout = "HWC" if image.ndim == 3 else "HW"
    self._events.add(step, summary.image(f"validation/{name}", image, dataformats=layout))
    return path


class Writer:
  """Owns the logs of a run under way: metrics of finished steps, and validations with pictures.

  Process 0 alone writes; the others only check that values are finite.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    config: Config,
    start: int,
    last: int,
    goodput: Goodput | None = None,
  ):
    """Goes on after step `start` of a run that ends with step `last`.

    goodput: the times of the run, which rows of steps then have too.
    """
    self._config = config
    self._last = last
    self._goodput = goodput
    if goodput is not None:
      goodput.go_on(read_metrics(workdir / METRICS_FILE), start)
    self._logs = Logs(workdir, start) if jax.process_index() == 0 else None
    self._pending: list[tuple[range, dict[str, jax.Array]]] = []
    self._waited = 0.0
    self._since = time.perf_counter()

  def __enter__(self) -> "Writer":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Closes the files."""
    if self._logs:
      self._logs.__exit__(*exception)

  def add(self, chunk: Chunk, metrics: dict[str, jax.Array]) -> None:
    """Takes the metrics of the steps of a dispatch, which may still be running."""
    self._pending.append((range(chunk.last - chunk.count + 1, chunk.last + 1), metrics))
    self._waited += chunk.waited

  def flush(self, compilations: int) -> float:
    """Waits for the steps added so far, checks that they are finite, and writes the rows due.

    A row also has the seconds per step and the share of the time that the host waited for input,
    both since the last call, the number of programs compiled so far, and the times of the whole run
    by their kind. Returns the last loss.
    Raises `DivergedError` naming the first step that is not finite.
    """
    fetched = jax.device_get([metrics for _, metrics in self._pending])
    total = time.perf_counter() - self._since
    seconds = total / sum(len(steps) for steps, _ in self._pending)
    course = {
      "step_seconds": seconds,
      "samples_per_second": self._config.batch_size / seconds,
      "input_wait": self._waited / total,
      "compilations": compilations,
    }
    if self._goodput is not None:
      course |= self._goodput.row()
    for (steps, _), metrics in zip(self._pending, fetched, strict=True):
      for i, step in enumerate(steps):
        values = {name: float(np.atleast_1d(value)[i]) for name, value in metrics.items()}
        check_finite(step, values)
        due = step % self._config.log_every == 0 or step == self._last
        if due and self._logs:
          self._logs.write("train", step, values | course)
    self._pending.clear()
    self._restart_clock()
    return values["loss"]

  def validated(
    self, step: int, values: Mapping[str, float], pictures: Mapping[str, np.ndarray]
  ) -> None:
    """Writes the values of a validation, and its pictures by the name of their sample."""
    if self._logs:
      for name, picture in pictures.items():
        self._logs.picture(step, name, picture)
      self._logs.write("validation", step, values)
    self._restart_clock()

  def _restart_clock(self) -> None:
    self._waited, self._since = 0.0, time.perf_counter()


def read_metrics(path: pathlib.Path) -> list[dict]:
  """The rows of a metrics file, without damaged lines and a last one that was cut off."""
  return _read_rows(path)[0]


def _read_rows(path: pathlib.Path) -> tuple[list[dict], int]:
  """The rows of a metrics file, and the number of its damaged lines."""
  content = read_parts(path)
  if content is None:
    return [], 0
  lines = content.splitlines(keepends=True)
  whole = [line for line in lines if line.endswith(b"\n")]
  rows = [row for row in map(_read_row, whole) if row is not None]
  return rows, len(whole) - len(rows)


def _read_row(line: bytes) -> dict | None:
  """A row as `Logs.write` writes it; None for any other line."""
  try:
    row = json.loads(line)
  except (ValueError, RecursionError):
    return None
  if not isinstance(row, dict) or row.get("kind") not in KINDS or type(row.get("step")) is not int:
    return None
  values = [value for name, value in row.items() if name != "kind"]
  numbers = all(isinstance(value, int | float) for value in values)
  return row if numbers and "loss" in row else None


def _drop_rows_after(path: pathlib.Path, step: int) -> None:
  rows, damaged = _read_rows(path)
  if damaged:
    print(f"{path}: {damaged} damaged lines are left out", flush=True)
  kept = [row for row in rows if row["step"] <= step]
  write_atomically(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
