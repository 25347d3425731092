"""Gates that are known functions of the images."""

import numpy as np
import pytest
from analyze.measures import known

from cfi_jax.analyze.measures import gates, maps, treatments
from cfi_jax.analyze.measures.samples import Sample
from cfi_jax.analyze.measures.subject import Subject, from_function
from cfi_jax.datasets.world.scenes import BOTH, NONE
from cfi_jax.fusion.types import Fusion, Pair


def gated(*rules) -> Subject:
  """A model whose gate of each level is a function of the two images [H, W]."""

  def details(pair: Pair) -> Fusion:
    images = (image[0, ..., 0] for image in (pair.visible, pair.infrared))
    visible, infrared = images
    found = tuple(np.asarray(rule(visible, infrared))[None, ..., None] for rule in rules)
    return known.fusion(pair.visible, found)

  return Subject("gated", None, details, function=None)


def analyse(subject, samples):
  return known.numbers(gates.analyse(subject, samples))


def halved(image):
  return maps.to_level(image, (image.shape[0] // 2, image.shape[1] // 2))


def test_level_and_spread_of_gates():
  samples = [known.sample(seed=k) for k in range(3)]
  found = analyse(gated(lambda v, i: v, lambda v, i: halved(i)), samples)
  visible = [s.pair.visible for s in samples]
  assert found["mean", "level 1"] == pytest.approx(np.mean(visible))
  assert found["spread within images", "level 1"] == pytest.approx(
    np.mean([v.std() for v in visible])
  )
  between = np.std([v.mean() for v in visible], ddof=1)
  assert found["spread between images", "level 1"] == pytest.approx(between, rel=1e-3)
  infrared = np.mean([s.pair.infrared for s in samples])
  assert found["mean", "level 2"] == pytest.approx(infrared, abs=1e-6)
  only = known.numbers(gates.analyse(gated(lambda v, i: v), samples[:1]))
  assert np.isnan(only["spread between images", "level 1"])


def test_entropy_and_histogram():
  samples = [known.sample()]
  half = analyse(gated(lambda v, i: np.full_like(v, 0.5)), samples)
  assert half["entropy", "level 1"] == pytest.approx(np.log(2))
  assert half["entropy share", "level 1"] == pytest.approx(1)
  assert half["histogram", "level 1", 0.525] == 1
  binary = analyse(gated(lambda v, i: (v > i).astype(float)), samples)
  assert binary["entropy", "level 1"] == 0
  ones = np.mean(samples[0].pair.visible > samples[0].pair.infrared)
  assert binary["histogram", "level 1", 0.975] == pytest.approx(ones)
  assert binary["histogram", "level 1", 0.025] == pytest.approx(1 - ones)
  assert gates.entropy(np.array(0.1)) == pytest.approx(0.32508297)


def test_gates_move_where_they_look():
  sample = known.sample()
  found = analyse(gated(lambda v, i: v, lambda v, i: halved(v)), [sample])
  assert found["movement", "level 1, without_visible"] == pytest.approx(sample.pair.visible.mean())
  assert found["movement", "level 1, without_infrared"] == 0
  assert found["movement", "level 1, hole in infrared"] == 0
  hole = treatments.make_holes("hole in visible", sample, treatments.MASKS, 0).removed
  lost = sample.pair.visible[hole, 0]
  inside = found["movement inside holes", "level 1, hole in visible"]
  assert inside == pytest.approx(lost.mean(), rel=1e-6)
  all_over = found["movement", "level 1, hole in visible"]
  assert all_over == pytest.approx(lost.sum() / hole.size, rel=1e-6)
  for level in (1, 2):  # at level 2 a position is in a hole if any of its pixels is
    assert found["movement outside holes", f"level {level}, hole in visible"] < 1e-12
    assert found["movement inside holes", f"level {level}, hole in visible"] > 0.3


def test_gates_that_follow_local_information():
  sample = known.sample()
  found = analyse(
    gated(
      lambda v, i: maps.local_deviation(v, 7),
      lambda v, i: 1 - maps.local_deviation(halved(i), 7),
      lambda v, i: np.full((8, 8), 0.3),
    ),
    [sample],
  )
  quantity = "correlation with local information"
  assert found[quantity, "level 1, visible"] == pytest.approx(1)
  assert abs(found[quantity, "level 1, infrared"]) < 0.3
  assert found[quantity, "level 2, infrared"] == pytest.approx(-1)
  assert np.isnan(found[quantity, "level 3, visible"])


def test_gates_on_objects():
  objects, carrier = np.zeros((2, 32, 32), np.int32)
  objects[4:12, 4:12], carrier[4:12, 4:12] = 1, BOTH
  objects[20:24, 20:28], carrier[20:24, 20:28] = 2, NONE
  visible = np.full((32, 32, 1), 0.25, np.float32)
  visible[objects == 1], visible[objects == 2] = 0.75, 0.5
  sample = known.with_truth(Pair(visible, visible), objects, carrier)
  found = analyse(gated(lambda v, i: v, lambda v, i: halved(v)), [sample])
  for level in ("level 1", "level 2"):
    expected = {"both": 0.75, "neither": 0.5, "visible": np.nan}
    for name, value in expected.items():
      got = found["mean on objects", f"{level}, carried by {name}"]
      assert got == pytest.approx(value, nan_ok=True)
    assert found["mean on objects", f"{level}, background"] == pytest.approx(0.25)


def test_models_without_gates_have_no_findings():
  subject = from_function("average", known.average)
  assert gates.analyse(subject, [known.sample()]) == []
  assert gates.pictures(subject, known.sample()) == {}


def test_pictures_are_the_gates_at_full_size():
  sample = known.sample()
  shown = gates.pictures(gated(lambda v, i: v, lambda v, i: np.full((16, 20), 0.5)), sample)
  assert shown["gate, level 1"].shape == shown["gate, level 2"].shape == sample.size
  np.testing.assert_array_equal(
    shown["gate, level 1"], np.floor(sample.pair.visible[..., 0] * 255 + 0.5)
  )
  assert set(np.unique(shown["gate, level 2"])) == {128}


def test_small_images_have_the_numbers_that_they_can():
  sample = Sample("tiny", known.sample(size=(8, 8)).pair)
  found = analyse(gated(lambda v, i: v, lambda v, i: v[::4, ::4]), [sample])
  assert ("movement", "level 1, without_visible") in found
  assert not any("shared" in key[1] for key in found)  # its holes of 16 pixels do not fit
  assert ("correlation with local information", "level 2, visible") not in found


def test_the_seed_draws_the_holes():
  subject, sample = gated(lambda v, i: v), known.sample()
  key = ("movement", "level 1, shared")
  zero, default, one = (
    known.numbers(gates.analyse(subject, [sample], *seed))[key] for seed in ((0,), (), (1,))
  )
  assert zero == default != one
