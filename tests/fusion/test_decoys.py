"""Objects that look like faults and are none: where, how many, how bright, and only where asked."""

import dataclasses
import types

import jax
import numpy as np
import pytest
from scipy import ndimage, special

from cfi_jax.core.types import InputError
from cfi_jax.fusion import decoys
from cfi_jax.fusion.decoys import DecoyOptions
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.isfuse import recipes

BRIGHT = DecoyOptions(
  probability=1.0, bright=(1, 3), size=(6, 20), levels=(0.8, 0.9), lights=(0, 0), narrow=0.0
)
NARROW = dataclasses.replace(BRIGHT, bright=(0, 0), narrow=1.0)
LIGHTS = dataclasses.replace(BRIGHT, bright=(0, 0), lights=(1, 4))
GREY = Pair(np.full((64, 80, 1), 0.3, np.float32), np.full((64, 80, 1), 0.5, np.float32))
add = jax.jit(decoys.add, static_argnums=2)


def drawn(options, count=24, pair=GREY):
  return [jax.tree.map(np.asarray, add(jax.random.key(i), pair, options)) for i in range(count)]


@pytest.mark.parametrize("modality", ["visible", "infrared"])
def test_objects_are_flat_and_bright_and_each_image_has_its_own(modality):
  counts, flat, both = [], [], []
  for found in drawn(BRIGHT):
    own = getattr(found, modality)
    change = own - getattr(GREY, modality)
    assert change.min() == 0 and own.max() <= 0.9 + 1e-6
    parts, count = ndimage.label(change[..., 0] > 0.2)
    counts.append(count)
    both.append(np.corrcoef(*(getattr(found, m).ravel() for m in ("visible", "infrared")))[0, 1])
    core = [own[..., 0][parts == i + 1] for i in range(count)]
    flat += [np.mean(np.abs(c - np.median(c)) < 0.02) for c in core if c.size > 150]
  assert {1, 2, 3} <= {*counts} and max(counts) <= 3
  assert np.median(both) < 0.3
  assert len(flat) > 8 and np.mean(flat) > 0.15  # a Gaussian spot: 0.05


def test_objects_have_the_sizes_that_are_asked_for():
  one = dataclasses.replace(BRIGHT, bright=(1, 1), levels=(1.0, 1.0))
  areas = []
  for size in ((4, 4), (16, 16), (32, 32)):
    found = drawn(dataclasses.replace(one, size=size))
    areas.append(np.median([(f.infrared > 0.75).sum() for f in found]))
  assert areas == sorted(areas) and 8 < areas[0] < 30 and 150 < areas[1] < 360 and areas[2] > 450


def test_what_is_brighter_than_an_object_stays():
  white = GREY.replace(infrared=np.ones_like(GREY.infrared))
  assert all(np.array_equal(f.infrared, white.infrared) for f in drawn(BRIGHT, 4, white))


def test_lights_are_small_and_in_either_image_or_in_both():
  kinds = set()
  for found in drawn(LIGHTS):
    lit = [(getattr(found, m) - getattr(GREY, m))[..., 0] for m in ("visible", "infrared")]
    assert min(x.min() for x in lit) >= 0 and max(x.max() for x in lit) <= 0.7 + 1e-6
    assert (lit[0] + lit[1] > 0.15).mean() < 0.04
    parts, count = ndimage.label((lit[0] + lit[1]) > 0.15)
    kinds |= {tuple(bool((x[parts == i + 1] > 0.1).any()) for x in lit) for i in range(count)}
  assert kinds == {(True, False), (False, True), (True, True)}


def test_beyond_a_field_of_view_one_image_is_black_and_the_other_as_it_was():
  narrowed, shares = [], []
  for found in drawn(NARROW, 40):
    kept = [getattr(found, m) / getattr(GREY, m) for m in ("visible", "infrared")]
    assert min(x.min() for x in kept) >= 0 and max(x.max() for x in kept) <= 1
    assert max(x.min() for x in kept) == 1  # the other
    (own,) = [i for i, x in enumerate(kept) if x.min() < 1] or [None]
    if own is not None:
      narrowed.append(own)
      shares.append((kept[own] < 0.01).mean())
      assert ((kept[own] > 0.01) & (kept[own] < 0.99)).mean() < 0.2  # it ends sharply
  assert {*narrowed} == {0, 1} and np.quantile(shares, 0.9) > 0.4


def test_narrow_pairs_are_as_many_as_asked():
  found = drawn(dataclasses.replace(NARROW, narrow=0.5), 60)
  wider = [all(getattr(f, m).min() > 0.2 for m in ("visible", "infrared")) for f in found]
  assert 0.35 < np.mean(wider) < 0.75
  everyone = jax.tree.map(np.asarray, GREY)
  none = drawn(dataclasses.replace(NARROW, narrow=0.0), 2)
  np.testing.assert_array_equal(none[0].visible, everyone.visible)


def test_pairs_are_painted_as_often_as_asked_each_by_its_own_key():
  batch = jax.tree.map(lambda x: np.repeat(x[None], 40, 0), GREY)
  half = dataclasses.replace(BRIGHT, probability=0.5)
  add = jax.jit(decoys.add_to_batch, static_argnums=2)
  found = np.asarray(add(jax.random.key(1), batch, half).infrared)
  painted = [not np.array_equal(f, GREY.infrared) for f in found]
  assert 0.25 < np.mean(painted) < 0.75
  assert len({f.tobytes() for f in found}) == sum(painted) + 1
  fewer = jax.tree.map(lambda x: x[:5], batch)
  again = add(jax.random.key(1), fewer, half).infrared
  np.testing.assert_array_equal(again, found[:5])
  none = decoys.add_to_batch(
    jax.random.key(1), batch, DecoyOptions(**recipes.UNDECORATED | {"probability": 1.0})
  )
  np.testing.assert_array_equal(none.infrared, batch.infrared)


