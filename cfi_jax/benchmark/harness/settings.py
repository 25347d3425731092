"""The config of what is measured: --config, or the released recipe, and shorthands."""

import argparse
from typing import Any

from cfi_jax.benchmark.harness.floors import Network
from cfi_jax.core import cli
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.config import Config

DEFAULTS = {"crop": 256, "batch": 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Shorthands; --config=FILE and --config.a.b=value are read apart."""
  parser.add_argument("--batch", type=int, help="instead of the config's batch_size")
  parser.add_argument("--crop", type=int, help="instead of the config's input.crop")
  parser.add_argument("--dtype", help="instead of the config's model.dtype")


def read(options: argparse.Namespace) -> dict[str, Any]:
  """The values of the config; without --config the released recipe with 2 crops of 256x256."""
  if options.config:
    values = cli.read(options.config)
  else:
    values = recipes.released().to_dict()
    values["batch_size"], values["input"]["crop"] = DEFAULTS["batch"], DEFAULTS["crop"]
  if options.batch is not None:
    values["batch_size"] = options.batch
  if options.crop is not None:
    values["input"]["crop"] = options.crop
  if options.dtype is not None:
    values["model"]["dtype"] = options.dtype
  return values


def network(config: Config) -> Network:
  """What the floors' counting needs of the model."""
  features = config.model["features"]
  hidden = features // 2 if config.model["gate"] == "released" else 1
  return Network(features, config.model["grid"], hidden)
