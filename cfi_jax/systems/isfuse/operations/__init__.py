"""Operations of the network on maps, and the one place where their way of computing is chosen."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding
from cfi_jax.systems.isfuse.operations import attention
from cfi_jax.systems.isfuse.operations.fused import Fused
from cfi_jax.systems.isfuse.operations.plain import Padding, Plain

WAYS = {
  "layout": ("auto", "plain"),
  "attention": ("auto", *attention.ATTENTIONS),
  "kernels": ("auto", "plain", "fused"),
}

PLAIN = {"layout": "plain", "attention": "matmul", "kernels": "plain"}


@dataclasses.dataclass(frozen=True)
class Ways:
  """The ways of computing that a config asks for; they change no result but for rounding.

  attention: "matmul" or "pallas", see `attention`. kernels: "plain" JAX or "fused", see `fused`.
  "auto" takes the fastest one for the devices that a program is compiled for.
  """

  layout: str
  attention: str
  kernels: str

  def __post_init__(self):
    """Refuses unknown names."""
    for name, valid in WAYS.items():
      value = getattr(self, name)
      if value not in valid and not (name == "attention" and value in attention.RETIRED):
        raise InputError(f"model.{name} is {value!r}; valid: {', '.join(valid)}")


def choose(ways: Ways, padding: Padding, dtype: jnp.dtype) -> Plain:
  """The operations for the devices that are compiled for (`sharding.platform`)."""
  on_cpu = sharding.platform() == "cpu"
  kinds: dict[str, Callable[..., Plain]] = {"plain": Plain, "fused": Fused}
  kernels = ("plain" if on_cpu else "fused") if ways.kernels == "auto" else ways.kernels
  way = ("matmul" if on_cpu else "pallas") if ways.attention == "auto" else ways.attention
  return kinds[kernels](padding, dtype, way)
