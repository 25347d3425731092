"""The logs of a run under way."""

import pathlib
import time

import jax
import numpy as np

from cfi_jax.engine.dispatch import Chunk
from cfi_jax.engine.state import TrainState
from cfi_jax.engine.validation import Validation
from cfi_jax.engine.workdir import logs
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.step import Metrics


class Writer:
  """Owns the logs of a run under way: metrics of finished steps, and validation with pictures."""

  def __init__(self, workdir: pathlib.Path, config: Config, start: int, last: int):
    """Goes on after step `start` of a run that ends with step `last`."""
    self._config = config
    self._last = last
    self._logs = logs.Logs(workdir, start) if jax.process_index() == 0 else None
    self._pending: list[tuple[range, Metrics]] = []
    self._waited = 0.0
    self._since = time.perf_counter()

  def __enter__(self) -> "Writer":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Closes the files."""
    if self._logs:
      self._logs.__exit__(*exception)

  def add(self, chunk: Chunk, metrics: Metrics) -> None:
    """Takes the metrics of the steps of a dispatch, which may still be running."""
    self._pending.append((range(chunk.last - chunk.count + 1, chunk.last + 1), metrics))
    self._waited += chunk.waited

  def flush(self, compilations: int) -> float:
    """Waits for the steps added so far, checks that they are finite, and writes the rows due.

    compilations: programs compiled so far, for the rows, which also tell the seconds per step and
    the share of the time that the host waited for input, both since the last call. Returns the last
    loss. Raises `DivergedError` naming the first step that is not finite.
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
        logs.check_finite(step, values)
        due = step % self._config.log_every == 0 or step == self._last
        if due and self._logs:
          self._logs.write("train", step, values | course)
    self._pending.clear()
    self._restart_clock()
    return values["loss"]

  def validate(
    self, step: int, state: TrainState, validation: Validation | None
  ) -> dict[str, float] | None:
    """Means over held-out pairs of the objective, its parts and the metrics; and pictures.

    Pairs that a metric cannot measure are left out of its mean, and the metric where it can measure
    none. None where no pairs are held out.
    """
    if validation is None:
      return None
    parts: list[dict[str, np.ndarray]] = []
    left = self._config.pictures
    for batch in validation.measure(state):
      parts.append(batch.values)
      for name, picture in zip(batch.names[:left], batch.pictures, strict=False):
        if self._logs:
          self._logs.picture(step, name, picture)
      left = max(0, left - len(batch.names))
    values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    metrics = {name: values.pop(name) for name in self._config.validation_metrics}
    means = {name: float(value.mean()) for name, value in values.items()}
    logs.check_finite(step, {f"validation {name}": value for name, value in means.items()})
    for name, value in metrics.items():
      if not np.isnan(value).all():
        means[name] = float(np.nanmean(value))
    if self._logs:
      self._logs.write("validation", step, means)
    self._restart_clock()
    return means

  def _restart_clock(self) -> None:
    self._waited, self._since = 0.0, time.perf_counter()
