"""Rules as fusers: exact windows and tiles, every form of image, names with options."""

import jax
import numpy as np
import pytest

import cfi_jax
from cfi_jax.core.types import InputError
from cfi_jax.fusion import rules
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.rule_options import DEFAULTS, is_rule, parse
from cfi_jax.fusion.types import Pair
from cfi_jax.images import colour
from cfi_jax.systems import files
from cfi_jax.systems import rules as rules_lib
from cfi_jax.systems.rules import RuleFuser

SIZE = (37, 44)
RULE = jax.jit(rules.fuse, static_argnums=1)
QUICK = {"wavelet": "wavelet:planes=2"}  # compiles in half the time


@pytest.fixture(scope="module", params=DEFAULTS)
def fuser(request):
  return cfi_jax.load(QUICK.get(request.param, request.param))


def plain(fuser, visible, infrared):
  """The rule as a pure function of floating-point images [H, W], clipped."""
  pair = Pair(visible[..., None], infrared[..., None])
  return np.clip(np.asarray(RULE(pair, fuser.choice))[..., 0], 0, 1)


@pytest.fixture
def pair(random):
  visible, infrared = random.random((2, *SIZE), np.float32)
  visible[:, :11] = 0.25
  return visible, infrared


def test_the_rule_itself(fuser, pair):
  assert isinstance(fuser, Fuser)
  np.testing.assert_allclose(fuser.fuse(*pair), plain(fuser, *pair), atol=1e-6)
  fused, details = fuser.fuse(*pair, return_details=True)
  np.testing.assert_allclose(details.fused[0, ..., 0], fused, atol=1e-6)


def test_sizes_that_share_a_window(fuser, pair):
  other = RuleFuser(fuser.choice)
  other.reserve([SIZE, (40, 30), (31, 49)], limit=1)
  assert len({other.bucket(size) for size in (SIZE, (40, 30))}) == 1 and other.bucket(SIZE) != SIZE
  np.testing.assert_allclose(other.fuse(*pair), plain(fuser, *pair), atol=1e-6)
  assert other.bucket((36, 46)) == other.bucket(SIZE)  # of a size that was not planned, too


def test_tiles_are_the_whole(fuser, random):
  """Tiles of the smallest size, in an image of two by three of them."""
  visible, infrared = random.integers(0, 256, (2, 100, 150), dtype=np.uint8)
  whole = fuser.fuse(visible, infrared)
  if fuser.choice.name == "laplacian":
    with pytest.raises(InputError, match="100x150 .* need 1 MB per device and 0 MB are allowed by"):
      fuser.fuse(visible, infrared, memory_mb=0.01)
    fuser.reserve([visible.shape], memory_mb=0.01)  # one such image is no reason to refuse others
    return
  assert fuser.exceeds(visible.shape, 0.01)
  tiled = fuser.fuse(visible, infrared, memory_mb=0.01).astype(int)
  assert np.abs(tiled - whole).max() <= 1 and (tiled != whole).mean() < 1e-3


@pytest.fixture
def holed(random):
  """Grey levels of a pair, and masks: single pixels, squares, and a part that both lack."""
  levels = random.integers(0, 256, (2, *SIZE), dtype=np.uint8)
  visible, infrared = random.random((2, *SIZE)) > 0.04
  visible[3:14, 5:15] = False
  infrared[12:30, 10:] = False
  return levels, Pair(visible, infrared)


def masked_levels(fuser, levels, valid):
  """The rule with masks as a pure function of grey levels, in the fuser's scale of 2^-8."""
  unit = np.float32(2**-8)
  pair = Pair(*(x[..., None].astype(np.float32) * unit for x in levels))
  found = RULE(pair, fuser.choice, jax.tree.map(lambda m: m[..., None], valid))[..., 0]
  return np.floor(np.clip(np.asarray(found) / unit, 0, 255) + np.float32(0.5)).astype(np.uint8)