@pytest.fixture
def numbers(monkeypatch):
  """The uniform numbers drawn, in order, by the module on NumPy, which compiles nothing."""
  rng, numbers = np.random.default_rng(0), []

  def uniform(key, shape, minval=0.0, maxval=1.0):
    numbers.append(rng.uniform(minval, maxval, shape))
    return numbers[-1]

  random = types.SimpleNamespace(
    uniform=uniform,
    split=lambda key, count: range(count),
    randint=lambda key, shape, low, high: rng.integers(low, high, shape),
    bernoulli=lambda key, probability: rng.random() < probability,
  )
  nn = types.SimpleNamespace(sigmoid=special.expit)
  monkeypatch.setattr(decoys, "jax", types.SimpleNamespace(random=random, nn=nn))
  monkeypatch.setattr(decoys, "jnp", np)
  return numbers


def assert_uniform(values, low, high):
  share = np.sort((np.ravel(values) - low) / (high - low))
  assert np.abs(share - np.linspace(0, 1, share.size)).max() < 0.1
  assert 0 <= share[0] < 0.02 and 0.98 < share[-1] <= 1


def test_from_the_least_to_the_greatest_number_are_shown(numbers):
  shown = [decoys._shown(None, (1, 3)) for _ in range(40)]
  assert {each.shape for each in shown} == {(3, 1, 1)}
  assert {tuple(each.ravel()) for each in shown} == {(1, 0, 0), (1, 1, 0), (1, 1, 1)}


def test_a_form_is_a_superellipse_with_an_edge_of_its_width(numbers):
  (y, x), (height, width), power, edge = (7.0, 9.0), (10.0, 6.0), 0.25, 0.3
  place, size = (np.reshape(pair, (1, 2, 1, 1)) for pair in ((y, x), (height, width)))
  found = decoys._form((16, 20, 1), place, size, np.full((1, 1, 1), power), np.array(edge))
  rows, columns = np.mgrid[:16, :20]
  p = 2 + 6 * power
  away = np.abs(2 * (rows - y) / height) ** p + np.abs(2 * (columns - x) / width) ** p
  expected = special.expit((1 - away ** (1 / p)) * width / 2 / edge)
  np.testing.assert_allclose(found[0], expected, atol=1e-4)


def test_two_in_five_objects_have_a_head(numbers, monkeypatch):
  count, forms = 400, []

  def form(*given, power, edge):  # bodies cover nothing, the head of each its own column
    forms.append((*given, power, edge))
    return np.eye(count)[:, None] * (len(forms) - 1)

  monkeypatch.setattr(decoys, "_form", form)
  options = dataclasses.replace(BRIGHT, bright=(count, count), size=(1, 9), levels=(1.0, 1.0))
  found = decoys._with_bright(None, np.zeros((2, count, 1)), options)
  (_, place, size, power, edge), (_, head_place, head_size, *_) = forms
  headed = numbers[2][1] < 0.4
  np.testing.assert_array_equal(found[..., 0], [headed[:, 0, 0]] * 2)
  np.testing.assert_allclose(head_place, place - size * [[[0.6]], [[0]]])
  least = np.maximum(0.6 * size.min(1, keepdims=True), 1)
  np.testing.assert_allclose(head_size, np.broadcast_to(least, size.shape))
  assert (head_size == 1).any()
  assert_uniform(np.log(size), np.log(1), np.log(9))
  assert_uniform(power, 0, 1)
  assert_uniform(edge, 0.15, 1.2)
  assert_uniform(place[:, 0], 0, 2)
  assert_uniform(place[:, 1], 0, count)


def test_a_field_of_view_is_about_as_large_as_the_crop(numbers, monkeypatch):
  forms = []

  def form(shape, place, size, power, edge):
    assert shape == (64, 80, 1) and place.shape == size.shape == (1, 2, 1, 1)
    assert power.shape == edge.shape == (1, 1, 1) and edge == 0.3
    forms.append([*np.ravel(place), *np.ravel(size), power.item()])
    return np.zeros((1, 64, 80))

  monkeypatch.setattr(decoys, "_form", form)
  for _ in range(300):
    found = decoys._narrowed(None, GREY, 1.0)
    assert sorted(image.max() == 0 for image in vars(found).values()) == [False, True]
  ranges = ((0, 64), (0, 80), (32, 102.4), (40, 128), (0, 1))
  for values, (low, high) in zip(np.transpose(forms), ranges, strict=True):
    assert_uniform(values, low, high)


@pytest.mark.parametrize(
  "change, message",
  [
    ({"probability": 1.5}, "decoys.probability is 1.5; allowed: 0 to 1"),
    ({"narrow": -0.1}, "decoys.narrow is -0.1; allowed: 0 to 1"),
    ({"bright": (2, 1)}, r"decoys.bright is \(2, 1\); allowed: 0 <= least"),
    ({"size": (0, 4)}, r"decoys.size is \(0, 4\); allowed: 1 <= least"),
    ({"lights": (-1, 2)}, "decoys.lights"),
    ({"levels": (0.5, 1.2)}, r"decoys.levels is .*; allowed: 0 < least <= greatest <= 1"),
  ],
)
def test_refuses_ranges_that_draw_nothing(change, message):
  with pytest.raises(InputError, match=message):
    dataclasses.replace(BRIGHT, **change)
