"""Operations of the network on maps, and the one place where their way of computing is chosen."""

import dataclasses
from collections.abc import Callable
from typing import Any

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding
from cfi_jax.systems.isfuse.operations import attention
from cfi_jax.systems.isfuse.operations.fused import Fused
from cfi_jax.systems.isfuse.operations.native import Native
from cfi_jax.systems.isfuse.operations.packed import Packed
from cfi_jax.systems.isfuse.operations.plain import Plain

WAYS = {
  "layout": ("auto", "plain", "packed"),
  "attention": ("auto", *attention.ATTENTIONS),
  "kernels": ("auto", "plain", "fused", "native"),
}

PLAIN = {"layout": "plain", "attention": "matmul", "kernels": "plain"}


@dataclasses.dataclass(frozen=True)
class Ways:
  """The ways of computing that a config asks for; they change no result but for rounding.

  attention: "matmul" or "pallas", see `attention`. kernels: "plain" JAX, "fused" or
  "native", see the modules of these names.
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


def choose(ways: Ways, network: Any, height: int, width: int) -> Plain:
  """The operations of a network (`ISFuse`) for images of a size.

  They are for the devices that are compiled for (`sharding.platform`).
  """
  platform = sharding.platform()
  kinds: dict[str, Callable[..., Plain]] = {"plain": Plain, "fused": Fused, "native": Native}
  kernels = ("plain" if platform == "cpu" else "fused") if ways.kernels == "auto" else ways.kernels
  way = (
    ("matmul" if platform == "cpu" else "pallas") if ways.attention == "auto" else ways.attention
  )
  layout = ("packed" if platform == "tpu" else "plain") if ways.layout == "auto" else ways.layout
  kind = kinds[kernels]
  if layout == "packed" and not height % 2**network.levels and not width % 2**network.levels:
    kind = Packed
  return kind(network.padding, network.dtype, way)
