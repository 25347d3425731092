"""Operations of the network on maps, and the one place where their way of computing is chosen."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding
from cfi_jax.systems.isfuse.operations import attention, native
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
PACKED_KERNELS = ("auto", "fused")
KINDS: dict[str, Callable[..., Plain]] = {"plain": Plain, "fused": Fused, "native": Native}


@dataclasses.dataclass(frozen=True)
class Ways:
  """The ways of computing that a config asks for; they change no result but for rounding.

  layout: of maps: "plain", or "packed" for a TPU's 128 lanes (`packed`; sides must be multiples of
    2^levels). attention: "matmul", or "pallas" for a kernel that holds the weights on the chip
    (`attention`). kernels: "plain" JAX, "fused" with few passes and messages (`fused`), or "native"
    in C++ for CPUs (`native`; float32, features a multiple of 4). "auto" takes what is fastest on
    the devices that a program is compiled for, of what can be.
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
    if self.layout == "packed" and self.kernels not in PACKED_KERNELS:
      raise InputError(
        f"model.kernels is {self.kernels!r} with model.layout 'packed'; "
        f"valid: {', '.join(PACKED_KERNELS)}"
      )


def choose(ways: Ways, network: Any, height: int, width: int) -> Plain:
  """The operations of a network (`ISFuse`) for images of a size.

  They are for the devices that are compiled for (`sharding.platform`).
  """
  platform = sharding.platform()
  way = ways.attention if ways.attention != "auto" else _attention(platform, network)
  if _is_packed(ways, platform, 2**network.levels, height, width):
    return Packed(network.padding, network.dtype, way)
  kernels = ways.kernels if ways.kernels != "auto" else _kernels(platform, network, way)
  return KINDS[kernels](network.padding, network.dtype, way)


def _attention(platform: str, network: Any) -> str:
  on_accelerator = platform != "cpu" and network.dtype != jnp.float64
  return (
    "pallas" if on_accelerator and attention.takes(network.grid**2, network.features) else "matmul"
  )


def _is_packed(ways: Ways, platform: str, step: int, height: int, width: int) -> bool:
  fits = not height % step and not width % step
  if ways.layout == "packed" and not fits:
    raise InputError(
      f"model.layout is 'packed' for images of {height}x{width}; allowed: multiples of {step}"
    )
  best = ways.layout == "auto" and platform == "tpu" and ways.kernels in PACKED_KERNELS
  return fits and (ways.layout == "packed" or best)


def _kernels(platform: str, network: Any, way: str) -> str:
  if platform != "cpu":
    return "fused"
  return (
    "native" if way != "pallas" and not native.reason(network.dtype, network.features) else "plain"
  )
