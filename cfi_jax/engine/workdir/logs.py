"""What a run writes to look at: metrics as JSON lines and TensorBoard events, pictures as PNG."""

import json
import math
import os
import pathlib
from collections.abc import Mapping

import numpy as np
import tensorboardX
from PIL import Image

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
    """Saves a grey picture [H, W] uint8 as PNG, atomically, and returns its path."""
    self._pictures.mkdir(exist_ok=True)
    path = self._pictures / f"step{step:07d}_{name}.png"
    unfinished = path.with_suffix(".png.tmp")
    Image.fromarray(image).save(unfinished, format="PNG")
    os.replace(unfinished, path)
    self._events.add_image(f"validation/{name}", image, step, dataformats="HW")
    return path


def read_metrics(path: pathlib.Path) -> list[dict]:
  """The rows of a metrics file; a last line that was cut off is left out."""
  if not path.exists():
    return []
  lines = path.read_text().splitlines(keepends=True)
  return [json.loads(line) for line in lines if line.endswith("\n")]


def _drop_rows_after(path: pathlib.Path, step: int) -> None:
  rows = [row for row in read_metrics(path) if row["step"] <= step]
  unfinished = path.with_suffix(".tmp")
  unfinished.write_text("".join(json.dumps(row) + "\n" for row in rows))
  os.replace(unfinished, path)
