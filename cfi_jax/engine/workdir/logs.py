"""The logs of a run: metrics as JSON lines and TensorBoard events, pictures as PNG."""

import io
import json
import math
import pathlib
import time
from collections.abc import Mapping

import jax
import numpy as np
import tensorboardX
from PIL import Image

from cfi_jax.core.files import write_atomically
from cfi_jax.engine.config import Config
from cfi_jax.engine.dispatch import Chunk

METRICS_FILE = "metrics.jsonl"
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


class Logs:
  """Owns the metric files of a run; a context manager. Only one process of a run may own them."""

  def __init__(self, workdir: pathlib.Path, step: int):
    """Opens the logs to go on after `step`: later rows, of a run that was cut off, are dropped."""
    path = workdir / METRICS_FILE
    _drop_rows_after(path, step)
    self._file = path.open("a")
    self._events = tensorboardX.SummaryWriter(str(workdir / TENSORBOARD), purge_step=step + 1)
    self._pictures = workdir / PICTURES

  def __enter__(self) -> "Logs":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Closes the files."""
    self._file.close()
    self._events.close()

  def write(self, kind: str, step: int, values: Mapping[str, float]) -> None:
    """Adds one row; `kind` is "train" or "validation"."""
    print(json.dumps({"kind": kind, "step": step, **values}), file=self._file, flush=True)
    for name, value in values.items():
      self._events.add_scalar(f"{kind}/{name}", value, step)
    self._events.flush()

  def picture(self, step: int, name: str, image: np.ndarray) -> pathlib.Path:
    """Saves a picture, uint8 [H, W] or [H, W, 3], as PNG, atomically, and returns its path."""
    path = self._pictures / f"step{step:07d}_{name}.png"
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    write_atomically(path, content.getvalue())
    self._events.add_image(
      f"validation/{name}", image, step, dataformats="HWC" if image.ndim == 3 else "HW"
    )
    return path


class Writer:
  """Owns the logs of a run under way: metrics of finished steps, and validations with pictures.

  Process 0 alone writes; the others only check that values are finite.
  """

  def __init__(self, workdir: pathlib.Path, config: Config, start: int, last: int):
    """Goes on after step `start` of a run that ends with step `last`."""
    self._config = config
    self._last = last
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
    both since the last call, and the number of programs compiled so far. Returns the last loss.
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
  """The rows of a metrics file; a last line that was cut off is left out."""
  if not path.exists():
    return []
  lines = path.read_text().splitlines(keepends=True)
  return [json.loads(line) for line in lines if line.endswith("\n")]


def _drop_rows_after(path: pathlib.Path, step: int) -> None:
  rows = [row for row in read_metrics(path) if row["step"] <= step]
  write_atomically(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
