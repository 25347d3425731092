"""Corruptions: what each does to one pair, in the units of its strength."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.datasets.world import corruptions
from cfi_jax.datasets.world.corruptions import CORRUPTIONS, corrupt
from cfi_jax.fusion import weather
from cfi_jax.fusion.types import Pair

pytestmark = pytest.mark.usefixtures("compiled_weather")
KEY = jax.random.key(3)
SIDE = 48
DEPTH = jnp.broadcast_to(jnp.linspace(1, 0, SIDE).reshape(-1, 1, 1), (SIDE, SIDE, 1))


@pytest.fixture(scope="module")
def pair():
  """Two unrelated smooth images without clipping."""
  y, x = np.mgrid[:SIDE, :SIDE] / SIDE
  visible = 0.4 + 0.2 * np.sin(9 * x + 4 * y)
  infrared = 0.5 + 0.2 * np.cos(11 * y - 3 * x)
  return Pair(*(jnp.asarray(i[..., None], jnp.float32) for i in (visible, infrared)))


@functools.cache
def program(name):
  """The corruption, compiled; of weather what all of its kinds have in common."""
  apply = CORRUPTIONS[name].apply
  return apply if name in weather.KINDS else jax.jit(apply)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_strength_zero_changes_nothing_and_more_changes_more(pair, name):
  middle = {"rain": 10.0, "haze": 1.0, "blur": 2.0, "misregistration": 3.0}.get(name, 0.2)

  def change(strength):
    out = program(name)(KEY, pair, jnp.float32(strength), DEPTH)
    for image in jax.tree.leaves(out):
      assert image.shape == (SIDE, SIDE, 1) and image.dtype == jnp.float32
      assert image.min() >= 0 and image.max() <= 1
    return sum(float(jnp.abs(a - b).mean()) for a, b in zip(*map(jax.tree.leaves, (out, pair))))  # noqa: B905

  assert change(0.0) < 1e-6
  assert 1e-3 < change(middle / 2) < change(middle)


@pytest.mark.parametrize(
  ("name", "untouched"),
  [
    ("misregistration", "visible"),
    ("missing_visible", "infrared"),
    ("missing_infrared", "visible"),
  ],
)
def test_the_other_modality_is_left_as_it_is(pair, name, untouched):
  out = CORRUPTIONS[name].apply(KEY, pair, 1.0, DEPTH)
  assert (getattr(out, untouched) == getattr(pair, untouched)).all()


def test_noise_has_its_standard_deviation_and_is_independent(pair):
  out = CORRUPTIONS["noise"].apply(KEY, pair, 0.05, DEPTH)
  visible, infrared = (
    np.ravel(a - b) for a, b in zip(jax.tree.leaves(out), jax.tree.leaves(pair), strict=True)
  )
  for added in (visible, infrared):
    assert added.std() == pytest.approx(0.05, rel=0.05)
  assert abs(np.corrcoef(visible, infrared)[0, 1]) < 0.06


def test_blur_is_a_gaussian_of_its_width_and_keeps_a_constant():
  point = jnp.zeros((SIDE, SIDE, 1)).at[24, 24].set(1.0)
  out = CORRUPTIONS["blur"].apply(KEY, Pair(point, jnp.full((SIDE, SIDE, 1), 0.7)), 2.0, DEPTH)
  rows = out.visible[..., 0].sum(1)
  position = jnp.arange(SIDE)
  assert float(rows.sum()) == pytest.approx(1, abs=1e-4)
  assert float((rows * (position - 24) ** 2).sum()) == pytest.approx(4, rel=0.01)
  np.testing.assert_allclose(out.infrared, 0.7, atol=1e-6)


def test_misregistration_is_an_exact_shift_in_one_of_four_directions(pair):
  shifted = {}
  for name, (dy, dx) in dict(up=(-3, 0), down=(3, 0), left=(0, -3), right=(0, 3)).items():
    rows = np.clip(np.arange(SIDE) - dy, 0, SIDE - 1)
    columns = np.clip(np.arange(SIDE) - dx, 0, SIDE - 1)
    shifted[name] = np.asarray(pair.infrared)[rows][:, columns]
  seen = set()
  for k in range(40):
    moved = program("misregistration")(jax.random.key(k), pair, jnp.float32(3.0), DEPTH)
    out = np.asarray(moved.infrared)
    (name,) = [name for name, image in shifted.items() if np.abs(image - out).max() < 1e-6]
    seen.add(name)
  assert seen == set(shifted)


def test_weather_is_deeper_at_a_distance_in_both_images(pair):
  out = program("haze")(KEY, pair, jnp.float32(3.0), DEPTH)
  changed = [
    np.abs(np.asarray(a - b)).mean((1, 2))
    for a, b in zip(jax.tree.leaves(out), jax.tree.leaves(pair), strict=True)
  ]
  for change in changed:
    assert change[: SIDE // 4].mean() > 2 * change[-SIDE // 4 :].mean() > 0
  assert changed[0].mean() > changed[1].mean()  # haze hides little from a thermal camera


def test_one_lost_modality_is_black(pair):
  assert not CORRUPTIONS["missing_visible"].apply(KEY, pair, 1.0, DEPTH).visible.any()
  half = CORRUPTIONS["missing_infrared"].apply(KEY, pair, 0.5, DEPTH).infrared
  np.testing.assert_allclose(half, pair.infrared / 2, rtol=1e-6)


def test_samples_of_a_batch_differ_and_do_not_depend_on_their_company(pair):
  batch = jax.tree.map(lambda x: jnp.stack([x, x, x]), pair)
  depth = jnp.stack([DEPTH, DEPTH, DEPTH])
  three = corrupt("noise", KEY, batch, 0.1, depth)
  two = corrupt("noise", KEY, jax.tree.map(lambda x: x[:2], batch), 0.1, depth[:2])
  assert (three.visible[:2] == two.visible).all()
  assert jnp.abs(three.visible[0] - three.visible[1]).mean() > 0.05


def test_unknown_names_and_strengths_list_what_is_allowed():
  with pytest.raises(InputError, match="no corruption 'hail'; valid: noise, blur"):
    corruptions.get("hail")
  for strength in (-1.0, 21.0, float("nan")):
    with pytest.raises(InputError, match=r"corruption haze: strength .*; allowed: 0 to 20"):
      corruptions.get("haze").check("haze", strength)
  corruptions.get("haze").check("haze", 20.0)
