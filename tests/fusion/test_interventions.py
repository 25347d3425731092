"""Properties of the masks and of the interventions."""

import dataclasses
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from cfi_jax.core.types import InputError
from cfi_jax.fusion import interventions
from cfi_jax.fusion.interventions import INTERVENTIONS, MaskOptions
from cfi_jax.fusion.types import MODALITIES, Pair

RELEASED = MaskOptions(holes=(1, 6), size=(16, 16), square_probability=0.7, fill=0.0, darkest=0.1)
SHAPE = (48, 64)
BATCH = Pair(*jax.random.uniform(jax.random.key(9), (2, 5, *SHAPE, 1), minval=0.1))


@functools.partial(jax.jit, static_argnums=(0, 3))
def intervene(name, key, batch, options):
  return interventions.intervene(name, key, batch, options).pair


def masks(options, count=200, shape=SHAPE):
  keys = jax.random.split(jax.random.key(1), count)
  sample = jax.jit(jax.vmap(lambda key: interventions.sample_mask(key, *shape, options)))
  return np.asarray(sample(keys))[..., 0]


def test_one_square_hole_has_its_size_and_lies_inside_and_anywhere():
  removed = ~masks(MaskOptions((1, 1), (16, 16), 1.0, 0.0, 0.1), count=1000)
  assert (removed.sum((1, 2)) == 256).all()
  tops, lefts = removed.any(2).argmax(1), removed.any(1).argmax(1)
  assert (removed.any(2).sum(1) == 16).all() and (removed.any(1).sum(1) == 16).all()
  assert (tops.min(), tops.max()) == (0, 32) and (lefts.min(), lefts.max()) == (0, 48)


@pytest.mark.parametrize("size", [15, 16])
def test_one_disk_is_inscribed_in_its_square(size):
  removed = ~masks(MaskOptions((1, 1), (size, size), 0.0, 0.0, 0.1), count=20)
  for mask in removed:
    ys, xs = np.nonzero(mask)
    assert np.ptp(ys) == np.ptp(xs) == size - 1
    centre = np.array([(ys.min() + ys.max()) / 2, (xs.min() + xs.max()) / 2])
    grid = np.stack(np.indices(SHAPE), axis=-1)
    inside = np.linalg.norm(grid - centre, axis=-1) <= size / 2
    np.testing.assert_array_equal(mask, inside)


def test_count_of_holes_is_uniform_over_its_range():
  # Holes of one pixel on a large image hardly ever meet, so their number can be read off.
  removed = ~masks(MaskOptions((1, 6), (1, 1), 1.0, 0.0, 0.1), count=2000, shape=(128, 128))
  share = np.bincount(removed.sum((1, 2)), minlength=7)[1:] / 2000
  assert share.sum() == 1
  np.testing.assert_allclose(share, 1 / 6, atol=0.03)


def test_size_and_shape_follow_their_distributions():
  removed = ~masks(MaskOptions((1, 1), (4, 9), 0.7, 0.0, 0.1), count=3000)
  sides, areas = removed.any(2).sum(1), removed.sum((1, 2))
  share = np.bincount(sides, minlength=10)[4:] / 3000
  np.testing.assert_allclose(share, 1 / 6, atol=0.03)
  assert np.mean(areas == sides**2) == pytest.approx(0.7, abs=0.03)


def test_holes_of_one_image_differ_in_shape_size_and_place():
  # Where two holes do not meet, each is a component of its own.
  removed = ~masks(MaskOptions((2, 2), (5, 8), 0.5, 0.0, 0.1), count=400, shape=(128, 128))
  shapes, sizes = [], []
  for mask in removed:
    labels, count = ndimage.label(mask)
    if count == 2:
      boxes = [mask[part] for part in ndimage.find_objects(labels)]
      shapes.append([box.all() for box in boxes])
      sizes.append([len(box) for box in boxes])
  shapes, sizes = np.array(shapes), np.array(sizes)
  assert len(shapes) > 300
  assert np.mean(shapes[:, 0] != shapes[:, 1]) == pytest.approx(0.5, abs=0.1)
  assert np.mean(sizes[:, 0] != sizes[:, 1]) == pytest.approx(0.75, abs=0.1)


