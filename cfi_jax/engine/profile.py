"""Profiles: a trace of some steps of a run, by jax.profiler, for XProf and TensorBoard."""

import pathlib
import tempfile
from typing import Any

import jax

from cfi_jax.core.files import write_atomically
from cfi_jax.engine.dispatch import Chunk

FOLDER = "profile"  # of a workdir


class Profile:
  """Owns the trace of a run's steps; every process writes its own.

  Files are WORKDIR/profile/plugins/profile/steps_FIRST_to_LAST/process_I.*, where XProf looks for
  them. They are made in a local folder first, as the profiler writes no other.
  """

  def __init__(self, workdir: pathlib.Path, steps: range):
    """Nothing is traced until the first of `steps`."""
    self._steps = steps
    name = f"steps_{steps.start}_to_{steps.stop - 1}"
    self._target = workdir / FOLDER / "plugins" / "profile" / name
    self._local: tempfile.TemporaryDirectory | None = None

  @property
  def ends(self) -> tuple[int, ...]:
    """Steps that a dispatch must end with, so that the trace is of these steps alone."""
    return (self._steps.start - 1, self._steps.stop - 1) if self._steps else ()

  def before(self, chunk: Chunk, state: Any) -> None:
    """Begins the trace if the steps of a dispatch are in it; `state`: before these steps."""
    if self._local is None and chunk.last in self._steps:
      jax.block_until_ready(state)
      self._local = tempfile.TemporaryDirectory(prefix="cfi_jax_profile")
      jax.profiler.start_trace(self._local.name)

  def after(self, step: int, state: Any) -> str:
    """Ends the trace with its last step; returns a line on it then, else ""."""
    if self._local is None or step + 1 in self._steps:
      return ""
    jax.block_until_ready(state)
    return self.close()

  def close(self) -> str:
    """Ends the trace, whatever steps it has, and writes it; returns a line, "" where none ran."""
    if self._local is None:
      return ""
    local, self._local = self._local, None
    with local as folder:
      jax.profiler.stop_trace()
      for kind in ("xplane.pb", "trace.json.gz"):
        for path in pathlib.Path(folder).rglob(f"*.{kind}"):
          name = f"process_{jax.process_index()}.{kind}"
          write_atomically(self._target / name, path.read_bytes())
    first, last = self._steps.start, self._steps.stop - 1
    return f"profile of the steps {first} to {last}: {self._target}"
