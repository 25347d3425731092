"""A run, opened: its config and files checked, nothing compiled, nothing written."""

import dataclasses
import math
import pathlib
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cfi_jax.core.types import InputError
from cfi_jax.engine import feed as feed_lib
from cfi_jax.engine import sharding
from cfi_jax.engine.config import Config
from cfi_jax.engine.feed import Feed, Streamed
from cfi_jax.engine.procedure import Constants, Procedure, State, Stream, System
from cfi_jax.engine.workdir import lock, record


@dataclasses.dataclass(frozen=True)
class Run:
  """Values that stay the same from the first step of a run to the last.

  feeds: the training streams, by name. held_out: samples to validate on, None without any.
  constants: arrays that the procedure takes and no step changes, on the host.
  identity: identifies the images and the constants, for the record.
  """

  config: Config
  workdir: pathlib.Path
  mesh: Mesh
  procedure: Procedure
  feeds: dict[str, Feed]
  held_out: Streamed | None
  constants: Constants
  identity: dict[str, Any]
  steps: int

  def say(self, text: str) -> None:
    """Prints a line, once per run."""
    if jax.process_index() == 0:
      print(text, flush=True)

  @property
  def older(self) -> dict[str, Any]:
    """`Config.OLDER`; for images that any rule takes alike (8 bits), with the rules of now."""
    streams = [feed.stream for feed in (*self.feeds.values(), self.held_out) if feed is not None]
    if not all(stream.source.keeps_all for stream in streams):
      return self.config.OLDER
    options, names = self.config.input, ("normalize", "normalize_over")
    rules = {f"input.{name}": getattr(options, name) for name in names}
    return {path: value for path, value in self.config.OLDER.items() if path not in rules} | rules

  def seed(self) -> jax.Array:
    """The run's seed, uint32 [], on all devices."""
    everywhere = sharding.replicated(self.mesh)
    return sharding.to_devices(everywhere, np.array(self.config.seed, np.uint32))

  def initial_state(self) -> State:
    """The state before the first step, on all devices."""
    init = jax.jit(self._init, out_shardings=sharding.replicated(self.mesh))
    return init(self.seed())

  def state_shapes(self) -> State:
    """Shapes and dtypes of the state."""
    return jax.eval_shape(self._init, jax.ShapeDtypeStruct((), np.uint32))

  def _init(self, seed: jax.Array) -> State:
    return self.procedure.init(jax.random.key(seed))


def open_run(system: System, config: Config, workdir: pathlib.Path) -> Run:
  """Checks the config, the images and that `workdir` holds no other run."""
  mesh = sharding.make_mesh(config.batch_size)
  system.procedure(config, 1)  # refused before any file is looked at
  streams, held_out = feed_lib.normalise(system.streams(config), system.held_out(config))
  for name, stream in (streams | ({} if held_out is None else {"held out": held_out})).items():
    if stream.rows % mesh.size:
      raise InputError(
        f"stream {name!r} has {stream.rows} rows of a batch, which {mesh.size} devices cannot "
        f"share evenly; allowed: multiples of {mesh.size}"
      )
  constants, frozen = system.constants(config)
  seeds = feed_lib.seeds(config.seed, streams)
  feeds = {name: feed_lib.choose(stream, seeds[name]) for name, stream in streams.items()}
  steps = count_steps(config, next(iter(streams.values())))
  identity = describe(streams, held_out) | ({"constants": frozen} if frozen else {})
  run = Run(
    config=config,
    workdir=workdir,
    mesh=mesh,
    procedure=system.procedure(config, steps),
    feeds=feeds,
    held_out=None if held_out is None else feed_lib.held_out(held_out),
    constants=constants,
    identity=identity,
    steps=steps,
  )
  for line in record.check(workdir, config, identity, run.older, config.COMPUTED):
    run.say(line)
  if jax.process_index() == 0:  # the lock is one for all processes of a run
    lock.check(workdir)
  return run


def count_steps(config: Config, stream: Stream) -> int:
  """The steps of a run: those of its config, or of its epochs over the stream's records."""
  return config.steps or math.ceil(config.epochs * len(stream.source) / stream.rows)


def describe(streams: dict[str, Stream], held_out: Stream | None) -> dict[str, dict]:
  """Identity of a run's images: per part the number of records and a hash of their files.

  The first stream is called "train", which is what it was called before there were streams.
  """
  first, *others = streams
  if taken := {"train", "validation", "constants"} & set(others):
    raise InputError(f"a stream is called {taken.pop()!r}, which the record of a run uses itself")
  parts = {"train": streams[first]} | {name: streams[name] for name in others}
  parts |= {} if held_out is None else {"validation": held_out}
  return {name: describe_source(stream.source) for name, stream in parts.items()}


def describe_source(source: Any) -> dict[str, Any]:
  """Number of records and hash of the files of a source."""
  return {"pairs": len(source), "sha256": source.fingerprint()}
