"""`Model.fuse`: forms and dtypes, colour, errors, sharing of programs, devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import matplotlib
import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.fusion.buckets import WASTE
from cfi_jax.fusion.inputs import ColouredWarning, StretchedWarning, SwappedWarning
from cfi_jax.images import colour
from cfi_jax.systems.isfuse.inference import buckets
from cfi_jax.systems.isfuse.inference.geometry import Frame

SIZE = (24, 32)
ZEROS = Frame("zeros", 8, 3)


def picture(random, *shape, dtype=np.uint8):
  return random.integers(0, np.iinfo(dtype).max + 1, shape, dtype)


FORMS = [(), (1,), (3,), (4,)]


@pytest.mark.parametrize("channels", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64, np.float16])
def test_the_result_has_the_form_of_the_visible_image(small, random, channels, dtype):
  visible = random.random((*SIZE, *channels))
  visible = visible.astype(dtype) if np.dtype(dtype).kind == "f" else picture(
    random, *SIZE, *channels, dtype=dtype
  )  # fmt: skip
  if channels == (4,):  # of alpha 0 a pixel would have no value
    least = np.asarray(0.01 if visible.dtype.kind == "f" else 1, visible.dtype)
    visible[..., 3] = np.maximum(visible[..., 3], least)
  infrared = picture(random, *SIZE)
  fused = small.fuse(visible, infrared)
  assert fused.shape == visible.shape and fused.dtype == visible.dtype
  batch = small.fuse(np.stack([visible] * 2), np.stack([infrared] * 2))
  step = 1 / 65535 if np.dtype(dtype).kind == "f" else 1  # another program may round otherwise
  np.testing.assert_allclose(
    batch.astype(np.float64), np.stack([fused] * 2).astype(np.float64), atol=step
  )
  gray = small.fuse(visible, infrared, gray=True)
  assert gray.shape == (SIZE + channels[:0] if not channels else (*SIZE, 1))
  if channels == (4,):
    np.testing.assert_array_equal(fused[..., 3], visible[..., 3])


def test_depths_agree_to_their_precision(small, random):
  visible, infrared = picture(random, *SIZE), picture(random, *SIZE)
  exact = small.fuse(visible / np.float32(255), infrared / np.float32(255))
  np.testing.assert_allclose(small.fuse(visible, infrared) / 255, exact, atol=0.5 / 255 + 1e-6)
  wide = small.fuse(visible.astype(np.uint16) * 257, infrared.astype(np.uint16) * 257)
  np.testing.assert_allclose(wide / 65535, exact, atol=0.5 / 65535 + 1e-6)


def test_only_the_luma_of_the_infrared_counts(small, random):
  visible, infrared = picture(random, *SIZE, 3), picture(random, *SIZE)
  coloured = np.stack([infrared] * 3, -1)
  np.testing.assert_array_equal(small.fuse(visible, infrared), small.fuse(visible, coloured))


@pytest.mark.parametrize(
  ("visible", "infrared", "words"),
  [
    (np.zeros((7, 30)), np.zeros((7, 30)), "height and width from 8"),
    (np.zeros((9, 9)), np.zeros((9, 10)), "9x10"),
    (np.full((9, 9), np.nan), np.zeros((9, 9)), "the visible image: no pixel has a value"),
    (np.diag([np.nan] * 9), np.zeros((9, 9)), "visible: 9 of 81 pixels have no value .*wavelet"),
    (np.zeros((9, 9), bool), np.zeros((9, 9)), "visible is bool; allowed"),
    (np.zeros((9, 9), complex), np.zeros((9, 9)), "visible is complex128; allowed"),
    (np.zeros((9, 9, 2)), np.zeros((9, 9)), "shape"),
    (np.zeros(9), np.zeros(9), "shape"),
    (np.zeros((2, 9, 9)), np.zeros((5, 9, 9)), "batches of 2"),
    ([[0.0], [0.0, 1.0]], np.zeros((9, 9)), "visible is a list that is no array"),
  ],
)
def test_what_cannot_be_fused_is_refused(small, visible, infrared, words):
  with pytest.raises(InputError, match=words):
    small.fuse(visible, infrared)


def test_options_are_checked(make_small):
  with pytest.raises(InputError, match="float32"):
    make_small("int8")
  with pytest.raises(InputError, match="JAX_ENABLE_X64"):
    make_small("float64")
  with pytest.raises(InputError, match="memory_mb"):
    make_small().fuse(np.zeros((9, 9)), np.zeros((9, 9)), memory_mb=0)


def test_fifty_sizes_compile_at_most_six_programs(make_small, random):
  model = make_small(features=2, grid=2, levels=2)
  sizes = random.integers(16, 120, (50, 2)).tolist()
  compilations = []
  jax.monitoring.register_event_duration_secs_listener(
    lambda name, *_, **__: compilations.append(name) if "backend_compile" in name else None
  )
  model.reserve(sizes)
  for size in sizes:
    model.fuse(picture(random, *size), picture(random, *size))
  assert len({tuple(size) for size in sizes}) >= 45
  assert len(model.programs.compiled) <= 6
  assert len(compilations) == len(model.programs.compiled)


def test_details_of_many_sizes_share_programs(make_small, random):
  model, alone = (make_small(features=2, grid=2, levels=2) for _ in range(2))
  sizes = random.integers(40, 60, (6, 2)).tolist()
  model.reserve(sizes)
  for size in sizes:
    images = random.random((2, *size), np.float32)
    _, details = model.fuse(*images, return_details=True)
    assert details.gates[1].shape == (1, size[0] // 2, size[1] // 2, 1)
  assert len(model.programs.compiled) == 1
  _, expected = alone.fuse(*images, return_details=True)
  for got, want in zip(jax.tree.leaves(details), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(got, want, atol=1e-5, rtol=0)
  shared, own = (m.programs.compiled[0][2:4] for m in (model, alone))
  assert shared != own
  # Without a plan, what has been compiled for details serves again where it wastes little.
  alone.fuse(*images[:, :-1, :-1], return_details=True)
  assert len(alone.programs.compiled) == 1


def test_twenty_sizes_above_the_budget_compile_at_most_six_programs(make_small, random):
  """Sizes that are tiled share one shape of tiles, which changes no result."""
  model, whole = make_small(features=2, grid=2, levels=2), make_small(features=2, grid=2, levels=2)
  sizes = [(30, 40), (8, 700), *random.integers(150, 260, (18, 2)).tolist()]
  budget = 200 * 200 * 8 * 2 * 4 / 1e6
  model.reserve(sizes, memory_mb=budget)
  for i, size in enumerate(sizes):
    images = random.random((2, *size), np.float32)
    fused = model.fuse(*images, memory_mb=budget)
    if i % 5 == 1:
      np.testing.assert_allclose(fused, whole.fuse(*images, memory_mb=np.inf), atol=1e-5, rtol=0)
  kinds = [key[0] for key in model.programs.compiled]
  assert len(kinds) <= 6 and kinds.count("pool") == kinds.count("tile") == 1
  assert all(key[0] == "fuse" for key in whole.programs.compiled)


def test_sizes_whose_common_bucket_exceeds_the_budget_share_tiles(make_small, random):
  model = make_small(features=2, grid=2, levels=2)
  budget = 200 * 200 * 8 * 2 * 4 / 1e6
  sizes = [(40, 1000), (1000, 40), (20, 2000), (2000, 20), (200, 200)]
  assert max(np.prod(size) for size in sizes) <= 200 * 200  # none needs tiles by itself
  model.reserve(sizes, limit=3, memory_mb=budget)
  for size in sizes:
    model.fuse(*random.random((2, *size), np.float32), memory_mb=budget)
  kinds = [key[0] for key in model.programs.compiled]
  assert len(kinds) <= 3 and kinds.count("tile") == 1


def test_one_size_needs_no_border_and_no_padding(make_small, random):
  model = make_small(levels=1)
  model.reserve([(24, 32)] * 5)
  model.fuse(picture(random, 24, 32), picture(random, 24, 32))
  assert model.programs.compiled == (("fuse", 1, 24, 32, False),)


def test_batches_keep_to_the_memory_budget(make_small, random):
  model = make_small(levels=1)
  visible, infrared = picture(random, 5, 32, 32), picture(random, 5, 32, 32)
  expected = model.fuse(visible, infrared)
  budget = 2.5 * 32 * 32 * 8 * 8 * 4 / 1e6  # two images and a half
  np.testing.assert_array_equal(model.fuse(visible, infrared, memory_mb=budget), expected)
  assert [key[1] for key in model.programs.compiled] == [5, 2]


def test_bfloat16_is_close(make_small, small, random):
  visible, infrared = picture(random, *SIZE), picture(random, *SIZE)
  exact = small.fuse(visible, infrared).astype(int)
  assert abs(make_small("bfloat16").fuse(visible, infrared) - exact).max() <= 8


@pytest.mark.parametrize("limit", [1, 2, 3, 4])
def test_a_plan_has_as_many_buckets_as_allowed_and_pay(limit):
  """Four sizes far apart, each worth a program: as many as the limit, no fewer."""
  sizes = [(500, 4000), (4000, 500), (1500, 1500), (3000, 3000)]
  planned = buckets.plan(sizes * 50, limit, ZEROS)
  assert len(set(planned.values())) == limit
  for (height, width), bucket in planned.items():
    assert height <= bucket[0] and width <= bucket[1]


def test_a_bucket_is_used_up_to_the_waste_that_is_allowed_and_filled_exactly():
  tight = (100, 100)
  most = (100, int(WASTE * 100))
  assert buckets.choose(tight, [most], ZEROS) == most
  assert buckets.choose(tight, [(100, most[1] + 4)], ZEROS) == (104, 104)
  assert buckets.choose(tight, [(100, 120), (100, 108), (112, 112)], ZEROS) == (100, 108)
  assert buckets.choose(tight, [(96, 130), (130, 96)], ZEROS) == (104, 104)  # too low, too narrow


def test_plans_join_sizes_that_cost_little():
  planned = buckets.plan([(480, 640)] * 90 + [(478, 638)] * 10, 6, ZEROS)
  assert set(planned.values()) == {(480, 640)}
  far = buckets.plan([(480, 640)] * 90 + [(2000, 3000)] * 10, 6, ZEROS)
  assert set(far.values()) == {(480, 640), (2000, 3000)}
  assert set(buckets.plan([(480, 640), (2000, 3000)], 1, ZEROS).values()) == {(2000, 3000)}
  assert buckets.choose((480, 640), [], ZEROS) == (480, 640)
  assert buckets.choose((470, 630), [(480, 640)], ZEROS) == (480, 640)
  assert buckets.choose((100, 100), [(480, 640)], ZEROS) == (104, 104)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colour_is_opencvs(random, dtype):
  cv2 = pytest.importorskip("cv2")
  rgb, luma = picture(random, 64, 64, 3, dtype=dtype), picture(random, 64, 64, dtype=dtype)
  converted = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)
  np.testing.assert_array_equal(colour.luma(rgb), converted[..., 0])
  converted[..., 0] = luma
  expected = cv2.cvtColor(converted, cv2.COLOR_YCrCb2RGB)
  np.testing.assert_array_equal(colour.recolour(rgb, luma), expected)


def test_colour_of_floats_is_opencvs(random):
  cv2 = pytest.importorskip("cv2")
  rgb = random.random((8, 8, 3), np.float32)
  luma = random.random((8, 8), np.float32)
  converted = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)
  np.testing.assert_allclose(colour.luma(rgb), converted[..., 0], atol=1e-6)
  converted[..., 0] = luma
  expected = np.clip(cv2.cvtColor(converted, cv2.COLOR_YCrCb2RGB), 0, 1)
  np.testing.assert_allclose(colour.recolour(rgb, luma), expected, atol=2e-6)


DEVICES = """
import sys, numpy as np, jax
sys.path[:0] = ["tests"]
from conftest import SMALL
from random_weights import random_variables
from cfi_jax.systems.files import load_fuser
from cfi_jax.systems.isfuse.inference import Model
from cfi_jax.systems.isfuse.model import from_architecture
SMALL["levels"] = 2
variables = random_variables(from_architecture(SMALL, "float32"))
random = np.random.default_rng(0)
sizes = [(24, 32), (23, 31), (24, 32), (20, 32), (300, 300)]
pairs = [[random.integers(0, 256, (*s, 1), np.uint8) for s in sizes] for _ in range(2)]
results = []
for devices in (jax.local_devices(), jax.local_devices()[:1]):
  model = Model(variables, SMALL, devices=devices)
  model.reserve(sizes[:4])
  results.append(model.fuse_pairs(*pairs, memory_mb=5))
  print(model.programs.compiled)
