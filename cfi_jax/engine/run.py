"""A run, opened: its config and files checked, nothing compiled, nothing written."""

import contextlib
import dataclasses
import functools
import itertools
import json
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cfi_jax.core import storage
from cfi_jax.core.types import InputError, KnownError
from cfi_jax.engine import feed as feed_lib
from cfi_jax.engine import product, sharding
from cfi_jax.engine.config import Config
from cfi_jax.engine.feed import Feed, Streamed
from cfi_jax.engine.procedure import Constants, Procedure, State, Stream, System, Variables
from cfi_jax.engine.workdir import lock, record
from cfi_jax.engine.workdir.record import Identity, Length


@dataclasses.dataclass(frozen=True)
class Run:
  """Values that stay the same from the first step of a run to the last.

  feeds: the training streams, by name. held_out: samples to validate on, None without any.
  constants: arrays that the procedure takes and no step changes, on the host.
  begin: `System.begin`. variables: those that the run begins with, None for random ones.
  identity: all by which the workdir knows the run again.
  """

  config: Config
  workdir: pathlib.Path
  mesh: Mesh
  procedure: Procedure
  feeds: dict[str, Feed]
  held_out: Streamed | None
  constants: Constants
  begin: Callable[[Config, State, Variables], State]
  variables: Variables | None
  identity: Identity
  steps: int

  def say(self, text: str) -> None:
    """Prints a line, once per run."""
    if jax.process_index() == 0:
      print(text, flush=True)

  def seed(self) -> jax.Array:
    """The run's seed, uint32 [], on all devices."""
    everywhere = sharding.replicated(self.mesh)
    return sharding.to_devices(everywhere, np.array(self.config.seed, np.uint32))

  def initial_state(self) -> State:
    """The state before the first step, on all devices."""
    everywhere = sharding.replicated(self.mesh)
    state = jax.jit(self._init, out_shardings=everywhere)(self.seed())
    if self.variables is None:
      return state
    begin = jax.jit(functools.partial(self.begin, self.config), out_shardings=everywhere)
    return begin(state, sharding.to_devices(everywhere, self.variables))

  def state_shapes(self) -> State:
    """Shapes and dtypes of the state."""
    return jax.eval_shape(self._init, jax.ShapeDtypeStruct((), np.uint32))

  def _init(self, seed: jax.Array) -> State:
    return self.procedure.init(jax.random.key(seed))


def open_run(system: System, config: Config, workdir: pathlib.Path) -> Run:
  """Checks the config, the images and that `workdir` holds no other run."""
  mesh = sharding.make_mesh(config.batch_size)
  system.procedure(config, 1)  # refused before any file is looked at
  storage.keep_to(config.input.cache_gb)
  share_listing(str(config.data.get("root", "")))
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
  variables, initial = product.read_initial(system, config, workdir)
  data = describe(streams, held_out) | ({"constants": frozen} if frozen else {}) | initial
  run = Run(
    config=config,
    workdir=workdir,
    mesh=mesh,
    procedure=system.procedure(config, steps),
    feeds=feeds,
    held_out=None if held_out is None else feed_lib.held_out(held_out),
    constants=constants,
    begin=system.begin,
    variables=variables,
    identity=identify(config, streams, held_out, data),
    steps=steps,
  )
  for line in record.check(workdir, run.identity):
    run.say(line)
  if jax.process_index() == 0:  # the lock is one for all processes of a run
    lock.check(workdir)
  return run


_listings = itertools.count()  # a study opens several runs


def share_listing(root: str) -> None:
  """Lists a data root in a bucket once for all processes of a run: process 0 tells the others."""
  if jax.process_count() == 1 or not storage.is_remote(root):
    return
  found = b"{}"
  if jax.process_index() == 0:
    # Every process meets the error, and tells it, when it opens the data.
    with contextlib.suppress(OSError, KnownError):
      storage.entries(root)
      found = json.dumps(storage.listings()).encode(errors="surrogateescape")
  storage.take_listings(json.loads(sharding.tell(f"listing {root} {next(_listings)}", found)))


def count_steps(config: Config, stream: Stream) -> int:
  """The steps of a run: those of its config, or of its epochs over the stream's records."""
  return _count(stream, config.steps, config.epochs)


def _count(stream: Stream, steps: int, epochs: float) -> int:
  return steps or math.ceil(epochs * len(stream.source) / stream.rows)


def identify(
  config: Config, streams: dict[str, Stream], held_out: Stream | None, data: dict[str, Any]
) -> Identity:
  """All by which a workdir knows the run again; data: see `describe`."""
  first, parts = next(iter(streams.values())), _parts(streams, held_out)

  def length_of(stored: Mapping[str, Any]) -> int:
    steps, epochs = stored.get("steps"), stored.get("epochs")
    numbers = all(isinstance(x, int | float) and 0 <= x < math.inf for x in (steps, epochs))
    if not numbers or steps == epochs == 0:
      raise InputError(f"damaged (steps {steps!r}, epochs {epochs!r})")
    return _count(first, int(steps), epochs)

  return Identity(
    config=config,
    data=data,
    files={name: stream.source.files(config.hash_contents) for name, stream in parts.items()},
    formerly={f"data.{name}.sha256": part.source.formerly() for name, part in parts.items()},
    older=_older(config, parts.values()),
    operational=config.OPERATIONAL,
    length=Length(count_steps(config, first), length_of, config.fixed_length),
  )


def _older(config: Config, streams: Iterable[Stream]) -> dict[str, Any]:
  """`Config.OLDER`; for images that any rule of values takes alike (8 bits), with those of now."""
  if not all(stream.source.keeps_all for stream in streams):
    return config.OLDER
  rules = {f"input.{name}": getattr(config.input, name) for name in ("normalize", "normalize_over")}
  return {path: value for path, value in config.OLDER.items() if path not in rules} | rules


def describe(streams: dict[str, Stream], held_out: Stream | None) -> dict[str, Any]:
  """Identity of a run's images: per part the number of records and a hash of their files."""
  return {name: describe_source(x.source) for name, x in _parts(streams, held_out).items()}


def _parts(streams: dict[str, Stream], held_out: Stream | None) -> dict[str, Stream]:
  """Streams by their name in the record.

  The first is called "train", which is what it was called before there were streams.
  """
  first, *others = streams
  if taken := {"train", "validation", "constants", "init"} & set(others):
    raise InputError(f"a stream is called {taken.pop()!r}, which the record of a run uses itself")
  parts = {"train": streams[first]} | {name: streams[name] for name in others}
  return parts | ({} if held_out is None else {"validation": held_out})


def describe_source(source: Any) -> dict[str, Any]:
  """Number of records and hash of the files of a source."""
  return {"pairs": len(source), "sha256": source.fingerprint()}