def test_masks_are_those_of_the_rule(fuser, holed):
  """Bytes of the pure function; where one image is alone its own; nothing hidden shows."""
  levels, valid = holed
  assert fuser.takes_valid
  found = fuser.fuse(*levels, valid=valid)
  apart = np.abs(found.astype(int) - masked_levels(fuser, levels, valid))
  # The mean of all residuals is found in float64 by the fuser: halves may fall to either side.
  assert apart.max() <= (fuser.choice.name == "wavelet") and np.mean(apart > 0) < 2e-3
  for own, other, image in (
    (valid.visible, valid.infrared, levels[0]),
    (valid.infrared, valid.visible, levels[1]),
  ):
    if fuser.choice.name != "wavelet":  # which continues what the other image lacks, see `rules`
      np.testing.assert_array_equal(found[own & ~other], image[own & ~other])
  for value in (0, 255):
    spoilt = [
      np.where(m, x, value) for m, x in zip((valid.visible, valid.infrared), levels, strict=True)
    ]
    np.testing.assert_array_equal(fuser.fuse(*spoilt, valid=valid), found)


def test_masks_of_nothing_cost_nothing(holed):
  """With a mask that leaves nothing out the program is that without masks, and so is the result."""
  levels, valid = holed
  fuser = cfi_jax.load("average")
  whole, found = fuser.fuse(*levels), fuser.fuse(*levels, valid=valid)
  compiled = rules_lib._fuse._cache_size()
  ones = Pair(*np.ones((2, *SIZE), bool))
  several = fuser.fuse_pairs(*([x] * 3 for x in levels), valid=[None, valid, ones])
  assert rules_lib._fuse._cache_size() == compiled
  for one, expected in zip(several, (whole, found, whole), strict=True):
    np.testing.assert_array_equal(one[..., 0], expected)


def test_every_way_to_say_that_values_are_missing_is_one(fuser, holed):
  levels, valid = holed
  expected = fuser.fuse(*levels, valid=valid)
  known = (valid.visible, valid.infrared)
  masked = [np.ma.array(x, mask=~m) for x, m in zip(levels, known, strict=True)]
  np.testing.assert_array_equal(fuser.fuse(*masked), expected)
  alpha = [np.stack([x, x, x, m * np.uint8(255)], -1) for x, m in zip(levels, known, strict=True)]
  found = fuser.fuse(*alpha)
  np.testing.assert_array_equal(found[..., 3], np.where(known[0] | known[1], 255, 0))
  either = known[0] | known[1]
  for channel in range(3):
    np.testing.assert_array_equal(found[..., channel][either], expected[either])
  if fuser.choice.name == "laplacian":
    return  # whose program for floats takes long to compile
  floats = [np.where(m, x / np.float32(255), np.nan) for x, m in zip(levels, known, strict=True)]
  near = fuser.fuse(*floats)
  assert near.dtype == np.float32 and np.abs(255 * near - expected).max() < 0.51
  huge = [np.where(m, x, 1e30) for x, m in zip(floats, known, strict=True)]
  np.testing.assert_array_equal(fuser.fuse(*huge, valid=valid), near)


def test_masks_in_windows_that_sizes_share(fuser, holed):
  levels, valid = holed
  other = RuleFuser(fuser.choice)
  other.reserve([SIZE, (40, 30), (31, 49)], limit=1)
  assert other.bucket(SIZE) != SIZE
  expected = fuser.fuse(*levels, valid=valid)
  np.testing.assert_array_equal(other.fuse(*levels, valid=valid), expected)


