"""The objective of ISFuse: the fusion loss, and what interventions should and should not change.

L = L_f + alpha L_inv + beta L_nec of the paper as its authors' release computes it, and L_rob.
"""

import dataclasses

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion import losses
from cfi_jax.fusion.types import Fusion, Pair


@dataclasses.dataclass(frozen=True)
class InvarianceOptions:
  """L_inv = mean over `views` of consistency + area - or + entropy + filling, each with its weight.

  weight: alpha. entropy: -1 maximises the gate's entropy (release), +1 minimises it (paper).
  area_target: the share of the image that the gate should select.
  filling: ours, 0 in release and paper: it rewards what fills holes in one image from the other.
  absence: ours, of networks with a prior: it teaches them to trust what no view has changed.
  """

  weight: float
  views: tuple[str, ...]
  consistency: float
  area: float
  area_target: float
  entropy: float
  filling: float
  absence: float


@dataclasses.dataclass(frozen=True)
class NecessityOptions:
  """L_nec = sum over `views` of the difference that removing a modality makes.

  weight: beta; positive makes the differences small (release), negative large (paper).
  """

  weight: float
  views: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class RobustnessOptions:
  """L_rob = mean over `views` of the fusion loss of the treated pair; ours.

  weight: 0 in release and paper. views: for interventions that change what the fused image should
    be, such as `darker`.
  """

  weight: float
  views: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class LossOptions:
  """The objective: weights of the fusion terms by name, and the groups of interventions.

  target: what the terms `multiscale` and, of its gain alone, `detail` want; it says nothing without
    them.
  """

  fusion: dict[str, float]
  target: losses.TargetOptions
  invariance: InvarianceOptions
  necessity: NecessityOptions
  robustness: RobustnessOptions

  def __post_init__(self):
    """Refuses unknown terms and views named twice."""
    valid = (*losses.FUSION_TERMS, *losses.TARGET_TERMS)
    for name in self.fusion:
      if name not in valid:
        raise InputError(f"loss.fusion has no term {name!r}; valid: {', '.join(valid)}")
    if not self.fusion:
      raise InputError(f"loss.fusion is empty; it takes weights of {', '.join(valid)}")
    repeated = sorted({v for v in self.views if self.views.count(v) > 1})
    if repeated:
      raise InputError(f"loss: views named more than once: {', '.join(repeated)}")

  @property
  def views(self) -> tuple[str, ...]:
    """The interventions that the objective needs, in the order of the training step."""
    return self.invariance.views + self.necessity.views + self.robustness.views


def objective(
  options: LossOptions,
  pair: Pair,
  original: Fusion,
  views: dict[str, Fusion],
  treated: dict[str, Pair],
) -> tuple[Array, dict[str, Array]]:
  """The objective per example [B] and its unweighted parts by name, each [B] too.

  views: the fusions of the pairs `treated` by name.
  """
  # A blank image comes as a batch of one.
  treated = jax.tree.map(lambda x: jnp.broadcast_to(x, pair.visible.shape), treated)
  parts, total = {}, 0.0

  def add(name: str, weight: float, value: Array) -> None:
    nonlocal total
    parts[name] = value
    total += weight * value

  fused = original.fused
  for name, value in losses.fusion_parts(options.fusion, options.target, fused, pair).items():
    add(name, options.fusion[name], value)
  invariance, necessity = options.invariance, options.necessity
  if invariance.absence:
    value = losses.absence(original.trust, pair, pair)
    add("absence/original", invariance.weight * invariance.absence, value)
  for name in invariance.views:
    alpha, view = invariance.weight / len(invariance.views), views[name]
    add(f"consistency/{name}", alpha * invariance.consistency, losses.consistency(fused, view))
    add(f"area/{name}", alpha * invariance.area, losses.area(view, invariance.area_target))
    add(f"entropy/{name}", alpha * invariance.entropy, losses.entropy(view))
    if invariance.filling:
      removed = losses.one_sided(pair, treated[name])
      add(f"filling/{name}", alpha * invariance.filling, losses.filling(fused, view, removed))
    if invariance.absence:
      value = losses.absence(view.trust, pair, treated[name])
      add(f"absence/{name}", alpha * invariance.absence, value)
  for name in necessity.views:
    add(f"necessity/{name}", necessity.weight, losses.difference(fused, views[name]))
  robustness = options.robustness
  for name in robustness.views:
    terms = losses.fusion_parts(options.fusion, options.target, views[name].fused, treated[name])
    value = sum(options.fusion[term] * terms[term] for term in terms)
    add(f"robustness/{name}", robustness.weight / len(robustness.views), value)
  return total, parts
