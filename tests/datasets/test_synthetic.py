import dataclasses

import jax
import numpy as np
import pytest
from command_line import FIXTURES
from editions import assert_known

from cfi_jax import datasets
from cfi_jax.core.types import InputError
from cfi_jax.datasets import synthetic
from cfi_jax.datasets.splits import SPLITS
from cfi_jax.datasets.synthetic import Synthetic, SyntheticDepth, scenes
from cfi_jax.datasets.world.options import SceneOptions
from cfi_jax.datasets.world.scenes import BOTH, INFRARED, NONE, VISIBLE, scene
from cfi_jax.images.read import Header

SIZE = 64
FIELDS = dict(
  size=SIZE,
  objects=(1, 5),
  correlation=0.0,
  night=0.3,
  smoke=0.1,
  darkness=0.1,
  crossover=0.15,
  read_noise=0.008,
  shot_noise=0.02,
  infrared_noise=0.012,
  pattern_noise=0.005,
  infrared_blur=0.6,
  visibility=3.0,
)
OPTIONS = SceneOptions(**FIELDS)
COUNTS = dict(scenes=18, validation_scenes=3, test_scenes=0, seed=1)


@pytest.fixture(scope="module")
def world():
  """A few hundred objects of the default test world, with their truth."""
  return scenes(3, "train", OPTIONS, range(160))


def measured_contrast(picture, objects, label):
  """Object against a ring around it, told from the picture and the mask alone."""
  inside = objects == label
  near = inside.copy()
  for _ in range(4):
    near[1:] |= near[:-1].copy()
    near[:-1] |= near[1:].copy()
    near[:, 1:] |= near[:, :-1].copy()
    near[:, :-1] |= near[:, 1:].copy()
  ring = near & (objects == 0)
  return abs(picture[inside].mean() - picture[ring].mean()) if ring.sum() > 20 else None


