"""Fusing and restoring images of any size, channels and depth."""

import jax
import matplotlib
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.graphs import HasGraph
from cfi_jax.fusion.inputs import StretchedWarning
from cfi_jax.images import palettes
from cfi_jax.images import read as images
from cfi_jax.systems.amgfuse import ways
from cfi_jax.systems.amgfuse.inference import Model, Restorer, load, make_programs
from cfi_jax.systems.amgfuse.model import make_model
from cfi_jax.systems.amgfuse.procedure import shapes

FUSION = dict(name="amgfuse", width=16, blocks=(1, 1), heads=(1, 2), refinement=1, mask=True)
FUSION |= dict(gate=True, masked_by="visible", prior="none", fold=1)
RESTORATION = dict(name="restoration", width=4, blocks=(1, 1), heads=(1, 2), refinement=1)


def variables(architecture):
  random = np.random.default_rng(0)

  def leaf(shape):
    return np.float32(random.normal(size=shape.shape) / np.sqrt(max(1, np.prod(shape.shape[:-1]))))

  return jax.tree.map(leaf, shapes(architecture))


def network(architecture=FUSION):
  """The network in the ways that compile fastest."""
  return make_model({**architecture, **ways.PLAIN, "dtype": "float32", "param_dtype": "float32"})


@pytest.fixture(scope="module")
def model():
  return Model(make_programs(variables(FUSION), network(), None))


@pytest.fixture
def pair(random):
  return random.integers(0, 256, (9, 12, 3), np.uint8), random.integers(0, 256, (9, 12), np.uint8)


def expected(visible, infrared):
  """The network on images that are mirrored by hand to 10x12, cut again."""
  both = (np.float32(visible) / 255, np.float32(infrared)[..., None] / 255)
  padded = [np.concatenate([image, image[-2:-1]])[None] for image in both]
  fused = jax.jit(network().apply)(variables(FUSION), *padded).fused
  return np.clip(np.asarray(fused)[0, :9], 0, 1)


def test_a_folded_network_pads_to_its_step(pair):
  architecture = FUSION | {"prior": "wavelet:planes=1", "fold": 2}
  model = Model(make_programs(variables(architecture), network(architecture), None))
  assert model.bucket((9, 12)) == (12, 12)
  fused = model.fuse(*pair)
  both = (np.float32(pair[0]) / 255, np.float32(pair[1])[..., None] / 255)
  padded = [np.concatenate([image, image[-2:-5:-1]])[None] for image in both]  # mirrored
  own = jax.jit(network(architecture).apply)(variables(architecture), *padded).fused[0, :9]
  assert (fused.shape, fused.dtype) == ((9, 12, 3), np.uint8) and np.ptp(fused) > 0
  assert np.abs(fused - 255 * np.clip(own, 0, 1)).max() <= 0.51


def test_images_are_padded_fused_and_cut(model, pair):
  assert isinstance(model, Fuser) and model.bucket((9, 12)) == (10, 12)
  fused = model.fuse(*pair)
  assert (fused.shape, fused.dtype) == ((9, 12, 3), np.uint8)
  own = expected(*pair)
  assert own.std() > 0.05
  assert np.abs(fused - 255 * own).max() < 0.51
  alpha = np.full((9, 12, 1), 7, np.uint8)
  coloured = model.fuse(np.concatenate([pair[0], alpha], -1), pair[1])
  np.testing.assert_array_equal(coloured, np.concatenate([fused, alpha], -1))
  luma = own @ [0.299, 0.587, 0.114]
  for visible, gray in ((pair[0], True), (np.repeat(pair[0][..., :1], 3, -1), True)):
    assert model.fuse(visible, pair[1], gray=gray).shape == (9, 12, 1)
  assert np.abs(model.fuse(*pair, gray=True)[..., 0] - 255 * luma).max() < 0.51
  grey = pair[0][..., 0]
  assert model.fuse(grey, pair[1]).shape == (9, 12)
  deep = model.fuse(*(image.astype(np.uint16) * 257 for image in pair))
  assert deep.dtype == np.uint16 and np.abs(deep / 257 - 255 * own).max() < 0.51


def test_the_graph_is_the_network_for_images_of_one_size(model, pair):
  visible, infrared = (np.float32(image) / 255 for image in pair)
  graph = model.fusion_graph((9, 12))
  assert isinstance(model, HasGraph) and graph.smallest is None and graph.channels == 3
  fused = jax.jit(graph.function)(visible[None], infrared[None, ..., None])
  np.testing.assert_allclose(fused[0], expected(*pair), atol=2e-5)
  with pytest.raises(InputError, match="both from 8"):
    model.fusion_graph((4, 12))


