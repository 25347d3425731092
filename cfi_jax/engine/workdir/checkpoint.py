"""Checkpoints: written asynchronously by Orbax, restored strictly, on any number of devices."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from flax import serialization, traverse_util
from jax.sharding import Mesh
from orbax.checkpoint.checkpoint_managers import preservation_policy as preservation

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding
from cfi_jax.engine.workdir import record

State = Any  # a pytree of arrays
FOLDER = record.CHECKPOINTS
DIRECTIONS = {"lower": "min", "higher": "max"}  # in Orbax's words


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


class Checkpoints:
  """Owns the folder of checkpoints of a run; a context manager that waits for writes to finish."""

  def __init__(self, workdir: pathlib.Path, options: CheckpointOptions, *, read_only: bool = False):
    """Opens, or creates, `workdir`/checkpoints; remains of interrupted saves are removed.

    read_only: the folder, which must be there, is left as it is; a run may be writing into it.
    """
    best = preservation.BestN(
      get_metric_fn=lambda metrics: metrics[options.best],
      reverse=options.direction == "lower",  # the last of the sorted ones are kept
      n=1,
      keep_checkpoints_without_metrics=False,
    )
    policy = preservation.AnyPreservationPolicy([preservation.LatestN(options.keep), best])
    self._options = options
    self._folder = workdir.resolve() / FOLDER
    if read_only and not self._folder.is_dir():
      raise InputError(f"{self._folder}: holds no checkpoint, there is no such folder")
    self._read_only = read_only
    self._manager = ocp.CheckpointManager(
      self._folder,
      item_handlers=ocp.StandardCheckpointHandler(),
      options=ocp.CheckpointManagerOptions(
        preservation_policy=policy,
        # Without best_fn Orbax does not store the metrics, and a reopened manager has no best.
        best_fn=lambda metrics: metrics[options.best],
        best_mode=DIRECTIONS[options.direction],
        cleanup_tmp_directories=not read_only,
        create=not read_only,
        read_only=read_only,
        save_interval_steps=1,
      ),
    )

  def __enter__(self) -> "Checkpoints":
    """Itself."""
    return self

  def __exit__(self, *exception) -> None:
    """Waits for the saves under way."""
    self._manager.close()

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
    if step in self._manager.all_steps():
      return
    # As NumPy arrays: to share out the writing of jax.Arrays among processes, Orbax would compile a
    # program per shape at the first save.
    tree = jax.device_get(serialization.to_state_dict(state))
    # Without the value that ranks it a checkpoint takes no part in the choice of the best.
    ranked = dict(metrics) if metrics and self._options.best in metrics else None
    with jax.transfer_guard("allow"):  # processes agree on the save through small arrays
      self._manager.save(step, args=ocp.args.StandardSave(tree), metrics=ranked, force=True)

  def wait(self) -> None:
    """Waits until the saves that have begun are on disk."""
    self._manager.wait_until_finished()

  def restore(self, template: State, mesh: Mesh, step: int | None = None) -> State:
    """The state at `step` (default: the last), replicated over `mesh`.

    template: the state, or its shapes, that the run expects; a leaf that is missing, extra or of
    another shape or dtype is an `InputError` naming it, and nothing is restored.
    """
    step = self._manager.latest_step() if step is None else step
    if step not in self.steps:
      raise InputError(f"{self._folder}: no checkpoint of step {step}; there are: {self.steps}")
    tree = serialization.to_state_dict(template)
    self._check_leaves(step, tree)
    where = sharding.replicated(mesh)
    abstract = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), tree
    )
    restored = self._manager.restore(step, args=ocp.args.StandardRestore(abstract))
    return serialization.from_state_dict(template, restored)

  def _check_leaves(self, step: int, tree: dict) -> None:
    stored = _flat(self._manager.item_metadata(step))
    wanted = _flat(tree)
    problems = [f"missing {name}" for name in sorted(set(wanted) - set(stored))]
    problems += [f"extra {name}" for name in sorted(set(stored) - set(wanted))]
    for name in sorted(set(stored) & set(wanted)):
      have, want = ((tuple(x[name].shape), np.dtype(x[name].dtype)) for x in (stored, wanted))
      if have != want:
        problems.append(f"{name} is {have[1]}{list(have[0])}, not {want[1]}{list(want[0])}")
    if problems:
      raise InputError(
        f"{self._folder / str(step)} does not fit this run's state: {'; '.join(problems)}"
      )


def _flat(tree: Any) -> dict[str, Any]:
  """Leaves by "/"-joined name; an Orbax metadata tree is unwrapped first."""
  tree = getattr(tree, "tree", tree)
  return traverse_util.flatten_dict(dict(tree), sep="/")