assert jax.local_device_count() == 3
valid = [{"infrared": random.random(s) > 0.1} if s[0] in (23, 300) else None for s in sizes]
for name in ("average", "wavelet:planes=1"):  # without a network, whole images, tiles and masks
  fusers = (load_fuser(name, devices=d) for d in (jax.local_devices(), jax.local_devices()[:1]))
  results += [fuser.fuse_pairs(*pairs, memory_mb=0.2, valid=valid) for fuser in fusers]
for many, one in zip(results[::2], results[1::2]):
  for got, want in zip(many, one):
    np.testing.assert_array_equal(got, want)
"""


def test_several_devices_give_the_same_pictures():
  environment = {"XLA_FLAGS": f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=3"}
  subprocess.run([sys.executable, "-c", DEVICES], check=True, env=os.environ | environment)


def test_a_deeper_network_needs_larger_images(make_small):
  small_images = np.zeros((2, 24, 31), np.uint8)
  with pytest.raises(InputError, match="24x31.*a network of 5 levels needs 32 or more"):
    make_small(levels=5, features=2).fuse(*small_images)


def test_every_kind_of_image_is_fused_as_its_array(small, random, tmp_path):
  visible, infrared = picture(random, 24, 32, 3), picture(random, 24, 32)
  expected = small.fuse(visible, infrared)
  Image.fromarray(visible).save(tmp_path / "x.png")
  for given in (visible.tolist(), jnp.asarray(visible), Image.fromarray(visible)):
    np.testing.assert_array_equal(small.fuse(given, infrared), expected)
  fused = small.fuse(tmp_path / "x.png", Image.fromarray(infrared))
  assert type(fused) is np.ndarray
  np.testing.assert_array_equal(fused, expected)
  (one,) = small.fuse_pairs([visible.tolist()], [infrared.tolist()])
  np.testing.assert_array_equal(one, expected)
  grey = small.fuse(Image.fromarray(infrared), infrared)
  assert grey.shape == (24, 32)
  big = small.fuse(infrared.astype(">u2") * 257, infrared)
  assert big.dtype == np.uint16 and big.dtype.isnative


def test_values_are_taken_by_the_rule(small, random):
  """Counts are fused as what they show; the result is in the values of the visible image."""
  visible, scene = picture(random, 24, 32), random.random((24, 32))
  counts = (29_315 + 1500 * scene).astype(np.uint16)
  window = np.clip((counts - 29_000) / 2000, 0, 1).astype(np.float32)
  expected = small.fuse(visible, window)
  rule = {"infrared": "window=29000:31000"}
  np.testing.assert_array_equal(small.fuse(visible, counts, normalize=rule), expected)
  with pytest.warns(StretchedWarning, match="infrared: 1 of 16 bits"):
    low, high = np.percentile(counts, (1, 99))
    stretched = np.clip((counts - low) / (high - low), 0, 1).astype(np.float32)
    np.testing.assert_array_equal(small.fuse(visible, counts), small.fuse(visible, stretched))
  as_counts, details = small.fuse(
    counts, window, normalize="visible:window=29000:31000", return_details=True
  )
  assert as_counts.dtype == np.uint16 and 29_000 <= as_counts.min() <= as_counts.max() <= 31_000
  np.testing.assert_allclose(as_counts, 29_000 + 2000 * details.fused[0, ..., 0], atol=0.51)
  batch = small.fuse(np.stack([visible] * 2), np.stack([counts, counts + 50]), normalize=rule)
  assert batch.shape == (2, 24, 32) and batch.dtype == np.uint8


def test_roles_and_false_colours_are_noticed(small, random):
  grey, rgb = picture(random, 24, 32), picture(random, 24, 32, 3)
  with pytest.warns(SwappedWarning, match="the visible image is grey"):
    small.fuse(grey, rgb)
  with pytest.warns(ColouredWarning, match="infrared_palette"):
    small.fuse_pairs([rgb], [rgb])
  table = (matplotlib.colormaps["inferno"](np.arange(256))[:, :3] * 255).round().astype(np.uint8)
  fused = small.fuse(rgb, table[grey], infrared_palette="inferno").astype(int)
  assert np.abs(fused - small.fuse(rgb, grey)).max() <= 3
