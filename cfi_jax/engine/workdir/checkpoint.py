"""Checkpoints: written asynchronously by Orbax, restored strictly, on any number of devices."""

import contextlib
import json
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization, traverse_util
from jax.sharding import Mesh

from cfi_jax.core import files, storage
from cfi_jax.core.types import InputError, KnownError
from cfi_jax.engine import sharding
from cfi_jax.engine.workdir import damage, mirror, record
from cfi_jax.engine.workdir.manager import CheckpointOptions, Quiet, one_line, open_manager

State = Any  # a pytree of arrays
FOLDER = record.CHECKPOINTS
LEAVES = "leaves"  # in a checkpoint's metadata: `_describe` and `_checksum` of each leaf by name


class Checkpoints:
  """Owns the folder of checkpoints of a run; a context manager that waits for writes to finish."""

  def __init__(
    self,
    workdir: pathlib.Path,
    options: CheckpointOptions,
    *,
    read_only: bool = False,
    alone: bool = False,
    about: Mapping[str, Any] | None = None,
  ):
    """Opens, or creates, `workdir`/checkpoints; remains of interrupted saves are removed.

    read_only: the folder, which must be there, is left as it is; a run may be writing into it.
    alone: the folder is this process's own, as are those of the run's other processes; then
      process 0 alone saves.
    about: kept in every checkpoint beside its leaves; `record.about` of the run.
    Otherwise `damage.set_aside_unreadable` comes first: Orbax opens no folder with a step that it
    cannot list.
    """
    if isinstance(workdir, storage.BucketPath):
      if not read_only:
        raise ValueError(f"{workdir}: checkpoints are written by a `Mirror`")
      workdir, alone = mirror.fetched(workdir), True
    self._options, self._about, self._alone = options, about or {}, alone
    self._folder = workdir.resolve() / FOLDER
    if read_only and not self._folder.is_dir():
      raise InputError(f"{self._folder}: holds no checkpoint, there is no such folder")
    self._read_only = read_only
    if damaged := damage.damaged_rankings(self._folder, options.best):
      path, reason = damaged[0]
      raise damage.DamagedError(f"{path / damage.METRICS} is damaged ({reason})")
    self._quiet = Quiet()
    self._quiet.__enter__()
    try:
      with self._writing():
        self._manager = open_manager(self._folder, options, read_only=read_only, alone=alone)
    except BaseException as error:
      self._quiet.__exit__()
      if isinstance(error, KnownError) or not isinstance(error, Exception):
        raise
      raise damage.DamagedError(f"{self._folder} cannot be opened ({one_line(error)})") from error

  def __enter__(self) -> "Checkpoints":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Waits for the saves under way."""
    try:
      with self._writing() if exception[0] is None else contextlib.suppress(Exception):
        self._manager.close()
    finally:
      self._quiet.__exit__(*exception)

  @property
  def steps(self) -> tuple[int, ...]:
    """The steps that are kept, in ascending order."""
    return tuple(sorted(self._manager.all_steps()))

  @property
  def best(self) -> int | None:
    """The step with the best of `options.best`; None where no checkpoint has it."""
    return self._manager.best_step()

  def save(self, state: State, step: int, metrics: Mapping[str, float] | None) -> None:
    """Begins to write the state after `step` steps, unless that step is there already.

    metrics: the values of a validation at that step, `options.best` among them; None without one.
    """
    if self._read_only:
      raise ValueError(f"{self._folder} is open for reading only")
    if step in self._manager.all_steps() or (self._alone and jax.process_index() != 0):
      return
    # As NumPy arrays: to share out the writing of jax.Arrays among processes, Orbax would compile a
    # program per shape at the first save.
    tree = jax.device_get(serialization.to_state_dict(state))
    leaves = {name: (_describe(leaf), _checksum(leaf)) for name, leaf in _flat(tree).items()}
    # Without the value that ranks it a checkpoint takes no part in the choice of the best.
    ranked = dict(metrics) if metrics and self._options.best in metrics else None
    about = dict(self._about) | {LEAVES: leaves}
    # Processes agree on the save through small arrays.
    with jax.transfer_guard("allow"), self._writing():
      self._manager.save(
        step,
        args=ocp.args.StandardSave(tree),
        metrics=ranked,
        custom_metadata=about,
        force=True,
      )

  def wait(self) -> None:
    """Waits until the saves that have begun are on disk."""
    with self._writing():
      self._manager.wait_until_finished()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Raises an accident of a save, which may come long after it has begun, as a `KnownError`."""
    try:
      yield
    except Exception as error:
      found = files.accident(error, self._folder)
      if found is None:
        raise
      raise type(found)(f"a checkpoint cannot be written: {found}") from error

  def restore(self, template: State, mesh: Mesh, step: int | None = None) -> State:
    """The state at `step` (default: the last), replicated over `mesh`.

    template: the state, or its shapes, that the run expects; a leaf that is missing, extra or of
    another shape or dtype is an `InputError` naming it, and nothing is restored. A checkpoint that
    cannot be read, or holds other values than were saved, is a `damage.DamagedError`.
    """
    step = self._manager.latest_step() if step is None else step
    if step not in self.steps:
      raise InputError(f"{self._folder}: no checkpoint of step {step}; there are: {self.steps}")
    tree = serialization.to_state_dict(template)
    where = sharding.replicated(mesh)
    abstract = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree
    )
    with self._reading(step):
      saved = self._saved_leaves(step)
    self._check_leaves(step, tree, saved)
    with self._reading(step):
      restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
      found = {name: _checksum(leaf) for name, leaf in _flat(jax.device_get(restored)).items()}
      wrong = [name for name, (_, sum_) in saved.items() if sum_ not in ("", found[name])]
      if wrong:
        raise ValueError(f"other values than were saved in {', '.join(wrong[:3])}")
    return serialization.from_state_dict(template, restored)

  @contextlib.contextmanager
  def _reading(self, step: int) -> Iterator[None]:
    """Raises what a damaged checkpoint brings about as a `damage.DamagedError`."""
    try:
      yield
    except Exception as error:  # Orbax has an error of its own for each file and kind of damage
      path = self._folder / str(step)
      raise damage.DamagedError(f"{path} is damaged ({one_line(error)})") from error

  def _saved_leaves(self, step: int) -> dict[str, tuple[str, str]]:
    """`_describe` and `_checksum` of each leaf by name; "" for the checksums of older versions."""
    about = json.loads((self._folder / str(step) / record.METADATA).read_bytes())
    there = _flat(self._manager.item_metadata(step))
    known = {name: (_describe(leaf), "") for name, leaf in there.items()}
    leaves = about["custom_metadata"].get(LEAVES)
    if leaves is None:
      return known
    saved = {name: (described, sum_) for name, (described, sum_) in leaves.items()}
    if {(name, described) for name, (described, _) in saved.items()} != {
      (name, described) for name, (described, _) in known.items()
    }:
      raise ValueError("its metadata and its arrays differ")
    return saved

  def _check_leaves(self, step: int, tree: dict, stored: Mapping[str, tuple[str, str]]) -> None:
    wanted = _flat(tree)
    problems = [f"missing {name}" for name in sorted(set(wanted) - set(stored))]
    problems += [f"extra {name}" for name in sorted(set(stored) - set(wanted))]
    for name in sorted(set(stored) & set(wanted)):
      have, want = stored[name][0], _describe(wanted[name])
      if have != want:
        problems.append(f"{name} is {have}, not {want}")
    if problems:
      raise InputError(
        f"{self._folder / str(step)} does not fit this run's state: {'; '.join(problems)}"
      )

  def restore_newest(self, template: State, mesh: Mesh) -> tuple[int, State, list[str]]:
    """The newest whole checkpoint: its step, its state, and a line on each damaged one after it.

    The damaged ones are moved out of the way, to `damage.DAMAGED`. Where none is whole, none is
    moved, and `damage.DamagedError` is raised.
    """
    lines: list[str] = []
    for step in reversed(self.steps):
      try:
        state = self.restore(template, mesh, step)
      except damage.DamagedError as error:
        lines.append(str(error))
        continue
      if lines:
        if jax.process_index() == 0 or self._alone:
          for later in self.steps[self.steps.index(step) + 1 :]:
            damage.set_aside(self._folder / str(later))
        sharding.wait_for_processes("set aside")
        self._manager.reload()
      return step, state, lines
    raise damage.DamagedError(
      f"{self._folder}: no checkpoint is whole: {'; '.join(lines)}; without the folder the run "
      "begins anew"
    )


def _describe(leaf: Any) -> str:
  """Dtype and shape of an array or of its shape, such as float32[3, 2]."""
  return f"{np.dtype(leaf.dtype)}{list(leaf.shape)}"


def _checksum(leaf: np.ndarray) -> str:
  """CRC-32 of the values of an array, hexadecimal."""
  return f"{zlib.crc32(leaf.tobytes()):08x}"


def _flat(tree: Any) -> dict[str, Any]:
  """Leaves by "/"-joined name; an Orbax metadata tree is unwrapped first."""
  return traverse_util.flatten_dict(getattr(tree, "tree", tree), sep="/")