def test_options_at_their_limits_are_allowed():
  MaskOptions((0, 0), (1, 1), 0.0, 0.0, 1e-9)
  MaskOptions((1, 1), (1, 1), 1.0, 1.0, 1.0)
  for change in ({"holes": (-1, 1)}, {"size": (2, 1)}, {"square_probability": -0.01}):
    with pytest.raises(InputError, match=next(iter(change))):
      dataclasses.replace(RELEASED, **change)
  for change in ({"fill": 1.01}, {"darkest": 1.01}):
    with pytest.raises(InputError, match=next(iter(change))):
      dataclasses.replace(RELEASED, **change)


def test_no_holes_when_none_are_asked_for():
  assert masks(MaskOptions((0, 0), (16, 16), 0.7, 0.0, 0.1), count=3).all()


def test_complementary_holes_are_disjoint_and_ties_go_to_either():
  # Holes of this size and number must meet in a small image.
  options = MaskOptions((6, 6), (16, 16), 0.7, 0.0, 0.1)
  keys = jax.random.split(jax.random.key(2), 50)
  draw = jax.jit(jax.vmap(lambda key: interventions.complementary_masks(key, 32, 32, options)))
  draw_one = jax.jit(jax.vmap(lambda key: interventions.sample_mask(key, 32, 32, options)))
  both = jax.vmap(lambda key: jax.random.split(key, 3))(keys)
  pair = draw(keys)
  assert not (~pair.visible & ~pair.infrared).any()
  alone = [draw_one(both[:, i]) for i in (0, 1)]
  union = ~alone[0] | ~alone[1]
  np.testing.assert_array_equal(~pair.visible | ~pair.infrared, union)
  tied = ~alone[0] & ~alone[1]
  given_to_visible = np.mean(np.asarray(pair.visible)[np.asarray(tied)])
  assert given_to_visible == pytest.approx(0.5, abs=0.03)


def test_shared_masks_remove_the_same_pixels():
  view = intervene("shared", jax.random.key(3), BATCH, RELEASED)
  np.testing.assert_array_equal(view.visible == 0, view.infrared == 0)
  assert (np.asarray(view.visible) == 0).any((1, 2, 3)).all()


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_declarations_are_true_and_pixels_are_kept_or_filled(name):
  fill = 0.5  # of 0 are most other tests
  options = dataclasses.replace(RELEASED, fill=fill)
  intervention, pair = INTERVENTIONS[name], jax.tree.map(lambda x: x[0], BATCH)
  new = jax.jit(lambda key: intervention.apply(key, pair, options))(jax.random.key(4))
  for modality in MODALITIES:
    before, after = getattr(pair, modality), getattr(new, modality)
    assert name in ("darker", "faulty") or np.all((after == before) | (after == fill))
    if modality in intervention.keeps:
      np.testing.assert_array_equal(after, before)
    elif modality in intervention.blanks:
      assert np.all(after == fill)
    elif name != "one_sided":
      assert np.any(after != before)


def test_one_sided_holes_are_in_either_image_and_never_in_both():
  keys = jax.random.split(jax.random.key(3), 400)
  pair = jax.tree.map(lambda x: x[0], BATCH)
  draw = jax.jit(jax.vmap(lambda key: interventions.one_sided(key, pair, RELEASED)))
  views = draw(keys)
  changed = {m: np.asarray(getattr(views, m) == 0).any((1, 2, 3)) for m in MODALITIES}
  np.testing.assert_array_equal(changed["visible"], ~changed["infrared"])
  assert np.mean(changed["visible"]) == pytest.approx(0.5, abs=0.08)
  # The same holes as of a mask alone, in whichever image.
  sample = jax.jit(jax.vmap(lambda key: interventions.sample_mask(key, *SHAPE, RELEASED)))
  kept = sample(jax.vmap(lambda key: jax.random.split(key)[0])(keys))
  np.testing.assert_array_equal((views.visible == 0) | (views.infrared == 0), ~kept)


