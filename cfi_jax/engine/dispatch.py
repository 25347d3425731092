"""Dispatches of one training step or several, whose inputs are on the devices ahead of them."""

import collections
import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from cfi_jax.core.types import Array
from cfi_jax.engine import sharding
from cfi_jax.engine.procedure import Metrics, State

LOOK_AHEAD = 2  # dispatches whose inputs are put on the devices before they are asked for

Items = Any  # what one step takes from the host: arrays whose first axis is that of a batch
OneStep = Callable[[State, Any, Items], tuple[State, Metrics]]  # f(state, kept, items)


@dataclasses.dataclass(frozen=True)
class Chunk:
  """The steps of one dispatch: `count` steps that end with step number `last`.

  inputs: those of `make_program`, on the devices. waited: seconds that the host waited for them.
  """

  last: int
  count: int
  inputs: Any
  waited: float


def make_program(one_step: OneStep, most: int) -> Callable[[State, Any, Any], tuple]:
  """A program(state, kept, inputs) -> (state, metrics) of up to `most` steps, to be jitted.

  kept: arrays that stay on the devices. With `most` = 1 inputs are the items of a step, and metrics
  those of the step. Else inputs are (items, count), items with a leading axis [most] of which the
  first `count` are taken, and every metric is [most], 0 beyond: one program for every count.
  """
  if most == 1:
    return one_step
  one_step = jax.jit(one_step)  # traced once, though it is asked for its shapes first

  def several_steps(state: State, kept: Any, inputs: tuple[Items, Array]) -> tuple[State, Metrics]:
    items, count = inputs

    def take(i: Array, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
      state, buffers = carry
      item = jax.tree.map(lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False), items)
      state, metrics = one_step(state, kept, item)
      return state, jax.tree.map(lambda buffer, x: buffer.at[i].set(x), buffers, metrics)

    first = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), items)
    shapes = jax.eval_shape(one_step, state, kept, first)[1]
    buffers = jax.tree.map(lambda x: jnp.zeros((most, *x.shape), x.dtype), shapes)
    return lax.fori_loop(0, count, take, (state, buffers))

  return several_steps


def input_shapes(mesh: Mesh, items: Items, most: int) -> Any:
  """The inputs of `make_program` as shapes; items: those of one step over all processes."""
  rows, stacked, everywhere = _shardings(mesh)
  if most == 1:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=rows), items)
  stacked_items = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((most, *x.shape), x.dtype, sharding=stacked), items
  )
  return stacked_items, jax.ShapeDtypeStruct((), jnp.int32, sharding=everywhere)


def put(mesh: Mesh, items: Sequence[Items], most: int) -> Any:
  """The inputs of `make_program`, on the devices; items: this process's rows of each step's."""
  rows, stacked, everywhere = _shardings(mesh)
  if most == 1:
    return sharding.to_devices(rows, items[0])

  def stack(*arrays: np.ndarray) -> np.ndarray:
    whole = np.zeros((most, *arrays[0].shape), arrays[0].dtype)
    for place, array in zip(whole, arrays, strict=False):
      place[...] = array
    return whole

  whole = sharding.to_devices(stacked, jax.tree.map(stack, *items))
  return whole, sharding.to_devices(everywhere, np.array(len(items), np.int32))


def _shardings(mesh: Mesh) -> tuple[NamedSharding, NamedSharding, NamedSharding]:
  """Shardings for one step's items, for stacked ones, and for replicated values."""
  stacked = NamedSharding(mesh, PartitionSpec(None, sharding.AXIS))
  return sharding.split(mesh), stacked, sharding.replicated(mesh)


def ends(
  start: int, last: int, most: int, every: Sequence[int], at: Sequence[int] = ()
) -> Iterator[int]:
  """The step that each dispatch ends with, after `start` steps and up to step `last`.

  A dispatch takes at most `most` steps, and none goes beyond a multiple of a number in `every` or a
  number in `at`.
  """
  step = start
  while step < last:
    multiples = (step - step % n + n for n in every)
    step = min(step + most, last, *multiples, *(n for n in at if n > step))
    yield step


def chunks(
  mesh: Mesh, items: Iterator[Items], start: int, stops: Iterator[int], most: int
) -> Iterator[Chunk]:
  """Chunks that end at `stops`, of the items from step `start` + 1 on.

  While the devices work on one, the next `LOOK_AHEAD` are on their way to them.
  """
  ahead: collections.deque[tuple[int, int, Any]] = collections.deque()
  last = start
  while True:
    began = time.perf_counter()
    while len(ahead) < LOOK_AHEAD and (stop := next(stops, None)) is not None:
      inputs = put(mesh, [next(items) for _ in range(last, stop)], most)
      ahead.append((stop, stop - last, inputs))
      last = stop
    if not ahead:
      return
    yield Chunk(*ahead.popleft(), waited=time.perf_counter() - began)