def blocks(pictures):
  """Means of 8x8 pixels, 1000 times, [N, S / 8, S / 8]."""
  count, size = pictures.shape[:2]
  return 1000 * pictures.reshape(count, size // 8, 8, size // 8, 8).mean((2, 4), dtype=np.float64)


def test_pictures_are_float_in_unit_range_and_labels_are_whole_numbers(world):
  for picture in (world.pair.visible, world.pair.infrared):
    assert picture.shape == (160, SIZE, SIZE, 1) and picture.dtype == np.float32
    assert picture.min() >= 0 and picture.max() <= 1
    assert np.all(picture.std((1, 2, 3)) > 0.02)  # no picture is empty
  assert world.objects.dtype == world.carrier.dtype == np.int32
  assert set(np.unique(world.carrier)) == {NONE, VISIBLE, INFRARED, BOTH}


def test_the_world_is_that_of_its_edition(world, request):
  sizes = [(world.objects[..., 0] == slot + 1).sum((1, 2)) for slot in range(5)]
  found = {
    "visible": blocks(world.pair.visible[:64]),
    "infrared": blocks(world.pair.infrared[:64]),
    "sizes": np.stack(sizes, 1),
    "carrier": (world.carrier == INFRARED).sum((1, 2, 3)),
  }
  path = FIXTURES / f"world_{synthetic.SyntheticSource.edition}.npz"
  assert_known(found, path, request, {"visible": 4, "infrared": 4, "sizes": 2, "carrier": 2})


def test_labels_are_contiguous_and_agree_with_the_flags(world):
  for objects, carrier, index in zip(world.objects, world.carrier, range(160), strict=True):
    present = world.present[index]
    assert list(np.unique(objects[objects > 0])) == list(range(1, present.sum() + 1))
    assert present[: present.sum()].all()
    assert not world.temperature[index][~present].any()
    assert not carrier[objects == 0].any()
    for slot in np.flatnonzero(present):
      in_visible = not world.hidden_in_visible[index, slot]
      in_infrared = not world.hidden_in_infrared[index, slot]
      told = carrier[objects == slot + 1]
      assert np.all(told == VISIBLE * in_visible + INFRARED * in_infrared)


def test_number_of_objects_covers_the_range(world):
  numbers = world.present.sum(1)
  assert numbers.max() == 5 and numbers.min() >= 0
  assert 2.2 < numbers.mean() < 3.1  # 3 are drawn on average, some are covered by others


def test_the_carrier_shows_the_object_and_the_other_modality_does_not(world):
  """Measured afresh on the noisy pictures, by a plainer definition than the one under test."""
  found = {VISIBLE: [], INFRARED: []}
  for i, (objects, carrier) in enumerate(zip(world.objects, world.carrier, strict=True)):
    for slot in np.flatnonzero(world.present[i]):
      told = carrier[objects == slot + 1][0]
      pictures = world.pair.visible[i], world.pair.infrared[i]
      contrasts = [measured_contrast(picture, objects, slot + 1) for picture in pictures]
      if told in found and None not in contrasts:
        found[told].append(contrasts)
  for told, contrasts in found.items():
    carrying, other = np.array(contrasts).T[:: 1 if told == VISIBLE else -1]
    assert len(carrying) > 20
    assert np.mean(carrying > other) > 0.85
    assert np.median(carrying) > 4 * np.median(other)


def test_what_befalls_an_object_hides_it(world):
  hit = world.smoked | world.darkened
  assert hit.sum() > 20 and world.crossed.sum() > 20
  assert np.mean(world.hidden_in_visible[hit]) > 0.95
  # Warm neighbours bleed into a crossed object through the blur, and then it does show.
  assert np.mean(world.hidden_in_infrared[world.crossed]) > 0.9
  assert np.mean(world.hidden_in_infrared[world.present & ~world.crossed]) < 0.3


def test_what_darkness_befalls_stands_in_a_night(world):
  darkened = world.darkened.any(1)
  assert 20 < darkened.sum() < 100  # mostly one of several objects
  assert world.night[darkened].all() and not world.night.all()


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_probabilities_at_their_ends(probability):
  names = ("night", "smoke", "darkness", "crossover")
  extreme = dataclasses.replace(OPTIONS, **dict.fromkeys(names, probability))
  world = scenes(5, "train", extreme, range(16))
  expected = world.present & (probability == 1)
  for field in (world.smoked, world.darkened, world.crossed):
    np.testing.assert_array_equal(field, expected)
  assert np.all(world.night == (probability == 1))
  if probability == 1:
    np.testing.assert_array_equal(world.hidden_in_visible, world.present)
    np.testing.assert_array_equal(world.hidden_in_infrared, world.present)
    assert not world.carrier.any()
  else:
    assert np.mean(world.hidden_in_visible[world.present]) < 0.3


@pytest.mark.parametrize("correlation", [-0.9, 0.0, 0.9])
def test_temperature_and_brightness_correlate_as_asked(correlation):
  options = dataclasses.replace(OPTIONS, size=32, crossover=0.0, correlation=correlation)
  world = scenes(7, "train", options, range(160))
  assert world.present.sum() > 350
  drawn = np.corrcoef(world.temperature[world.present], world.brightness[world.present])[0, 1]
  assert abs(drawn - correlation) < (0.03 if correlation else 0.12)  # over two standard errors


def test_a_scene_depends_on_its_key_alone(world):
  """Again, in other company, and one by one without vmap."""
  again = scenes(3, "train", OPTIONS, [41, 7, 159])
  jax.tree.map(lambda a, b: np.testing.assert_array_equal(a, b[[41, 7, 159]]), again, world)
  key = jax.random.fold_in(jax.random.fold_in(jax.random.key(3), 0), 7)
  single = jax.jit(scene)(key, OPTIONS)
  np.testing.assert_allclose(single.pair.visible, world.pair.visible[7], atol=2e-5)
  np.testing.assert_allclose(single.pair.infrared, world.pair.infrared[7], atol=2e-5)
  np.testing.assert_array_equal(single.objects, world.objects[7])


def test_splits_and_seeds_give_other_scenes(world):
  others = [scenes(3, "validation", OPTIONS, [0]), scenes(3, "test", OPTIONS, [0])]
  others += [scenes(4, "train", OPTIONS, [0])]
  pictures = [np.ravel(world.pair.visible[0])] + [np.ravel(s.pair.visible) for s in others]
  assert len({picture.tobytes() for picture in pictures}) == 4


def test_source_holds_the_scenes_rounded_once(world):
  dataset = Synthetic(**FIELDS, **COUNTS | dict(seed=3))
  assert dataset.splits == SPLITS
  source = dataset.source("train")
  assert len(source) == len(source.names) == 18
  sample = source[17]
  assert source.names[17] == "train-000017"
  assert sample["visible"].dtype == np.uint8 and sample["visible"].shape == (SIZE, SIZE, 1)
  np.testing.assert_array_equal(sample["visible"], np.round(world.pair.visible[17] * 255))
  np.testing.assert_array_equal(sample["infrared"], np.round(world.pair.infrared[17] * 255))
  np.testing.assert_array_equal(source.read(17)["infrared"], sample["infrared"])
  headers = source.check_headers()
  assert len(headers) == 18 and headers[3]["visible"] == Header(SIZE, SIZE, np.uint8)
  assert len(dataset.source("validation")) == 3 and len(dataset.source("test")) == 0
  with pytest.raises(IndexError):
    source[18]


def test_equal_worlds_share_their_scenes_which_nobody_can_change(monkeypatch):
  made = []

  def images(self, split, indices):
    made.append(split)
    yield from ((name, np.zeros((len(indices), SIZE, SIZE, 1))) for name in self.images)

  monkeypatch.setattr(Synthetic, "_images", images)
  one, other = (
    Synthetic(**FIELDS | dict(night=night), **COUNTS | dict(seed=7)) for night in (0, 0.0)
  )
  first, second = one.source("train"), other.source("train")
  assert first.images is second.images and made == ["train"] * 2  # chunks of 18 scenes
  assert first.dataset is one and second.dataset is other
  with pytest.raises(ValueError, match="read-only"):
    first.images["visible"][:] = 1
  synthetic._kept.cache_clear()


def test_the_fingerprint_is_that_of_earlier_versions():
  """Work directories name it; it is made of the options as they are written."""
  fields = dict(name="synthetic", **FIELDS, **COUNTS) | dict(night=0, objects=[1, 5])
  assert (
    datasets.load(fields).source("test").fingerprint()
    == "52fc72c8316e5594df2dad17cf2a14b639792824f7834a8c8f01634e52873134"
  )


def test_fingerprint_tells_worlds_and_splits_apart():
  dataset = Synthetic(**FIELDS, **COUNTS)
  changed = dataclasses.replace(dataset, seed=2), dataclasses.replace(dataset, smoke=0.2)
  sources = [d.source("validation") for d in (dataset, dataset, *changed)] + [
    dataset.source("test")
  ]
  prints = [source.fingerprint() for source in sources]
  assert prints[0] == prints[1] and len(set(prints)) == 4


@pytest.mark.parametrize(
  ("field", "value", "allowed"),
  [
    ("size", 31, "from 32 to 4096"),
    ("size", 96.0, "whole number"),
    ("objects", (3, 2), "least <= greatest"),
    ("objects", (0, 0), "from 1 to 32"),
    ("objects", (1, 2, 3), "least <= greatest"),
    ("objects", 4, "least, greatest"),
    ("correlation", -1.1, "from -1 to 1"),
    ("correlation", float("nan"), "from -1 to 1"),
    ("smoke", 1.5, "from 0 to 1"),
    ("night", "often", "from 0 to 1"),
    ("read_noise", -0.1, "from 0 to 0.5"),
    ("scenes", 0, "from 1 to 1000000"),
    ("seed", -1, "from 0 to 2147483647"),
  ],
)
def test_bad_options_name_the_field_and_what_is_allowed(field, value, allowed):
  with pytest.raises(InputError, match=rf"{field} is .*{allowed}"):
    Synthetic(**{**FIELDS, **COUNTS, field: value})


def test_unknown_split_lists_the_known():
  with pytest.raises(InputError, match="'dev'.*train, validation, test"):
    Synthetic(**FIELDS, **COUNTS).source("dev")


def test_depth_is_that_of_the_scenes(world):
  """Near ground below, the houses' distance above the horizon, objects as far as their foot."""
  far = synthetic.depths(3, "train", OPTIONS, range(64))
  assert far.shape == (64, SIZE, SIZE, 1) and far.min() >= 0 and far.max() <= 1 + 1e-6
  assert np.median(far[:, 0]) == pytest.approx(1)
  assert (np.median(far[:, -1], axis=(1, 2)) < 0.15).all()
  errors = []
  for depth, objects in zip(far, world.objects[:64], strict=True):
    for label in range(1, objects.max() + 1):
      inside = objects == label
      rows = np.nonzero(inside.any((1, 2)))[0]
      if inside.sum() < 100 or rows[-1] >= SIZE - 2:
        continue
      # One distance, but for the pixels of its border.
      assert (np.abs(depth[inside] - np.median(depth[inside])) < 0.01).mean() > 0.5
      foot = np.median(depth[rows[-1] + 1])  # of the ground right below
      errors.append(abs(np.median(depth[inside]) - foot))
  assert len(errors) > 50
  assert np.quantile(errors, 0.9) < 0.1  # but where another thing stands below the foot


def test_the_world_with_depth_has_the_scenes_of_the_world():
  plain, deep = (cls(**FIELDS, **COUNTS).source("train") for cls in (Synthetic, SyntheticDepth))
  assert set(deep[0]) == {"visible", "infrared", "depth"} and len(deep) == len(plain) == 18
  for i in (0, 17):
    np.testing.assert_array_equal(deep[i]["visible"], plain[i]["visible"])
  expected = synthetic.depths(1, "train", OPTIONS, range(16, 18))[1]
  np.testing.assert_array_equal(deep[17]["depth"], np.round(expected * 255))
  assert deep.fingerprint() != plain.fingerprint()
  assert set(deep.check_headers()[0]) == {"visible", "infrared", "depth"}
  assert len(SyntheticDepth(**FIELDS, **COUNTS).source("test")) == 0


def test_a_source_of_scenes_has_no_files_and_no_colours():
  source = datasets.load({"name": "synthetic"} | FIELDS | COUNTS).source("test")
  assert source.title == "Synthetic test" and len(source) == 0 and source.names == ()
  assert source.files() == source.files(contents=True) == {}
  assert source.formerly() == source.fingerprint() and source.coloured(("visible",)) is source


@pytest.mark.parametrize("make", [scenes, synthetic.depths])
def test_no_scene_is_refused(make):
  with pytest.raises(InputError, match="no scene was asked for: indices is empty"):
    make(0, "train", OPTIONS, ())