def test_darker_images_are_so_by_factors_of_their_own_uniform_in_their_logarithms():
  count, low = 2000, np.log(0.2)
  options = dataclasses.replace(RELEASED, darkest=0.2)
  batch = Pair(*jax.random.uniform(jax.random.key(8), (2, count, 2, 3, 1), minval=0.1))
  view = intervene("darker", jax.random.key(3), batch, options)
  factors = jax.tree.map(lambda after, before: np.asarray(after / before), view, batch)
  for modality in MODALITIES:
    own = getattr(factors, modality)
    np.testing.assert_allclose(own, np.broadcast_to(own[:, :1, :1], own.shape), rtol=1e-5)
  logs = np.log(np.stack([getattr(factors, m)[:, 0, 0, 0] for m in MODALITIES], 1))
  assert logs.min() >= low - 1e-5 and logs.max() < 0
  assert logs.mean(0) == pytest.approx([low / 2] * 2, abs=4 * -low / (12 * count) ** 0.5)
  assert logs.std(0) == pytest.approx([-low / 12**0.5] * 2, rel=0.1)
  assert abs(np.corrcoef(logs.T)[0, 1]) < 4 / count**0.5


@pytest.mark.parametrize("name", INTERVENTIONS)
def test_mapped_equals_looped(name):
  key = jax.random.key(5)
  views = intervene(name, key, BATCH, RELEASED)
  apply = jax.jit(lambda key, pair: INTERVENTIONS[name].apply(key, pair, RELEASED))
  key = jax.random.fold_in(key, zlib.crc32(name.encode()))
  for i in range(5):
    one = jax.tree.map(lambda x: x[i], BATCH)  # noqa: B023
    expected = apply(jax.random.fold_in(key, i), one)
    for modality in MODALITIES:
      images = getattr(views, modality)
      image = images[0] if modality in INTERVENTIONS[name].blanks else images[i]
      np.testing.assert_array_equal(image, getattr(expected, modality))


def test_masks_depend_on_the_key_and_the_sample_but_not_on_the_batch():
  whole, again, other = (
    intervene("complementary", jax.random.key(k), BATCH, RELEASED) for k in (6, 6, 7)
  )
  part = jax.tree.map(lambda x: x[:2], BATCH)
  first = intervene("complementary", jax.random.key(6), part, RELEASED)
  np.testing.assert_array_equal(whole.visible, again.visible)
  np.testing.assert_array_equal(whole.visible[:2], first.visible)
  assert np.any(whole.visible != other.visible)
  holes = np.asarray(whole.visible == 0)
  assert np.any(holes[0] != holes[1])


def test_views_say_which_images_they_share():
  sources = {
    name: interventions.intervene(name, jax.random.key(0), BATCH, RELEASED).sources
    for name in INTERVENTIONS
  }
  assert sources["without_visible"] == {"visible": "blank", "infrared": "original"}
  assert sources["without_infrared"] == {"visible": "original", "infrared": "blank"}
  assert sources["shared"] == {"visible": "shared", "infrared": "shared"}


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ({"holes": (3, 2)}, r"masks.holes is \(3, 2\)"),
    ({"size": (0, 4)}, r"masks.size is \(0, 4\)"),
    ({"square_probability": 1.5}, "square_probability is 1.5; allowed: 0 to 1"),
    ({"fill": -1.0}, "fill is -1.0"),
    ({"darkest": 0.0}, "masks.darkest is 0.0; allowed: above 0, to 1"),
    ({"fills": ("value", "fog")}, r"masks.fills is .*'fog'.*; allowed: one or more of value, any"),
    ({"fills": ()}, r"masks.fills is \(\)"),
    ({"faulty": (0.0, 0.1)}, r"masks.faulty is \(0.0, 0.1\); allowed: 0 < least <= greatest <= 1"),
    ({"faulty": (0.2, 0.1)}, "masks.faulty"),
    ({"dimmest": -0.1}, "masks.dimmest is -0.1; allowed: 0 to 1"),
    ({"brightest": 0.0}, "masks.brightest is 0.0; allowed: above 0, to 1"),
  ],
)
def test_bad_options_are_refused(change, message):
  with pytest.raises(InputError, match=message):
    dataclasses.replace(RELEASED, **change)


