"""The choice of operations per platform, size and network."""

import jax
import jax.numpy as jnp
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding
from cfi_jax.systems.isfuse import operations, recipes
from cfi_jax.systems.isfuse.model import make_model
from cfi_jax.systems.isfuse.operations import Ways, choose, native
from cfi_jax.systems.isfuse.operations.fused import Fused
from cfi_jax.systems.isfuse.operations.native import Native
from cfi_jax.systems.isfuse.operations.packed import Packed
from cfi_jax.systems.isfuse.operations.plain import Plain

AUTO = Ways("auto", "auto", "auto")


def chosen(monkeypatch, platform, size=(64, 96), ways=AUTO, **network):
  monkeypatch.setattr(sharding, "platform", lambda: platform)
  options = recipes.released().model.to_dict() | network
  return choose(ways, make_model(options), *size)


@pytest.mark.parametrize(
  ("platform", "size", "network", "kind", "attention"),
  [
    ("tpu", (64, 96), {}, Packed, "pallas"),
    ("tpu", (64, 100), {}, Fused, "pallas"),
    ("tpu", (64, 96), {"features": 24}, Packed, "matmul"),
    ("cuda", (64, 100), {}, Fused, "pallas"),
    ("cuda", (64, 96), {"grid": 3}, Fused, "matmul"),
    ("cpu", (64, 96), {"dtype": "bfloat16"}, Plain, "matmul"),
    ("cpu", (64, 96), {"features": 10}, Plain, "matmul"),
  ],
)
def test_auto_takes_what_fits(monkeypatch, platform, size, network, kind, attention):
  found = chosen(monkeypatch, platform, size, **network)
  assert type(found) is kind and found.attention == attention
  assert found.padding == "zeros" and found.dtype == jnp.dtype(network.get("dtype", "float32"))


def test_a_cpu_gets_native_kernels_where_there_are_any(monkeypatch):
  monkeypatch.setattr(native.functions, "why_not", lambda: "")
  assert type(chosen(monkeypatch, "cpu")) is Native
  monkeypatch.setattr(native.functions, "why_not", lambda: "no C++ compiler")
  assert type(chosen(monkeypatch, "cpu")) is Plain


def test_a_config_decides(monkeypatch):
  assert type(chosen(monkeypatch, "tpu", ways=Ways(**operations.PLAIN))) is Plain
  assert type(chosen(monkeypatch, "tpu", ways=Ways("auto", "auto", "plain"))) is Plain
  assert type(chosen(monkeypatch, "cpu", ways=Ways("packed", "matmul", "auto"))) is Packed
  with pytest.raises(InputError, match="images of 64x100; allowed: multiples of 8"):
    chosen(monkeypatch, "cpu", (64, 100), Ways("packed", "matmul", "auto"))
  with pytest.raises(InputError, match="model.kernels is 'native' with model.layout 'packed'"):
    Ways("packed", "auto", "native")


def test_native_kernels_are_for_cpus(monkeypatch):
  found = chosen(monkeypatch, "cuda", ways=Ways("plain", "matmul", "native"))
  assert type(found) is Native
  assert native.reason(found.dtype, 32) == "the program is for cuda, not for a CPU"
  maps = jnp.ones((1, 4, 4, 8))
  assert "cfi_" not in str(jax.make_jaxpr(found.halve)(maps))
