"""Loss terms, per example: the fusion loss, the invariance terms and the necessity term.

A term takes images or maps [..., H, W, 1] and returns a value for each leading index: it averages
over pixels and channels only. Source: the paper's objective L = L_f + alpha L_inv + beta L_nec as
its authors' release computes it.
"""

import dataclasses

import jax.numpy as jnp

from cfi_jax import ops
from cfi_jax.types import Array, Fusion, InputError, Pair

PIXELS = (-3, -2, -1)


def intensity(fused: Array, pair: Pair) -> Array:
  """mean |F - V| + mean |F - I|."""
  return jnp.abs(fused - pair.visible).mean(PIXELS) + jnp.abs(fused - pair.infrared).mean(PIXELS)


def gradient(fused: Array, pair: Pair) -> Array:
  """mean | |lap F| - max(|lap V|, |lap I|) |, lap the 8-neighbour Laplacian."""
  visible, infrared = jnp.abs(ops.laplacian(pair.visible)), jnp.abs(ops.laplacian(pair.infrared))
  target = jnp.maximum(visible, infrared)
  return jnp.abs(jnp.abs(ops.laplacian(fused)) - target).mean(PIXELS)


def consistency(fused: Array, view: Fusion) -> Array:
  """mean |F_view - F| G_view: change of the fused image where the view's gate selects."""
  return (jnp.abs(view.fused - fused) * ops.mean_map(view.gates)).mean(PIXELS)


def area(view: Fusion, target: float) -> Array:
  """| mean(G_view) - target |: distance of the selected share of the image from `target`."""
  return jnp.abs(ops.mean_map(view.gates).mean(PIXELS) - target)


def entropy(view: Fusion) -> Array:
  """Mean binary entropy of the view's gate in nats, G clipped to [1e-6, 1 - 1e-6]."""
  p = jnp.clip(ops.mean_map(view.gates), 1e-6, 1 - 1e-6)
  return -(p * jnp.log(p) + (1 - p) * jnp.log1p(-p)).mean(PIXELS)


def difference(fused: Array, view: Fusion) -> Array:
  """mean |F - F_view|: what the fused image loses with a modality."""
  return jnp.abs(fused - view.fused).mean(PIXELS)


FUSION_TERMS = {"intensity": intensity, "gradient": gradient}


@dataclasses.dataclass(frozen=True)
class InvarianceOptions:
  """L_inv = mean over `views` of consistency + area - or + entropy, each with its weight.

  weight: alpha. entropy: -1 maximises the gate's entropy (release), +1 minimises it (paper).
  area_target: the share of the image that the gate should select.
  """

  weight: float
  views: tuple[str, ...]
  consistency: float
  area: float
  area_target: float
  entropy: float


@dataclasses.dataclass(frozen=True)
class NecessityOptions:
  """L_nec = sum over `views` of the difference that removing a modality makes.

  weight: beta; positive makes the differences small (release), negative large (paper).
  """

  weight: float
  views: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LossOptions:
  """The objective: weights of the fusion terms by name, and the two causal groups."""

  fusion: dict[str, float]
  invariance: InvarianceOptions
  necessity: NecessityOptions

  def __post_init__(self):
    """Refuses unknown terms and views named twice."""
    for name in self.fusion:
      if name not in FUSION_TERMS:
        raise InputError(f"loss.fusion has no term {name!r}; valid: {', '.join(FUSION_TERMS)}")
    if not self.fusion:
      raise InputError(f"loss.fusion is empty; it takes weights of {', '.join(FUSION_TERMS)}")
    repeated = sorted({v for v in self.views if self.views.count(v) > 1})
    if repeated:
      raise InputError(f"loss: views named more than once: {', '.join(repeated)}")

  @property
  def views(self) -> tuple[str, ...]:
    """The interventions that the objective needs, in the order of the training step."""
    return self.invariance.views + self.necessity.views


def objective(
  options: LossOptions, pair: Pair, original: Fusion, views: dict[str, Fusion]
) -> tuple[Array, dict[str, Array]]:
  """The objective per example [B] and its unweighted parts by name, each [B] too."""
  parts, total = {}, 0.0

  def add(name: str, weight: float, value: Array) -> None:
    nonlocal total
    parts[name] = value
    total += weight * value

  for name, weight in options.fusion.items():
    add(name, weight, FUSION_TERMS[name](original.fused, pair))
  invariance, necessity = options.invariance, options.necessity
  for name in invariance.views:
    alpha, view = invariance.weight / len(invariance.views), views[name]
    add(f"consistency/{name}", alpha * invariance.consistency, consistency(original.fused, view))
    add(f"area/{name}", alpha * invariance.area, area(view, invariance.area_target))
    add(f"entropy/{name}", alpha * invariance.entropy, entropy(view))
  for name in necessity.views:
    add(f"necessity/{name}", necessity.weight, difference(original.fused, views[name]))
  return total, parts
