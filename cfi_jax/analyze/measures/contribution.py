"""Contributions of each modality to the fused image: gradients, and integrals of them.

F is the fused image of a pair (V, I), a centre window of the images, so that few programs are
compiled. J_m is the Jacobian of F with respect to modality m, as an exact product from
`jax.linearize`: forwards (the response of every fused pixel to a change of a whole image) and
backwards (the response of all of F to every input pixel).
"""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from cfi_jax.analyze.measures import maps
from cfi_jax.analyze.measures.samples import Sample, require
from cfi_jax.analyze.measures.subject import Subject
from cfi_jax.core.keys import name_number
from cfi_jax.core.progress import track
from cfi_jax.core.types import Array
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.report.findings import Finding, Row, tabulate

WINDOW = 128  # side of the centre window in pixels; a smaller side of an image is taken whole
STEPS = 16  # quadrature points on the path, the middles of as many equal parts
POINTS = 8  # fused pixels, drawn uniformly, whose own gradient is looked at
RADII = (0, 1, 2, 4, 8, 16, 32)
STEP = 1e-3  # relative change of a modality by which the linear response is checked


@dataclasses.dataclass(frozen=True)
class Attribution:
  """The contribution of each modality to one fused window; maps [h, w] in float64 by modality.

  fused, baseline: F of the window, and of a black one, the baseline.
  gradient: d sum_q F(q) / d m(p) at input pixel p.
  response: (J_m m)(q), the change of fused pixel q per relative change of modality m.
  integrated: at input pixel p, m(p) times the mean of the gradient along the straight path from
    the baseline (integrated gradients, Sundararajan 2017, of the sum of F); sums to the sum of
    F - baseline over both modalities and all p.
  contribution: at fused pixel q, the mean of (J_m m)(q) along the same path: the same integral,
    kept apart by output instead of input; sums to F(q) - baseline(q) over modalities.
  """

  fused: np.ndarray
  baseline: np.ndarray
  gradient: dict[str, np.ndarray]
  response: dict[str, np.ndarray]
  integrated: dict[str, np.ndarray]
  contribution: dict[str, np.ndarray]


def analyse(subject: Subject, samples: Sequence[Sample], seed: int = 0) -> list[Finding]:
  """The contributions of both modalities, analysis "contribution".

  seed: of the fused pixels looked at, and of the random weights.

  By quantity, one value per image, averaged over images; see `Attribution`; conditions are
  modalities unless said:
    gradient: mean over input pixels of |d sum F / d m(p)|.
    gradient within radius: share of sum_p |d F(q) / d m(p)| within Chebyshev distance x of q, mean
      over sampled q; mean distance: sum_p |p - q| |d F(q) / d m(p)| over the same without |p - q|.
      NaN where F(q) does not depend on m.
    linear response: mean over fused pixels of |J_m m|; finite-difference error: mean of
      |(F(m (1 + h)) - F(m (1 - h))) / 2h - J_m m| over it, h = `STEP`; not 0 where F is curved or
      has a kink.
    integrated gradients: mean contribution per fused pixel, signed; the two sum to the mean of
      F - baseline.
    share of contribution: of sum_q |contribution| of both, that of one modality.
    share of contribution on objects: with truth; the same over the pixels of objects by what
      carries them, condition "visible, carried by infrared" and so on.
    completeness error: "by fused pixels": sum_q |contributions - (F - baseline)| over
      sum_q |F - baseline|; "by input pixels": |sum_p integrated - sum_q (F - baseline)| over the
      same. What the quadrature misses.
    similarity to randomised weights: Spearman's between |maps| of the model and of one with random
      weights, condition "gradient, MODALITY" or "integrated gradients, MODALITY". A map that stays
      the same (near 1) shows the images, not what was learnt (Adebayo 2018). Only where the model
      has weights to randomise. A network with a prior starts as its rule, whatever the seed: near 1
      then says that its maps are the rule's.

  Raises InputError for no samples.
  """
  require(samples)
  other = subject.randomised(seed) if subject.randomised else None
  told = track(samples, f"contributions in {subject.name}", "pair")
  rows = [_measure(subject, other, sample, seed) for sample in told]
  return tabulate(subject.name, "contribution", rows)


def pictures(subject: Subject, sample: Sample, seed: int = 0) -> dict[str, np.ndarray]:
  """The centre window, fused, and each modality's contribution to it, uint8 [h, w].

  Contributions range from -1 (black) over 0 (middle grey) to 1 (white).
  """
  del seed  # nothing is drawn
  found = attribute(subject, centre(sample).pair)
  shown = {f"contribution of {m}": maps.picture((1 + c) / 2) for m, c in found.contribution.items()}
  return {"fused window": maps.picture(found.fused), **shown}


