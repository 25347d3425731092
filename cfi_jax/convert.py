"""Turns a checkpoint into a weights file (.safetensors).

  python -m cfi_jax.convert --checkpoint=isfuse_best.pth --output=isfuse.safetensors
  python -m cfi_jax.convert --checkpoint=runs/msrs --output=msrs.safetensors

The authors' PyTorch file is read without PyTorch. Of a workdir the best checkpoint is taken (by
the validation value that its config names), the last where none was validated; name another one by
its folder, runs/msrs/checkpoints/STEP. The workdir is left as it is: its run may still be going on.
"""

import dataclasses
import datetime
import json
import pathlib
from collections.abc import Mapping

import jax

from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import optim, sharding
from cfi_jax.engine.state import init_state
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.checkpoint import FOLDER, Checkpoints
from cfi_jax.systems import files as weights
from cfi_jax.systems.isfuse import torch_names
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.model import MIN_SIDE, make_model
from cfi_jax.systems.isfuse.release import RELEASED
from cfi_jax.weights import torch_checkpoint


def read(path: pathlib.Path) -> tuple[dict, weights.Card]:
  """Variables and card of the authors' .pth file, of a workdir, or of one checkpoint in it."""
  if not path.exists():
    raise InputError(f"{path}: does not exist")
  if path.is_file():
    return from_release(path)
  if path.parent.name == FOLDER and path.name.isdigit():
    return from_workdir(path.parent.parent, int(path.name))
  return from_workdir(path, None)


def from_release(path: pathlib.Path) -> tuple[dict, weights.Card]:
  """Variables and card of the authors' .pth file."""
  state = torch_checkpoint.read_state_dict(path)
  template = weights.shapes(weights.model(RELEASED, "float32"))
  try:
    variables = torch_names.from_torch(state, template)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  return variables, weights.Card(
    architecture=RELEASED,
    recipe="the release of the authors of ISFuse (arXiv 2603.23272)",
    data="not stated in the file",
    date=_modified(path),
    licence="that of the authors' release",
  )


def from_workdir(workdir: pathlib.Path, step: int | None) -> tuple[dict, weights.Card]:
  """Variables and card of a checkpoint of one of our runs: `step`, or the best, or the last."""
  try:
    stored = record.read(workdir)
  except json.JSONDecodeError as error:
    raise InputError(f"{workdir / record.FILE}: damaged ({error})") from error
  if stored is None:
    raise InputError(f"{workdir}: no workdir of a run, there is no {record.FILE} in it")
  if not isinstance(stored, dict) or not {"config", "data"} <= set(stored):
    raise InputError(f"{workdir / record.FILE}: is not the record of a run")
  config = config_lib.build(Config, stored["config"], f"{workdir / record.FILE}: config")

  def initial():
    optimizer = optim.make_optimizer(config.optim, 1)  # the schedule's length changes no shape
    model = make_model(config.model)
    return init_state(model, optimizer, config.seed, MIN_SIDE, ema=config.optim.ema)

  with Checkpoints(workdir, config.checkpoint, read_only=True) as checkpoints:
    if not checkpoints.steps:
      raise InputError(f"{workdir / FOLDER}: holds no checkpoint")
    if step is None:
      step = checkpoints.steps[-1] if checkpoints.best is None else checkpoints.best
    mesh = sharding.make_mesh(jax.device_count())
    state = checkpoints.restore(jax.eval_shape(initial), mesh, step)
  architecture = {k: v for k, v in config.model.items() if k in weights.ARCHITECTURE}
  parts = ("input", "batch_size", "statistics", "masks", "loss", "optim", "seed")
  procedure = {k: stored["config"][k] for k in parts}
  source = {k: v for k, v in stored["config"]["data"].items() if k != "root"}
  return jax.device_get(state.variables), weights.Card(
    architecture=architecture,
    recipe=json.dumps({"step": step, **procedure}),
    data=json.dumps(source | stored["data"]),
    date=_modified(workdir / FOLDER / str(step)),
    licence="not stated",
  )


def _modified(path: pathlib.Path) -> str:
  time = datetime.datetime.fromtimestamp(path.stat().st_mtime, datetime.UTC)
  return time.date().isoformat()


FLAGS = {
  "checkpoint": cli.Flag(
    "the authors' .pth file, a workdir, or WORKDIR/checkpoints/STEP", required=True
  ),
  "output": cli.Flag("the weights file to write, NAME.safetensors", required=True),
  "licence": cli.Flag("licence of the weights, written into the file; by default what is known"),
}


def main(given: Mapping[str, str]) -> int:
  """Converts what the flags name."""
  if pathlib.Path(given["output"]).suffix != ".safetensors":
    raise InputError(f"--output={given['output']}; its name must end in .safetensors")
  variables, card = read(pathlib.Path(given["checkpoint"]))
  if given["licence"]:
    card = dataclasses.replace(card, licence=given["licence"])
  weights.save(given["output"], variables, card)
  count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
  print(f"written to {given['output']}: {count} parameters, {json.dumps(card.architecture)}")
  return 0


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