def test_values_are_taken_by_the_rules_and_returned_in_their_scale(model, pair):
  fused = model.fuse(*pair, normalize="full")
  counts = 29000 + 4 * pair[1].astype(np.uint16)
  rule = {"infrared": "window=29000:30020"}
  np.testing.assert_array_equal(model.fuse(pair[0], counts, normalize=rule), fused)
  (listed,) = model.fuse_pairs([pair[0].tolist()], [counts], normalize=rule)
  np.testing.assert_array_equal(listed, fused)
  with pytest.warns(StretchedWarning, match="infrared: 1 of 16 bits, 29.* stretched"):
    model.fuse(pair[0], counts)
  # Other values of the visible image: its luma is fused, its colours stay its own.
  degrees = np.float32(pair[0]) / 255 * 80 - 20
  warm = model.fuse(degrees, pair[1], normalize={"visible": "window=-20:60"})
  grey = model.fuse(images.luma(pair[0] / np.float64(255)), pair[1], gray=True)
  assert (warm.shape, warm.dtype) == ((9, 12, 3), np.float32)
  uncut = ((warm > -19.9) & (warm < 59.9)).all(-1)
  assert uncut.mean() > 0.3
  np.testing.assert_allclose(images.luma(warm)[uncut], (grey * 80 - 20)[uncut], atol=0.1)
  jet = matplotlib.colormaps["jet"](pair[1], bytes=True)[..., :3]
  values = palettes.values(jet, "jet", "infrared")
  taken = model.fuse(pair[0], values, normalize="full")
  np.testing.assert_array_equal(model.fuse(pair[0], jet, infrared_palette="jet"), taken)
  assert np.any(taken != model.fuse(pair[0], images.luma(jet)))


def test_both_heads_restore(model, pair):
  visible, infrared = model.restore_pair(*pair)
  assert visible.shape == (9, 12, 3) and visible.dtype == np.uint8
  assert infrared.shape == (9, 12, 1) and infrared.dtype == np.uint8
  both = (np.float32(pair[0]) / 255, np.float32(pair[1])[..., None] / 255)
  padded = [np.concatenate([image, image[-2:-1]])[None] for image in both]
  heads = jax.jit(network().apply)(variables(FUSION), *padded)
  own = np.clip(np.asarray(heads.visible)[0, :9], 0, 1)
  assert own.std() > 0.01 and np.abs(visible - 255 * own).max() < 0.51
  thermal = np.clip(np.asarray(heads.infrared)[0, :9], 0, 1) @ [0.299, 0.587, 0.114]
  assert np.abs(infrared[..., 0] - 255 * thermal).max() < 0.51
  fused, *restored = model.fuse_and_restore(*pair)
  assert fused.shape == (9, 12, 1) and fused.dtype == np.uint8
  alone = model.fuse(*pair, gray=True)
  for one, other in zip((fused, *restored), (alone, visible, infrared), strict=True):
    assert np.abs(one.astype(int) - other).max() <= 1  # programs differ in rounding


def test_details_belong_to_the_fused_image(model, pair):
  fused, details = model.fuse(*pair, return_details=True)
  np.testing.assert_array_equal(fused, model.fuse(*pair))
  assert details.fused.shape == (1, 9, 12, 1)
  assert [gate.shape for gate in details.gates] == [(1, 10, 12, 1), (1, 5, 6, 1)]
  assert [x.shape for x in details.features["infrared"]] == [(1, 10, 12, 16), (1, 5, 6, 32)]
  assert [x.shape for x in details.levels] == [(1, 10, 12, 32), (1, 5, 6, 32)]
  assert all(0 < gate.min() <= gate.max() < 1 for gate in details.gates)


def test_pairs_of_many_sizes_keep_their_order(model, pair):
  cut = [image[:8, :10] for image in pair]
  visibles, infrareds = zip(pair, cut, pair, strict=True)
  together = model.fuse_pairs(visibles, infrareds)
  for one, (visible, infrared) in zip(together, (pair, cut, pair), strict=True):
    np.testing.assert_array_equal(one, model.fuse(visible, infrared))


def test_what_memory_does_not_hold_is_refused(model, pair):
  with pytest.raises(InputError, match=r"images of 10x12 .* MB per device and 1 MB are allowed"):
    model.fuse(*pair, memory_mb=1.0)
  with pytest.raises(InputError, match="memory_mb is 0; allowed: above 0"):
    model.fuse(*pair, memory_mb=0)
  with pytest.raises(InputError, match="differ in size: visible 9x12, infrared 8x12"):
    model.fuse(pair[0], pair[1][:8])


def test_the_restoration_network_restores_and_fuses_nothing(pair):
  assert isinstance(load(variables(RESTORATION), RESTORATION), Restorer)
  restorer = Restorer(make_programs(variables(RESTORATION), network(RESTORATION), None))
  restored = restorer.restore(pair[0])
  assert (restored.shape, restored.dtype) == ((9, 12, 3), np.uint8)
  assert not isinstance(restorer, Fuser) and np.any(restored != pair[0])
