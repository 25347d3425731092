"""The objective of AMG-Fuse: a fusion of the clean images, from degraded ones."""

from collections.abc import Callable, Mapping

import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.engine import sharding
from cfi_jax.fusion import losses
from cfi_jax.fusion.types import Pair
from cfi_jax.images import ops
from cfi_jax.images.ops import PIXELS
from cfi_jax.systems.amgfuse import masks
from cfi_jax.systems.amgfuse.model import Fusions
from cfi_jax.systems.amgfuse.samples import Scene, grey

EPSILON = 1e-6  # in the quotient of the pseudo ground truth's mask
LEAST_ERROR = 1 / 255  # added to errors before their logarithm: one level of 8 bits
# Terms by network; the first four of AMG-Fuse are terms of `fusion.losses`.
TERMS = {
  "amgfuse": (
    "intensity",
    "edges",
    "structure",
    "colour",
    "mgls",
    "tdas",
    "restored",
    "target",
    "log_errors",
  ),
  "restoration": ("restoration",),
}


def check(weights: Mapping[str, float], network: str) -> None:
  """Raises InputError unless the weights are of terms that the network has."""
  valid = TERMS[network]
  for name, weight in weights.items():
    if name not in valid:
      raise InputError(f"loss has no term {name!r} for {network}; valid: {', '.join(valid)}")
    if weight < 0:
      raise InputError(f"loss.{name} is {weight}; allowed: 0 or more")
  if not any(weights.values()):
    raise InputError(f"loss has no weight above 0; it takes weights of {', '.join(valid)}")


def fusion_terms(
  weights: Mapping[str, float], scene: Scene, fusions: Fusions, restore: Callable[[Array], Array]
) -> dict[str, Array]:
  """The unweighted terms that have a weight, per example [B], by name.

  intensity, edges, structure, colour: of the fused image, against the clean ones (see
    `losses.maximum`, `edges`, `shared_structure` and `chroma`; grey is the mean of RGB).
  mgls: `mask_guided`. tdas: mean |R(X) - X|, X the masked image and R what `restore` does.
  restored: `restored_heads`. target: mean |F - P|, F the fused image and P the pseudo ground truth.
  log_errors: `log_errors`. These three are ours.
  A value of `structure` depends on its batch, by the shares of `visible_share`.
  """
  pair = Pair(visible=grey(scene.clean_visible), infrared=scene.clean_infrared)
  fused = grey(fusions.fused)
  makers = {
    "intensity": lambda: losses.maximum(fused, pair),
    "edges": lambda: losses.edges(fused, pair),
    "structure": lambda: losses.shared_structure(fused, pair, visible_share(pair)),
    "colour": lambda: losses.chroma(fusions.fused, scene.clean_visible),
    "mgls": lambda: sum(mask_guided(scene, fusions)),
    "tdas": lambda: distance(restore(fusions.masked), fusions.masked),
    "restored": lambda: sum(restored_heads(scene, fusions)),
    "target": lambda: distance(scene.pseudo, fusions.fused),
    "log_errors": lambda: log_errors(scene, fusions),
  }
  return {name: makers[name]() for name, weight in weights.items() if weight}


def restoration_terms(restored: Array, scene: Scene) -> dict[str, Array]:
  """mean |R(visible) - clean visible| per example [B]."""
  return {"restoration": distance(restored, scene.clean_visible)}


def distance(first: Array, second: Array) -> Array:
  """mean |first - second| per example."""
  return ops.absolute(first - second).mean(PIXELS)


def visible_share(pair: Pair) -> Array:
  """mean S(V) / (mean S(V) + mean S(I)) over the batch of all devices, S Sobel's magnitude."""
  means = [ops.sobel_magnitude(image).mean() for image in (pair.visible, pair.infrared)]
  visible, infrared = sharding.mean(means)
  return visible / (visible + infrared)


def mask_guided(scene: Scene, fusions: Fusions) -> tuple[Array, Array]:
  """mean |mu V - O_vi| and mean |(1 - mu_0) I - O_ir_0| per example, index 0 the red channel.

  V, I: clean images. O: the outputs of both modalities. mu: the mask of the pseudo ground truth.
  """
  visible, infrared, pseudo = scene.clean_visible, scene.clean_infrared, scene.pseudo
  mask = masks.soft(masks.share(pseudo - infrared, visible - infrared + pseudo + EPSILON))
  of_visible = distance(mask * visible, fusions.visible)
  return of_visible, distance((1 - mask[..., :1]) * infrared, fusions.infrared[..., :1])


def restored_heads(scene: Scene, fusions: Fusions) -> tuple[Array, Array]:
  """mean |V - O_vi| and mean |I - O_ir| per example, I in all three channels of its output.

  V, I: clean images. O: the outputs of both modalities. Ours: by `mask_guided` the outputs are a
  share of each image, by the mask of the pseudo ground truth; by this they are whole images.
  """
  of_visible = distance(scene.clean_visible, fusions.visible)
  return of_visible, distance(scene.clean_infrared, fusions.infrared)


def log_errors(scene: Scene, fusions: Fusions) -> Array:
  """Sum of log(mean |O - V|), log(mean |O_ir - I|) and log(mean |F - P|), per example.

  Each mean has `LEAST_ERROR` added. Ours: a step lowers each by a share of it, so that light
  weather weighs as much as heavy; of plain mean errors those of heavy weather are most.
  """
  errors = (*restored_heads(scene, fusions), distance(scene.pseudo, fusions.fused))
  return sum(jnp.log(error + LEAST_ERROR) for error in errors)
