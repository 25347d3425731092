"""Our side: the contenders of `fuse` and `train`, and all that is measured of the trainer."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cfi_jax import systems
from cfi_jax.benchmark import subjects
from cfi_jax.benchmark.harness import exports
from cfi_jax.benchmark.harness.compiled import Compiled
from cfi_jax.benchmark.harness.spec import Contender, Spec
from cfi_jax.benchmark.harness.timing import timed
from cfi_jax.engine import dispatch, feed, programs, sharding
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.config import Config
from cfi_jax.engine.procedure import Stream, System
from cfi_jax.engine.run import Run
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.systems.isfuse import recipes

STEPS = 1000  # of a run without images: its schedule ends there


class Train(Compiled):
  """The trainer's own compiled step on a batch that is on the devices."""

  def __init__(self, spec: Spec):
    values = json.loads(spec.file("settings.json").read_text())["config"]
    values["model"] |= spec.model
    subject = subjects.find(values["system"])
    if spec.name == "plain_step":  # the reference of all ways of computing
      values = {**values, **subject.PLAIN, "model": values["model"] | subject.PLAIN["model"]}
    self.run_ = make_run(*systems.configure(values))
    config = self.run_.config
    self.devices = self.run_.mesh.size
    streams = subject.streams(config)
    with np.load(spec.file("inputs.npz")) as inputs:
      items = {
        stream: {
          name: _with_channels(inputs[name if len(streams) == 1 else f"{stream}/{name}"])
          for name in own.channels
        }
        for stream, own in streams.items()
      }
    most = config.steps_per_dispatch
    self.inputs = {
      count: dispatch.put(self.run_.mesh, [items] * count, most) for count in range(1, most + 1)
    }
    self.state = self.run_.initial_state()
    self.losses: dict[str, np.ndarray] = {}

  def prepare(self) -> None:
    """Compiles and takes the first step."""
    self.step, self.compile_seconds = timed(lambda: compile_step(self.run_))
    self.program = self.step.compiled
    self.state, metrics = self._take(self.inputs[1])
    first = {k: np.ravel(v)[0] for k, v in jax.device_get(metrics).items()}
    self.losses = {k: np.asarray(v, np.float64) for k, v in first.items()}

  def run(self, count: int) -> None:
    """See `spec.Contender`."""
    last = 0
    for end in dispatch.ends(0, count, self.run_.config.steps_per_dispatch, ()):
      self.state, metrics = self._take(self.inputs[end - last])
      last = end
    jax.block_until_ready((self.state, metrics))

  def _take(self, inputs: Any) -> tuple[Any, Mapping[str, jax.Array]]:
    resident = dict.fromkeys(self.run_.feeds, ())
    return self.step(self.state, resident, self.run_.constants, inputs)

  def output(self) -> dict[str, np.ndarray]:
    """The metrics of the first step: its losses, and more."""
    return self.losses


def _with_channels(images: np.ndarray) -> np.ndarray:
  """Images [B, H, W, C] of those or of [B, H, W]."""
  return images[..., None] if images.ndim == 3 else images


def settings(options: SimpleNamespace) -> dict[str, Any]:
  """The values of the config; without --config the released recipe with 2 crops of 256x256."""
  values = options.config
  if values is None:
    values = recipes.released().to_dict()
    values["batch_size"], values["input"]["crop"] = 2, 256
  if options.batch is not None:
    values["batch_size"] = options.batch
  if options.crop is not None:
    values["input"]["crop"] = options.crop
  if options.dtype is not None:
    values["model"]["dtype"] = options.dtype
  return values


def make_run(system: System, config: Config, steps: int = STEPS, mesh: Mesh | None = None) -> Run:
  """A run without images and work directory: enough to compile, and on this machine's devices,
  which are taken without a `mesh`, to take steps."""
  subject = subjects.find(config.system)
  feeds = {
    name: feed.Streamed(
      Stream(None, own.rows, config.input, own.finish), dict(own.channels), config.seed, 0.0
    )
    for name, own in subject.streams(config).items()
  }
  return Run(
    config=config,
    workdir=pathlib.Path(),
    mesh=sharding.make_mesh(config.batch_size) if mesh is None else mesh,
    procedure=system.procedure(config, steps),
    feeds=feeds,
    held_out=None,
    constants=system.constants(config)[0],
    begin=system.begin,
    variables=None,
    identity=Identity(config, {}),
    steps=steps,
  )


def open_run(system: System, config: Config, device_gb: float) -> Run:
  """A run without work directory, fed from its data set."""
  chosen = dataclasses.replace(config.input, device_gb=device_gb)
  ((name, stream),) = system.streams(dataclasses.replace(config, input=chosen)).items()
  made = make_run(system, config, run_lib.count_steps(config, stream))
  return dataclasses.replace(made, feeds={name: feed.choose(stream, config.seed)})


def feed_of(run: Run) -> feed.Feed:
  """The way of the run's samples to the devices."""
  (fed,) = run.feeds.values()
  return fed


def chunks(run: Run, steps: int) -> Iterator[dispatch.Chunk]:
  """The inputs of the trainer's first `steps` steps."""
  most = run.config.steps_per_dispatch
  ends = dispatch.ends(0, steps, most, (run.config.log_every,))
  return dispatch.chunks(run.mesh, feed.items(run.feeds, 0, steps), 0, ends, most)


def load(run: Run) -> dict[str, Any]:
  """The samples that stay on the devices, if any."""
  return {name: fed.load(run.mesh) for name, fed in run.feeds.items()}


def first_weights(run: Run) -> dict:
  """Parameters and statistics before the first step."""
  return jax.device_get(run.initial_state().variables)


def parameters(run: Run) -> int:
  """The number of parameters."""
  return sum(x.size for x in jax.tree.leaves(run.state_shapes().params))


compile_step = programs.compile_train_step


def make(spec: Spec) -> Contender:
  """The contender of that name."""
  if spec.task == "train":
    return Train(spec)
  if spec.name in exports.FILES:
    return exports.Exported(spec)
  settings = json.loads(spec.file("settings.json").read_text())
  return subjects.find_fusing(settings["system"], "fuse").FUSE[spec.name](spec)
