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


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_in_colour(fuser, random, dtype):
  top = np.iinfo(dtype).max
  visible = random.integers(0, top, (*SIZE, 4), dtype, endpoint=True)
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
