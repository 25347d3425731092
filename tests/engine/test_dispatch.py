"""Dispatches of several steps, with a step that only adds up what it is given."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from cfi_jax.engine import dispatch, sharding


def add_up(state, kept, items):
  state = state + kept * items["a"].sum() * (state + 1)  # the order of steps matters
  return state, {"state": state, "b": items["b"].sum()}


def items(start, stop):
  for step in range(start + 1, stop + 1):
    yield {"a": np.full((2, 1), step, "f"), "b": np.full((2, 1), -step, "f")}


def test_dispatches_end_where_the_host_looks():
  assert list(dispatch.ends(0, 10, 4, (5, 7))) == [4, 5, 7, 10]
  assert list(dispatch.ends(3, 10, 4, (5, 7))) == [5, 7, 10]
  assert list(dispatch.ends(0, 9, 100, (100,))) == [9]
  assert list(dispatch.ends(0, 3, 1, (2,))) == [1, 2, 3]
  assert list(dispatch.ends(9, 9, 4, (5,))) == []
  assert list(dispatch.ends(0, 10, 4, (5, 7), (2, 6))) == [2, 5, 6, 7, 10]


@pytest.mark.parametrize(("most", "stops"), [(1, (3, 4, 5, 6, 7, 8)), (4, (4, 8)), (4, (3, 4, 8))])
def test_dispatches_of_any_length_take_the_same_steps(most, stops):
  mesh = sharding.make_mesh(2)
  program = dispatch.make_program(add_up, most)
  item = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), next(items(0, 1)))
  inputs = dispatch.input_shapes(mesh, item, most)
  compiled = (
    jax.jit(program).lower(jnp.float32(1), jnp.float32(1), inputs).compile()
  )  # one for all lengths
  state, seen = jnp.float32(1), []
  for chunk in dispatch.chunks(mesh, items(2, 8), 2, iter(stops), most):
    state, metrics = compiled(state, jnp.float32(1), chunk.inputs)
    assert chunk.waited >= 0
    rows = {name: np.atleast_1d(value) for name, value in metrics.items()}
    assert all(len(row) == most and not row[chunk.count :].any() for row in rows.values())
    steps = range(chunk.last - chunk.count + 1, chunk.last + 1)
    seen += [(step, rows["state"][i], rows["b"][i]) for i, step in enumerate(steps)]
  expected, total = [], 1.0
  for step in range(3, 9):
    total += 2 * step * (total + 1)
    expected.append((step, total, -2 * step))
  assert seen == expected and float(state) == total


def test_inputs_are_put_on_the_devices_ahead():
  taken = []

  def noted():
    for item in items(0, 9):
      taken.append(item)
      yield item

  found = dispatch.chunks(sharding.make_mesh(2), noted(), 0, iter((2, 4, 6, 9)), 3)
  assert taken == []
  assert next(found).last == 2 and len(taken) == 4
  assert next(found).last == 4 and len(taken) == 6
  assert [(chunk.last, chunk.count) for chunk in found] == [(6, 2), (9, 3)]


def test_the_time_that_inputs_are_waited_for_is_told(monkeypatch):
  """Items take a second each, the work between two dispatches ten."""
  clock = types.SimpleNamespace(now=100.0)
  monkeypatch.setattr(dispatch, "time", types.SimpleNamespace(perf_counter=lambda: clock.now))

  def slow():
    for item in items(0, 6):
      clock.now += 1
      yield item

  waited = []
  for chunk in dispatch.chunks(sharding.make_mesh(2), slow(), 0, iter((2, 3, 6)), 3):
    waited.append(chunk.waited)
    clock.now += 10
  assert waited == [3.0, 3.0, 0.0]


@pytest.mark.parametrize("most", [1, 3])
def test_rows_are_divided_among_the_devices_and_steps_are_not(most):
  mesh, item = sharding.make_mesh(2), {"a": np.zeros((2, 5), "f")}
  put = dispatch.put(mesh, [item], most)
  for inputs in (dispatch.input_shapes(mesh, item, most), put):
    if most == 1:
      assert inputs["a"].shape == (2, 5) and inputs["a"].sharding == sharding.split(mesh)
    else:
      stacked, count = inputs
      assert stacked["a"].shape == (3, 2, 5) and stacked["a"].dtype == np.float32
      assert stacked["a"].sharding.spec == PartitionSpec(None, sharding.AXIS)
      assert (count.shape, count.dtype) == ((), np.int32)
      assert count.sharding == sharding.replicated(mesh)


def test_a_step_is_traced_once_though_its_shapes_are_asked_for_first():
  traced = []

  def one_step(state, kept, items):
    traced.append(1)
    return add_up(state, kept, items)

  scalar, rows = jax.ShapeDtypeStruct((), np.float32), jax.ShapeDtypeStruct((4, 2, 1), np.float32)
  inputs = {"a": rows, "b": rows}, jax.ShapeDtypeStruct((), np.int32)
  _, metrics = jax.eval_shape(dispatch.make_program(one_step, 4), scalar, scalar, inputs)
  assert traced == [1] and metrics["b"].shape == (4,)
