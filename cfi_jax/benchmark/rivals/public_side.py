"""Times the public way of scoring, and compares its values with ours."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace

import numpy as np

from cfi_jax.benchmark.harness.scoring import CONVENTION, Names, ours
from cfi_jax.benchmark.harness.timing import timed
from cfi_jax.benchmark.rivals.public_metrics import FEATURES, fmi, plain_evaluator
from cfi_jax.metrics import Triplet, grey_levels

Values = Mapping[tuple[str, str], float]


def measure(
  triplets: Sequence[Triplet], names: Names, values: Values, options: SimpleNamespace
) -> tuple[dict[str, float], dict[str, float], list[str]]:
  """(seconds by group, largest relative difference by group, notes).

  values: ours by (image, metric). The public evaluator computes all metrics but FMI at once, which
  is what it is timed for, whatever `names` chooses.
  """
  theirs = {"without FMI": 0.0} if names.plain else {}
  found: dict[tuple[str, str], float] = {}
  for triplet in triplets:
    if names.plain:
      scores, seconds = timed(lambda t=triplet: plain_evaluator(*levels(t)))
      found |= {(triplet.name, name): scores[name] for name in names.plain}
      theirs["without FMI"] += seconds
  differences = {"without FMI": furthest(found, values)} if names.plain else {}
  if not names.fmi:
    return theirs, differences, []
  found, theirs["FMI"] = {}, 0.0
  crops = [central_crop(triplet, options.fmi_crop) for triplet in triplets]
  own = ours(crops, names.fmi)
  for triplet, crop in zip(triplets, crops, strict=True):
    scores, per_window = loop(crop, names.fmi)
    found |= {(triplet.name, name): value for name, value in scores.items()}
    theirs["FMI"] += per_window * windows(triplet)
  differences["FMI"] = furthest(found, own)
  larger = central_crop(max(triplets, key=windows), options.fmi_check)
  _, guess = loop(central_crop(larger, options.fmi_crop), names.fmi)
  _, actual = loop(larger, names.fmi)
  notes = [
    f"FMI's public seconds are EXTRAPOLATED from crops of {options.fmi_crop} pixels; check on "
    f"{options.fmi_check} pixels: {guess * windows(larger):.2f} s extrapolated, "
    f"{actual * windows(larger):.2f} s measured; its difference is that of the crops"
  ]
  return theirs, differences, notes


def furthest(theirs: Values, own: Values) -> float:
  """The largest relative difference."""
  return max(abs(own[k] - v) / max(abs(v), 1e-3) for k, v in theirs.items())


def levels(triplet: Triplet) -> list[np.ndarray]:
  """[fused, infrared, visible] as the convention takes them."""
  images = (triplet.fused, triplet.infrared, triplet.visible)
  return [grey_levels(image, CONVENTION) for image in images]


def central_crop(triplet: Triplet, side: int) -> Triplet:
  """The middle side x side pixels, or all there are."""
  images = (triplet.visible, triplet.infrared, triplet.fused)
  top, left = (max(0, length - side) // 2 for length in images[0].shape)
  cut = (image[top : top + side, left : left + side] for image in images)
  return Triplet(triplet.method, triplet.name, *cut)


def windows(triplet: Triplet) -> int:
  """Number of 3x3 windows of the image."""
  return (triplet.fused.shape[0] - 2) * (triplet.fused.shape[1] - 2)


def loop(crop: Triplet, names: Sequence[str]) -> tuple[dict[str, float], float]:
  """({metric: value}, seconds per window) of variants of FMI."""
  images = [x.astype(float) for x in levels(crop)]
  values, seconds = timed(lambda: {name: fmi(*images, FEATURES[name]) for name in names})
  return values, seconds / windows(crop)
