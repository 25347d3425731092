"""DFC-Net as the benchmarks know it: its training step; nothing else of it is measured."""

import dataclasses
from typing import Any

import numpy as np

from cfi_jax import datasets
from cfi_jax.benchmark.harness import dfcnet_floors
from cfi_jax.benchmark.subjects import Sampled
from cfi_jax.core.types import InputError
from cfi_jax.systems.dfcnet.config import Config
from cfi_jax.systems.dfcnet.samples import make_transfer

PLAIN: dict[str, Any] = {"model": {}}  # there is one way of computing
SCHEDULE = dfcnet_floors.SCHEDULE
STEP_TOLERANCE = 1e-4
step_cost = dfcnet_floors.train_cost


def streams(config: Config) -> dict[str, Sampled]:
  """See `Subject`."""
  return {
    stream: Sampled(
      len(images["source"]), {name: x.shape[-1] for name, x in images.items()}, make_transfer
    )
    for stream, images in _batches(config).items()
  }


def inputs(config: Config) -> dict[str, np.ndarray]:
  """See `Subject`; two rendered people in two poses."""
  return {
    f"{stream}/{name}": image
    for stream, images in _batches(config).items()
    for name, image in images.items()
  }


def _batches(config: Config) -> dict[str, dict[str, np.ndarray]]:
  """Images of the batches [B, S, S, C] by stream and name."""
  if config.data["name"] != "figures":
    raise InputError(f"config.data.name is {config.data['name']!r}; allowed here: figures")
  few = {"people": 2, "poses": 2, "groups": 1, "support": 2, "pairs": config.batch_size}
  people = datasets.load({**config.data, **few})
  found = {}
  for stream, split, count in (
    ("pairs", "train", config.batch_size), ("support", "support", config.support_rows)
  ):  # fmt: skip
    if count:
      source = people.source(split)
      records = [source[index % len(source)] for index in range(count)]
      found[stream] = {
        name: np.stack([record[name] for record in records]).astype(np.float32) / 255
        for name in records[0]
      }
  return found


def rows(config: Config) -> int:
  """See `Subject`."""
  return config.batch_size + config.support_rows


def dtypes(config: Config) -> tuple[str, str]:
  """See `Subject`."""
  del config
  return "float32", "float32"


def case(config: Config) -> dict[str, Any]:
  """The network, its transport and its width."""
  options = config.model
  return {"model": options.name, "transport": options.transport, "width": options.width}


def settings(config: Config, steps: int) -> dict[str, Any]:
  """See `Subject`; there is no other side that would need more."""
  del steps
  return {"model": dataclasses.asdict(config.model)}
