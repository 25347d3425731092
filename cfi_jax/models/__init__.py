"""Fusion models: a `Pair` in, a `Fusion` out."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from cfi_jax.models.isfuse import ISFuse
from cfi_jax.types import InputError

MODELS: dict[str, type[nn.Module]] = {"isfuse": ISFuse}
DTYPES = {"dtype": ("bfloat16", "float32", "float64"), "param_dtype": ("float32", "float64")}


def make_model(options: Mapping[str, Any]) -> nn.Module:
  """The model `options["name"]`, its other fields from the rest of `options`, none left out.

  dtype and param_dtype are names; float64 needs JAX_ENABLE_X64=1.
  """
  fields = dict(options)
  name = fields.pop("name", None)
  if name not in MODELS:
    raise InputError(f"no model {name!r}; valid: {', '.join(MODELS)}")
  model = MODELS[name]
  valid = [f.name for f in dataclasses.fields(model) if f.name not in ("name", "parent")]
  if set(fields) != set(valid):
    wrong = ", ".join(sorted(set(fields) ^ set(valid)))
    raise InputError(f"model {name!r}: missing or unknown: {wrong}; its fields: {', '.join(valid)}")
  for field, dtypes in DTYPES.items():
    dtype = fields[field]
    if dtype not in dtypes:
      raise InputError(f"model.{field} is {dtype!r}; valid: {', '.join(dtypes)}")
    if dtype == "float64" and not jax.config.jax_enable_x64:
      raise InputError(f"model.{field} is 'float64', which needs JAX_ENABLE_X64=1")
    fields[field] = jnp.dtype(dtype)
  return model(**fields)
