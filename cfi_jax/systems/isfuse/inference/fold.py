"""Trained variables folded for inference: exact algebra, in evaluation mode.

BatchNorm goes into the convolution before it; the query projection goes into the keys, since
(W f + b) . k = f . (W^T k) + b . k; keys and values are projected on the pooled grid only.
"""

from collections.abc import Mapping

import numpy as np

from cfi_jax.fusion.types import MODALITIES
from cfi_jax.systems.isfuse.operations.plain import EPSILON

HEADS = {"fused": "head"} | {m: f"trust_{m}" for m in MODALITIES}
OTHER = {"visible": "infrared", "infrared": "visible"}


def fold(variables: Mapping, dtype: np.dtype) -> dict:
  """Weights of the inference graph in `dtype` from variables of an `ISFuse`, folded in float64.

  encoders: modality -> level -> ((kernel, bias), (kernel, bias)), kernels HWIO.
  integrators: level -> dict(attention: modality that asks -> (key weight [C, C], key offset [C],
    score weight [C], score offset, value weight [C, C], value offset [C]); gate: convolutions;
    gate_head: (weight, bias); refine: convolutions).
  decoders: level -> convolutions (finest first).
  heads: "fused", or with a prior the modality that is trusted -> (kernel [3, 3, C, 1], bias).
  """
  params = _to_float64(variables["params"])
  levels = range(1, 1 + sum(name.startswith("cfi") for name in params))
  statistics = _to_float64(variables["batch_stats"])

  def block(*path: str) -> tuple:
    module, running = _at(params, path), _at(statistics, path)
    depth = sum(name.startswith("conv") for name in module)
    names = range(1, depth + 1)
    return tuple(_fold(module[f"conv{i}"], module[f"norm{i}"], running[f"norm{i}"]) for i in names)

  def encoder(modality: str) -> tuple:
    name = "encoder" if "encoder" in params else f"encoder_{modality}"
    return tuple(block(name, f"level{level}") for level in levels)

  def integrator(level: int) -> dict:
    name = f"cfi{level}"
    head = params[name]["gate_head"]
    return {
      "attention": {m: _attention(params[name], m) for m in MODALITIES},
      "gate": block(name, "gate") if "gate" in params[name] else (),
      "gate_head": (head["kernel"], head["bias"]),
      "refine": block(name, "refine"),
    }

  folded = {
    "encoders": {m: encoder(m) for m in MODALITIES},
    "integrators": tuple(integrator(level) for level in levels),
    "decoders": tuple(block(f"decoder{level}") for level in levels[:-1]),
    "heads": {
      name: (params[path]["kernel"], params[path]["bias"])
      for name, path in HEADS.items()
      if path in params
    },
  }
  return _map(lambda a: np.asarray(a, dtype), folded)


def _fold(conv: Mapping, norm: Mapping, running: Mapping) -> tuple[np.ndarray, np.ndarray]:
  gain = norm["scale"] / np.sqrt(running["var"] + EPSILON)
  return conv["kernel"] * gain, (conv["bias"] - running["mean"]) * gain + norm["bias"]


def _attention(cfi: Mapping, modality: str) -> tuple[np.ndarray, ...]:
  """For a pixel f and a grid cell g: score = f . (A g + a) + (b . g + c), value = V g + v.

  With query W_q f + b_q and key W_k g + b_k, scaled by 1 / sqrt(C): A = W_q W_k^T and so on
  (kernels are [in, out], so W f is f @ kernel). c is the same for all cells, but costs nothing.
  """
  query = cfi[f"query_{modality}"]
  key, value = (cfi[f"{part}_{OTHER[modality]}"] for part in ("key", "value"))
  scale = query["kernel"].shape[1] ** -0.5
  return (
    scale * key["kernel"] @ query["kernel"].T,
    scale * key["bias"] @ query["kernel"].T,
    scale * key["kernel"] @ query["bias"],
    scale * key["bias"] @ query["bias"],
    value["kernel"],
    value["bias"],
  )


def _at(tree: Mapping, path: tuple[str, ...]) -> Mapping:
  for name in path:
    tree = tree[name]
  return tree


def _map(function, tree):
  if isinstance(tree, Mapping):
    return {k: _map(function, v) for k, v in tree.items()}
  if isinstance(tree, tuple):
    return tuple(_map(function, v) for v in tree)
  return function(tree)


def _to_float64(tree: Mapping) -> Mapping:
  return _map(lambda a: np.asarray(a, np.float64), tree)
