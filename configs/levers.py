"""Scores after each change to a recipe, on RoadScene's 50 test pairs: one seed, one
change at a time, but for `filling_in_both`, which is what filling needs to be at all.

  python -m cfi_jax.study --config=configs/levers.py --workdir=runs/levers \
      --config.roots.roadscene=PATH [--config.published.authors=isfuse_best.pth]

results.md names for every row the earlier row that it is nearest to and what was changed.
Cost: on one CPU core 2 minutes a row, with all five views 3, an hour for all.
Expect: docs/RESULTS.md. One seed: differences below the standard deviations there say nothing.
"""

import copy

from cfi_jax.study.results import template
from cfi_jax.systems.isfuse import recipes

STEPS = 150


def get_config():
  rows = {}

  def add(name, base, **changes):
    """A row as `base`, but for `changes`: loss__target__gain is the value loss.target.gain."""
    rows[name] = copy.deepcopy(rows[base])
    rows[name].update_from_flattened_dict({k.replace("__", "."): v for k, v in changes.items()})

  def add_loss(name, base, **terms):
    """A row as `base` with another fusion loss."""
    add(name, base)
    rows[name].loss.fusion = terms

  rows["released"] = recipes.small(recipes.released(), STEPS)
  add("entropy_minimised", "released", loss__invariance__entropy=1.0)
  add("dropout_maximised", "released", loss__necessity__weight=-0.05)
  add("large_holes", "released", masks__holes=(1, 4), masks__size=(8, 32))
  add("statistics_of_all_views", "released", statistics__views="all")
  add("normalised_as_original", "released", statistics__normalise="original")

  rows["fusion_only"] = recipes.small(recipes.fusion_only(), STEPS)
  add("reflect", "fusion_only", model__padding="reflect")
  add("constant_rate", "reflect", optim__schedule="constant")
  add("rate_of_the_release", "reflect", optim__learning_rate=1e-4)
  add_loss("brightest", "reflect", maximum=1.0, gradient=1.0)
  add_loss("detail", "reflect", intensity=1.0, detail=1.0)
  add_loss("structure", "detail", intensity=1.0, detail=1.0, structure=1.0)
  add_loss("correlation", "detail", intensity=1.0, detail=1.0, correlation=1.0)

  add_loss("planes", "reflect", multiscale=1.0)
  rows["planes"].loss.target = dict(planes=4, exponent=4.0, gain=1.0, spread=0.5, brighter=0.0)
  add("spread", "planes", loss__target__spread=0.55)
  add("gain", "spread", loss__target__gain=1.15)
  add_loss("planes_detail", "gain", multiscale=1.0, detail=1.0)
  add_loss("planes_structure", "gain", multiscale=1.0, structure=0.3)
  add("twice_as_long", "planes_detail", steps=2 * rows["planes_detail"].steps)
  add("four_times_as_long", "planes_detail", steps=4 * rows["planes_detail"].steps)
  add("slow_statistics", "four_times_as_long", statistics__momentum=0.99)
  add("moving_average", "four_times_as_long", optim__ema_decay=0.99)
  add("larger_crops", "planes_detail", input__crop=128, batch_size=1)
  filling = recipes.filling()
  add("filling_in_both", "planes_detail", masks__holes=(1, 2), masks__size=filling.masks.size)
  rows["filling_in_both"].loss.invariance = copy.deepcopy(filling.loss.invariance)
  add("filling_in_one", "filling_in_both", loss__invariance__views=("one_sided",))
  add("filling_as_original", "filling_in_both", statistics__normalise="original")
  add("filling_in_any", "filling_as_original", masks__holes=(0, 2))
  rows["filling"] = recipes.small(filling, STEPS)
  add("interventions", "planes_detail")
  for group in ("invariance", "necessity"):
    rows["interventions"].loss[group] = copy.deepcopy(rows["released"].loss[group])

  roadscene = dict(name="roadscene", root="roadscene", validation_fraction=0.0)
  tests = dict(roadscene=roadscene)
  return template.settings(rows, roadscene, tests, seeds=(0,), published=dict(authors=""))
