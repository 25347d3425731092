"""Scores over time, of sequences whose flicker and motion are known."""

import numpy as np
import pytest
from scipy import ndimage

from cfi_jax.metrics import temporal

RNG = np.random.default_rng(0)
TEXTURE = ndimage.gaussian_filter(RNG.uniform(0, 255, (60, 90)), 1.5)
TEXTURE = 40 + 160 * (TEXTURE - TEXTURE.min()) / np.ptp(TEXTURE)
BOX = 20 * RNG.uniform(0, 1, (16, 16)) + 200
SOURCES = ("visible", "infrared")


def frame(k, gain=1.0, speed=2):
  """A still background in which a box moves."""
  picture = TEXTURE[:48, :64].copy()
  picture[16:32, 4 + speed * k : 20 + speed * k] = BOX
  return gain * picture


def scored(**fused):
  """Scores of functions of time beside two still sources with the box."""
  times = [
    {"visible": frame(k), "infrared": 255 - frame(k), **{n: f(k) for n, f in fused.items()}}
    for k in range(5)
  ]
  return temporal.score(iter(times), SOURCES)


def test_flicker_of_the_background_is_counted_in_levels():
  mean = TEXTURE[:48, :64].mean()
  found = scored(
    steady=frame,
    flickering=lambda k: frame(k, 1 + 0.1 * (k % 2)),
    once=lambda k: frame(k) + 9 * (k > 2),
  )
  steps = {n: (v["background_step_mean"], v["background_step_max"]) for n, v in found.items()}
  assert max(steps["steady"]) < 0.1 and max(steps["visible"]) < 0.1
  assert steps["flickering"] == pytest.approx((0.1 * mean, 0.1 * mean), rel=0.1)
  assert steps["once"] == pytest.approx((9 / 4, 9), abs=0.1)


def test_sources_that_flicker_as_a_whole_leave_the_background_known():
  frames = [
    {"visible": frame(k) + 20 * (k % 2), "infrared": frame(k), "f": frame(k)} for k in range(4)
  ]
  found = temporal.score(iter(frames), SOURCES)
  assert found["f"]["background_step_max"] < 0.1
  assert found["visible"]["background_step_max"] == pytest.approx(20, abs=0.5)


def test_where_all_moves_there_is_no_background():
  noise = [{n: RNG.uniform(0, 255, (32, 32)) for n in (*SOURCES, "f")} for _ in range(2)]
  assert np.isnan(temporal.score(iter(noise), SOURCES)["f"]["background_step_mean"])


@pytest.mark.parametrize(("change", "step"), [(2.9, 10), (3.2, 2.5)])
def test_a_pixel_of_a_source_that_changes_by_more_than_three_levels_does_not_stand_still(
  change, step
):
  """A quarter of 40 columns; two of these are among still ones in the windows of 5."""
  moved = np.where(np.arange(40) >= 30, 1.0, 0.0) * np.ones((40, 1))
  sources = [(np.zeros((40, 40)), np.zeros((40, 40))), (np.zeros((40, 40)), change * moved)]
  found = temporal.background_step(np.full((40, 40), 50.0), 50 - 40 * moved, sources)
  assert found == pytest.approx(step)


def test_a_frame_unlike_its_neighbours_is_a_warping_error():
  found = scored(steady=frame, flickering=lambda k: frame(k) + 10 * (k % 2))
  assert found["steady"]["BiSWE_ilk"] < 6  # where the box leaves and arrives
  # Ten levels to either neighbour.
  assert found["flickering"]["BiSWE_ilk"] - found["steady"]["BiSWE_ilk"] == pytest.approx(
    20, rel=0.2
  )


def test_motion_unlike_the_sources_is_counted():
  found = scored(steady=frame, jumping=lambda k: frame(k, speed=1) if k == 2 else frame(k))
  assert found["jumping"]["MS2R_ilk"] > 3 * found["steady"]["MS2R_ilk"] + 0.02
  assert found["visible"]["MS2R_ilk"] < 0.05


def test_ms2r_is_the_mean_over_sources_pixels_and_directions():
  zero = np.zeros((2, 4, 4))

  def step(there):
    return temporal.Step(zero[0], zero[0], there, zero)

  moved = zero.copy()
  moved[0, :, :2] = 3.0  # a quarter of all components
  still = step(zero), step(zero)
  assert temporal.ms2r((step(zero), step(moved)), [still, still]) == pytest.approx(0.75)
  assert temporal.ms2r((step(zero), step(moved)), [still, (step(zero), step(moved))]) == 0.375