def test_masked_tiles_are_the_whole(fuser, random):
  """With masks that differ between tiles, so that no tile knows the means of the whole."""
  if fuser.choice.name == "laplacian":
    pytest.skip("takes no tiles")
  levels = random.integers(0, 256, (2, 100, 150), dtype=np.uint8)
  valid = Pair(*(random.random((2, 100, 150)) > 0.05))
  valid.visible[:, 90:] = False
  valid.infrared[70:, :] = False
  whole = fuser.fuse(*levels, valid=valid).astype(int)
  tiled = fuser.fuse(*levels, valid=valid, memory_mb=0.01).astype(int)
  assert np.abs(tiled - whole).max() <= 1 and (tiled != whole).mean() < 1e-3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_in_colour(fuser, random, dtype):
  top = np.iinfo(dtype).max
  visible = random.integers(0, top, (*SIZE, 4), dtype, endpoint=True)
  visible[..., 3] |= 1  # pixels of alpha 0 have no value
  infrared = random.integers(0, top, SIZE, dtype, endpoint=True)
  fused = fuser.fuse(visible, infrared)
  assert fused.dtype == dtype and fused.shape == visible.shape
  np.testing.assert_array_equal(fused[..., 3], visible[..., 3])
  luma = fuser.fuse(visible, infrared, gray=True)[..., 0]
  np.testing.assert_array_equal(colour.recolour(visible, luma), fused)
  expected = top * plain(
    fuser, *((x / top).astype(np.float32) for x in (colour.luma(visible), infrared))
  )
  assert np.abs(luma - expected).max() <= 0.5 + 2e-6 * top
  batch = fuser.fuse(np.stack([visible] * 2), np.stack([infrared] * 2), gray=True)
  np.testing.assert_array_equal(batch[1, ..., 0], luma)


def test_types_that_differ_share_a_scale(random):
  fuser = cfi_jax.load("average")
  visible = random.integers(0, 256, SIZE, dtype=np.uint8)
  infrared = random.integers(0, 256, SIZE, dtype=np.uint8)
  fused = fuser.fuse(visible, infrared).astype(int)
  wide = fuser.fuse(visible, infrared.astype(np.uint16) * 257).astype(int)
  assert np.abs(wide - fused).max() <= 1 and (wide != fused).mean() < 1e-2
  unit = fuser.fuse(visible / np.float32(255), infrared)
  assert np.abs(unit * 255 - fused).max() <= 0.51


def test_pairs_of_several_sizes_in_one_call(fuser, pair):
  small = [x[:20, :30] for x in pair]
  first, second = fuser.fuse_pairs([pair[0], small[0]], [pair[1], small[1]])
  np.testing.assert_allclose(first[..., 0], plain(fuser, *pair), atol=1e-6)
  np.testing.assert_allclose(second[..., 0], plain(fuser, *small), atol=1e-6)


def test_names_with_options():
  choice = parse("wavelet:gain=1.25,planes=5")
  assert files.label("wavelet:gain=1.25,planes=5") == f"rule {choice}"
  assert files.label("medical") == files.label("some/medical.safetensors") == "medical"


@pytest.mark.parametrize(
  ("text", "words"),
  [
    ("wavelet:planes=9", "planes is 9; allowed: 1 to 8"),
    ("wavlet", "wavlet: does not exist; .* rules wavelet, laplacian, average, maximum"),
  ],
)
def test_bad_names_are_refused(text, words):
  with pytest.raises(InputError, match=words):
    cfi_jax.load(text)


def test_a_path_is_no_rule(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "wavelet").mkdir()
  assert is_rule("wavelet") and not is_rule("./wavelet") and not is_rule(tmp_path / "wavelet")
  with pytest.raises(InputError, match="wavelet: not a readable"):
    cfi_jax.load("./wavelet")
  with pytest.raises(InputError, match="wavelet is a rule without weights"):
    files.load("wavelet")


def test_types_of_computation():
  with pytest.raises(InputError, match="dtype is 'int8'; allowed: float32, bfloat16, float64"):
    cfi_jax.load("average", dtype="int8")
  with pytest.raises(InputError, match="JAX_ENABLE_X64"):
    cfi_jax.load("average", dtype="float64")
  with pytest.raises(InputError, match="memory_mb is 0; allowed: above 0"):
    cfi_jax.load("average").fuse(np.zeros((9, 9)), np.zeros((9, 9)), memory_mb=0)
