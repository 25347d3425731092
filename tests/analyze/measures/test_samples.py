"""Samples of scenes and the table of what was measured on them."""

import jax
import numpy as np
import pytest
from analyze.measures import known

from cfi_jax.analyze.measures.samples import Sample, from_scenes, require
from cfi_jax.core.types import InputError
from cfi_jax.datasets.world.scenes import BOTH, INFRARED, VISIBLE
from cfi_jax.report.findings import tabulate


def two_scenes():
  objects, carrier = np.zeros((2, 8, 8), np.int32)
  objects[0], objects[1], objects[2] = 1, 2, 3
  carrier[0], carrier[1], carrier[2] = VISIBLE, INFRARED, BOTH
  pairs = [known.sample(size=(8, 8), seed=k).pair for k in range(2)]
  made = [known.with_truth(pair, objects, carrier).truth.replace(night=False) for pair in pairs]
  return jax.tree.map(lambda *fields: np.stack(fields), *made)


def test_scenes_become_samples_in_order():
  scenes = two_scenes()
  samples = from_scenes(scenes)
  assert [s.name for s in samples] == ["scene 0000", "scene 0001"]
  for k, sample in enumerate(samples):
    np.testing.assert_array_equal(sample.pair.visible, scenes.pair.visible[k])
    np.testing.assert_array_equal(sample.batch.infrared, scenes.pair.infrared[k : k + 1])
    assert sample.size == (8, 8)


def test_every_pixel_is_in_one_region():
  regions = from_scenes(two_scenes())[0].regions()
  np.testing.assert_array_equal(sum(r.astype(int) for r in regions.values()), 1)
  rows = {name: np.flatnonzero(r.all(axis=1)).max(initial=-1) for name, r in regions.items()}
  assert rows["carried by visible"] == 0 and rows["carried by infrared"] == 1
  assert rows["carried by both"] == 2 and not regions["carried by neither"].any()
  assert Sample("real", known.sample().pair).regions() == {}


def test_no_samples_are_refused():
  with pytest.raises(InputError, match="one or more"):
    require([])


def test_a_table_has_one_line_per_quantity_condition_and_x():
  rows = [
    {("effect", "shared", None): 1.0, ("dose", "shared", 8): 0.5},
    {("effect", "shared", None): 3.0, ("dose", "shared", 16): np.nan},
  ]
  first, eight, sixteen = tabulate("m", "effects", rows)
  assert (first.model, first.analysis, first.quantity, first.condition) == (
    "m", "effects", "effect", "shared",
  )  # fmt: skip
  assert first.estimate.mean == 2 and first.samples == 2 and np.isnan(first.x)
  assert eight.x == 8 and eight.estimate.mean == 0.5 and eight.samples == 1
  assert np.isnan(eight.estimate.low)  # one sample has no interval
  assert sixteen.x == 16 and sixteen.samples == 0 and np.isnan(sixteen.estimate.mean)