def test_unknown_intervention_lists_the_valid_ones():
  with pytest.raises(InputError, match="valid: complementary, shared, without_visible"):
    interventions.intervene("swap", jax.random.key(0), BATCH, RELEASED)


def test_holes_as_large_as_the_image_still_fit():
  removed = ~masks(MaskOptions((1, 1), (32, 32), 1.0, 0.0, 0.1), count=3, shape=(32, 32))
  assert removed.all() and jnp.asarray(removed).shape == (3, 32, 32)


def test_each_kind_of_filling_is_drawn_as_often_and_only_holes_are_filled():
  options = dataclasses.replace(RELEASED, fills=("value", "any value", "elsewhere"), holes=(1, 1))
  batch = jax.tree.map(lambda x: jnp.repeat(x[:1], 60, 0), BATCH)
  found, plain = (
    np.asarray(intervene("one_sided", jax.random.key(3), batch, o).infrared)
    for o in (options, dataclasses.replace(options, fills=("value",)))
  )
  holes = plain == 0
  np.testing.assert_array_equal(found[~holes], np.asarray(batch.infrared)[~holes])
  flat = [np.ptp(view[hole]) == 0 for view, hole in zip(found, holes, strict=True) if hole.any()]
  assert 0.5 < np.mean(flat) < 0.8  # each kind of a third, of which two are flat


def test_holes_are_no_brighter_than_asked():
  options = dataclasses.replace(RELEASED, fills=("any value",), brightest=0.1)
  found = intervene("complementary", jax.random.key(3), BATCH, options)
  for modality in ("visible", "infrared"):
    treated, plain = (np.asarray(getattr(x, modality)) for x in (found, BATCH))
    holes = treated[treated != plain]
    assert holes.size > 50 and holes.max() <= 0.1


@pytest.mark.parametrize("name", ["faulty", "one_sided", "complementary"])
def test_nothing_darker_than_asked_takes_the_place_of_pixels(name):
  fills = ("any value", "noise", "elsewhere")
  options = dataclasses.replace(RELEASED, fills=fills, faulty=(0.01, 0.05))
  dim, all_values = (
    jax.device_get(intervene(name, jax.random.key(3), BATCH, o))
    for o in (dataclasses.replace(options, dimmest=0.3), options)
  )
  for modality in ("visible", "infrared"):
    image, found, drawn = (np.asarray(getattr(x, modality)) for x in (BATCH, dim, all_values))
    np.testing.assert_array_equal(found, np.where(drawn >= np.float32(0.3), drawn, image))
    changed = drawn[drawn != image]
    assert (changed < 0.3).any() and (changed >= 0.3).any()


def test_a_faulty_sensor_loses_pixels_and_at_times_a_line():
  options = dataclasses.replace(RELEASED, faulty=(0.01, 0.05))
  pair = jax.tree.map(lambda x: jnp.full((400, *SHAPE, 1), 0.37), BATCH)
  # Not of JAX, which compiles anew for every number of pixels that are picked.
  view, pair = jax.device_get((intervene("faulty", jax.random.key(3), pair, options), pair))
  lost = (view.infrared != pair.infrared)[..., 0]
  rows, columns = lost.all(2).any(1), lost.all(1).any(1)
  assert 0.15 < rows.mean() < 0.35 and 0.15 < columns.mean() < 0.35
  shares = lost[~rows & ~columns].mean((1, 2))
  assert 0.006 < shares.min() < 0.02 < 0.03 < shares.max() < 0.06
  assert np.mean(np.log(shares)) == pytest.approx(np.log(0.01 * 0.05) / 2, abs=0.15)
  extreme = [
    np.isin(v[lost], (0, 1)).all() for v, lost in zip(view.infrared[..., 0], lost, strict=True)
  ]
  assert 0.4 < np.mean(extreme) < 0.6
  assert np.any((view.visible != pair.visible)[..., 0] != lost)
