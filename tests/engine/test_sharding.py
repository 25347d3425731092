"""The mesh and the batch over it (one device here; several in test_resume.py)."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding


def test_a_batch_becomes_a_global_array():
  mesh = sharding.make_mesh(4)
  rows = np.arange(8.0).reshape(4, 2, 1, 1)
  batch = sharding.to_devices(sharding.split(mesh), {"a": rows, "b": (rows + 1,)})
  assert batch["a"].sharding == sharding.split(mesh)
  np.testing.assert_array_equal(batch["a"], rows)
  np.testing.assert_array_equal(batch["b"][0], rows + 1)


def test_a_batch_that_devices_cannot_share_is_refused(monkeypatch):
  one = types.SimpleNamespace(process_index=0, id=0)
  other = types.SimpleNamespace(process_index=1, id=1)
  monkeypatch.setattr(jax, "devices", lambda: [one] * 8)
  with pytest.raises(InputError, match="batch_size is 12, which 8 devices cannot.* multiples of 8"):
    sharding.make_mesh(12)
  monkeypatch.setattr(jax, "devices", lambda: [one] * 4 + [other] * 4)
  with pytest.raises(InputError, match="which 8 devices of 2 processes cannot.* multiples of 8"):
    sharding.make_mesh(12)


def test_moments_of_shares_are_those_of_the_whole(monkeypatch, random):
  """Four shares, as devices have them, whose means lie far from zero and near each other."""
  monkeypatch.setattr(sharding, "_is_share", lambda: True)
  shares = jnp.asarray(random.normal(1000, 1, (4, 50, 3)), jnp.float32)
  near = shares[0].mean(0) + 0.5

  def of_share(rows):
    assert sharding.count() == 4
    return sharding.moments(rows.mean(0), rows.var(0), near), sharding.total(rows.sum(0))

  (means, variances), totals = jax.vmap(of_share, axis_name=sharding.AXIS)(shares)
  whole = np.asarray(shares, np.float64).reshape(-1, 3)
  for mean, variance, total in zip(means, variances, totals, strict=True):
    np.testing.assert_allclose(mean, whole.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, whole.var(0), rtol=1e-3)
    np.testing.assert_allclose(total, whole.sum(0), rtol=1e-5)


def test_moments_of_equal_shares_have_no_negative_variance(monkeypatch, random):
  """Rounding alone makes most of these differences of squares negative."""
  monkeypatch.setattr(sharding, "_is_share", lambda: True)
  shares = jnp.broadcast_to(jnp.asarray(random.uniform(-1, 1, 1000), jnp.float32), (3, 1000))
  found = jax.vmap(
    lambda x: sharding.moments(x, jnp.zeros(1000), jnp.zeros(1000)), axis_name=sharding.AXIS
  )(shares)
  assert (np.asarray(found[1]) >= 0).all()


def test_one_device_shares_with_nobody():
  mean, variance = jnp.ones(2), jnp.full(2, 0.25)
  assert sharding.count() == 1
  assert sharding.moments(mean, variance, None) == (mean, variance)
  assert sharding.total(mean) is mean and sharding.mean(mean) is mean


def test_devices_are_in_the_order_of_their_processes(monkeypatch):
  made = [types.SimpleNamespace(process_index=p, id=i) for p, i in ((1, 3), (0, 2), (1, 0), (0, 9))]
  monkeypatch.setattr(jax, "devices", lambda: made)
  monkeypatch.setattr(sharding, "Mesh", lambda devices, axes: (list(devices), axes))
  devices, axes = sharding.make_mesh(8)
  assert [(d.process_index, d.id) for d in devices] == [(0, 2), (0, 9), (1, 0), (1, 3)]
  assert axes == (sharding.AXIS,)


@pytest.mark.parametrize("length", [0, 1, 2**20, 2**20 + 1, 2**21])
@pytest.mark.parametrize(("given", "seconds"), [({}, 3600), ({"seconds": 2}, 2)])
def test_bytes_are_told_in_messages_of_a_megabyte(monkeypatch, length, given, seconds):
  store, waits = {}, set()

  def get(name, milliseconds):
    waits.add(milliseconds)
    return store[name]

  client = types.SimpleNamespace(
    key_value_set_bytes=store.__setitem__, blocking_key_value_get_bytes=get
  )
  state = types.SimpleNamespace(client=client)
  module = types.SimpleNamespace(global_state=state)
  monkeypatch.setattr(sharding.multihost_utils, "distributed", module)
  content = bytes(range(256)) * (length // 256) + b"x" * (length % 256)
  for process in range(3):
    monkeypatch.setattr(jax, "process_index", lambda process=process: process)
    assert sharding.tell("names", content if process == 0 else b"other", **given) == content
  assert waits == {seconds * 1000}
  parts = [store[f"cfi_jax names {number}"] for number in range(len(store) - 1)]
  assert b"".join(parts) == content
  assert [len(part) for part in parts[:-1]] == [2**20] * (-(-length // 2**20) - 1)
  state.client = None
  assert sharding.tell("names", b"own") == b"own"


@pytest.mark.parametrize(("given", "seconds"), [({}, 3600), ({"seconds": 2}, 2)])
def test_processes_wait_for_each_other_through_their_coordinator(monkeypatch, given, seconds):
  waited = []

  def wait(name, **options):
    waited.append((name, options))

  client = types.SimpleNamespace(wait_at_barrier=wait)
  state = types.SimpleNamespace(client=client)
  module = types.SimpleNamespace(global_state=state)
  monkeypatch.setattr(sharding.multihost_utils, "distributed", module)
  sharding.wait_for_processes("after compiling", **given)
  assert waited == [("cfi_jax after compiling", {"timeout_in_ms": seconds * 1000})]
  state.client = None
  sharding.wait_for_processes("after compiling")
  assert len(waited) == 1


def test_the_platform_is_that_of_the_mesh_or_that_of_jax(monkeypatch):
  assert sharding.platform() == jax.default_backend()
  described = types.SimpleNamespace(abstract_device=types.SimpleNamespace(platform="tpu"))
  monkeypatch.setattr(jax.sharding, "get_abstract_mesh", lambda: described)
  assert sharding.platform() == "tpu"


@pytest.mark.parametrize(
  ("empty", "size", "shared"), [(True, 0, False), (False, 1, False), (False, 2, True)]
)
def test_a_function_runs_on_shares_where_several_devices_share(monkeypatch, empty, size, shared):
  def function(x):
    return x

  made = []

  def shard_map(given, **options):
    made.append((given, options))
    return "on shares"

  mesh = types.SimpleNamespace(empty=empty, size=size)
  monkeypatch.setattr(jax.sharding, "get_abstract_mesh", lambda: mesh)
  monkeypatch.setattr(jax, "shard_map", shard_map)
  found = sharding.on_shares(function, sharding.SPLIT, sharding.WHOLE)
  if shared:
    options = {"in_specs": sharding.SPLIT, "out_specs": sharding.WHOLE, "check_vma": False}
    assert found == "on shares" and made == [(function, options)]
  else:
    assert found is function and made == []


def test_shapes_lie_where_arrays_will():
  where = sharding.replicated(sharding.make_mesh(1))
  found = sharding.as_shapes(where, {"a": np.zeros((2, 3), np.uint8), "b": ()})
  assert (found["a"].shape, found["a"].dtype, found["a"].sharding) == ((2, 3), np.uint8, where)
  assert found["b"] == ()