def centre(sample: Sample) -> Sample:
  """The sample's centre window of at most `WINDOW` per side; its truth keeps only regions."""
  start = [max(0, (n - WINDOW) // 2) for n in sample.size]
  rows, columns = (slice(s, s + WINDOW) for s in start)

  def cut(image: np.ndarray) -> np.ndarray:
    return image[rows, columns]

  truth = sample.truth
  if truth is not None:
    truth = truth.replace(objects=cut(truth.objects), carrier=cut(truth.carrier))
  return Sample(sample.name, jax.tree.map(cut, sample.pair), truth)


def attribute(subject: Subject, pair: Pair) -> Attribution:
  """The contributions of both images of a pair [h, w, 1] to the fused image."""
  pair = jax.tree.map(lambda image: np.asarray(image, np.float32)[None], pair)
  fused, gradient, response = _linear(subject.function, pair, pair)
  total = None
  # Midpoints: F has kinks along the path, on which rules of higher order do worse.
  for node in (np.arange(STEPS) + 0.5) / STEPS:
    place = jax.tree.map(lambda image, t=node: np.asarray(t * image, np.float32), pair)
    _, *parts = _linear(subject.function, place, pair)
    parts = jax.tree.map(lambda part: np.asarray(part, np.float64) / STEPS, parts)
    total = parts if total is None else jax.tree.map(np.add, total, parts)
  integrated = jax.tree.map(np.multiply, pair, total[0])
  return Attribution(
    fused=_map(fused),
    baseline=_map(_fused(subject.function, jax.tree.map(np.zeros_like, pair))),
    gradient=_by_modality(gradient),
    response=_by_modality(response),
    integrated=_by_modality(integrated),
    contribution=_by_modality(total[1]),
  )


@jax.jit
def _linear(function: Partial, pair: Pair, direction: Pair) -> tuple[Array, Pair, Pair]:
  """F, its gradient (of the sum), and its response to each image moving along `direction`."""
  fused, push = jax.linearize(lambda p: function(p).fused, pair)
  (gradient,) = jax.linear_transpose(push, pair)(jnp.ones_like(fused))
  still = jax.tree.map(jnp.zeros_like, direction)
  response = Pair(*(push(still.replace(**{m: getattr(direction, m)})) for m in MODALITIES))
  return fused, gradient, response


@jax.jit
def _fused(function: Partial, pair: Pair) -> Array:
  return function(pair).fused


@jax.jit
def _local(function: Partial, pair: Pair, points: Array) -> Pair:
  """Gradients [P, 1, h, w, 1] of F at P points (row, column)."""
  fused, pull = jax.vjp(lambda p: function(p).fused, pair)

  def at(point: Array) -> Pair:
    return pull(jnp.zeros_like(fused).at[0, point[0], point[1], 0].set(1))[0]

  return jax.lax.map(at, points)


def _measure(subject: Subject, other: Subject | None, sample: Sample, seed: int) -> Row:
  window = centre(sample)
  found = attribute(subject, window.pair)
  change = found.fused - found.baseline
  scale = np.abs(change).sum()
  parts = found.contribution
  missed = {
    "by fused pixels": np.abs(sum(parts.values()) - change).sum(),
    "by input pixels": abs(sum(m.sum() for m in found.integrated.values()) - change.sum()),
  }
  row: dict = {
    ("completeness error", how, None): maps.ratio(error, scale) for how, error in missed.items()
  }
  size = sum(np.abs(part) for part in parts.values())
  for m in MODALITIES:
    row["gradient", m, None] = np.abs(found.gradient[m]).mean()
    row["integrated gradients", m, None] = parts[m].mean()
    row["share of contribution", m, None] = maps.ratio(np.abs(parts[m]).sum(), size.sum())
    for region, where in window.regions().items():
      share = maps.ratio(np.abs(parts[m])[where].sum(), size[where].sum())
      row["share of contribution on objects", f"{m}, {region}", None] = share
  row |= _reach(subject, window, seed)
  row |= _response(subject, window, found)
  return row | (_sanity(other, window, found) if other else {})


def _reach(subject: Subject, window: Sample, seed: int) -> Row:
  """The distance from fused pixels of the input pixels that they depend on."""
  random = np.random.default_rng((seed, name_number(window.name)))
  points = random.integers(0, window.size, (POINTS, 2)).astype(np.int32)
  pair = jax.tree.map(lambda image: np.asarray(image, np.float32), window.batch)
  gradients = _local(subject.function, pair, points)
  rows, columns = (np.arange(n) for n in window.size)
  dy = np.abs(rows - points[:, :1])[:, :, None]
  dx = np.abs(columns - points[:, 1:])[:, None, :]
  distance = np.maximum(dy, dx)
  row: dict = {}
  for m in MODALITIES:
    size = np.abs(np.asarray(getattr(gradients, m), np.float64))[:, 0, ..., 0]
    depends = size.any(axis=(1, 2))
    size, far = size[depends], distance[depends]
    total = size.sum(axis=(1, 2))
    for radius in RADII:
      share = (size * (far <= radius)).sum(axis=(1, 2)) / total
      row["gradient within radius", m, float(radius)] = _mean(share)
    row["mean distance", m, None] = _mean((size * far).sum(axis=(1, 2)) / total)
  return row


def _response(subject: Subject, window: Sample, found: Attribution) -> Row:
  """The linear response, and the distance of finite differences from it."""
  row: dict = {}
  for m in MODALITIES:
    image = getattr(window.batch, m)
    ends = [np.asarray(image * (1 + sign * STEP), np.float32) for sign in (1, -1)]
    up, down = (_map(_fused(subject.function, window.batch.replace(**{m: end}))) for end in ends)
    difference = (up - down) / (2 * STEP)
    size = np.abs(found.response[m]).mean()
    row["linear response", m, None] = size
    error = np.abs(difference - found.response[m]).mean()
    row["finite-difference error", m, None] = maps.ratio(error, size)
  return row


def _sanity(other: Subject, window: Sample, found: Attribution) -> Row:
  """The likeness of the maps to those of a model with random weights."""
  drawn = attribute(other, window.pair)
  row = {}
  for kind, name in (("gradient", "gradient"), ("integrated gradients", "integrated")):
    for m in MODALITIES:
      trained, random = (np.abs(getattr(a, name)[m]) for a in (found, drawn))
      row["similarity to randomised weights", f"{kind}, {m}", None] = maps.spearman(trained, random)
  return row


def _mean(values: np.ndarray) -> float:
  return float(values.mean()) if values.size else float("nan")


def _map(image: Array) -> np.ndarray:
  return np.asarray(image, np.float64)[0, ..., 0]


def _by_modality(pair: Pair) -> dict[str, np.ndarray]:
  return {m: _map(getattr(pair, m)) for m in MODALITIES}
