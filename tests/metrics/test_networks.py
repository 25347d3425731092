"""LPIPS and FID with networks that are drawn by a rule, against numbers of the field's packages.

tests/fixtures/networks.json was computed in float64 by lpips 0.1.4 and pytorch-fid 0.3.0 with the
state dicts and pictures of networks.py: `alex` and `vgg` of 3 pairs of 70x93 pixels, `small` and
`large` every 64th feature of 2 pictures, `frechet` of `sets`.
"""

import json
import re

import networks
import numpy as np
import pytest
from command_line import ROOT
from full import FULL
from scipy import linalg

from cfi_jax.core.types import InputError
from cfi_jax.metrics import frechet, inception, lpips

REFERENCE = json.loads((ROOT / "tests" / "fixtures" / "networks.json").read_text())
TAPS = {"alex": 5, "vgg": 13}  # convolutions


@pytest.fixture(scope="module")
def pair():
  return networks.pictures(3, 70, 93, 1), networks.pictures(3, 70, 93, 2)


@pytest.mark.parametrize("network", lpips.NETWORKS)
def test_lpips_is_that_of_the_package(network, pair):
  found = lpips.LPIPS(network, networks.drawn(lpips.shapes(network)))
  np.testing.assert_allclose(found.distance(*pair), REFERENCE[network], rtol=1e-5)
  np.testing.assert_allclose(found.distance(pair[0], pair[0]), 0, atol=1e-12)
  assert sum(name.startswith("net") for name in found.params) == 2 * TAPS[network]


def test_lpips_needs_a_pixel_of_the_last_features():
  found = lpips.LPIPS("alex", networks.drawn(lpips.shapes("alex")))
  smallest = networks.pictures(2, 31, 32, 4)
  assert np.isfinite(found.distance(smallest, smallest[::-1])).all()
  with pytest.raises(InputError, match="LPIPS by 'alex' of 30x32 pixels; allowed: 31 or more"):
    found.distance(smallest[:, 1:], smallest[:, 1:])
  lpips.LPIPS("vgg", {}).require(16, 16)
  for size in ((15, 16), (16, 15)):
    with pytest.raises(InputError, match=f"by 'vgg' of {size[0]}x{size[1]} pixels; allowed: 16"):
      lpips.LPIPS("vgg", {}).require(*size)


def test_features_of_inception_are_those_of_the_package():
  params = networks.drawn(inception.shapes())
  sizes = {"small": (64, 48), "large": (330, 310)} if FULL else {"small": (64, 48)}
  for name, size in sizes.items():
    # Step by step: the whole program takes half a minute to compile.
    found = inception.features.__wrapped__(params, networks.pictures(2, *size, 3))
    assert found.shape == (2, inception.FEATURES)
    np.testing.assert_allclose(found[:, ::64], REFERENCE[name], rtol=1e-4, atol=1e-4)


@pytest.fixture
def holding(monkeypatch):
  """A function (module, arrays): every file holds these."""

  def hold(module, arrays):
    monkeypatch.setattr(module, "read_state_dict", lambda path: dict(arrays))

  return hold


@pytest.mark.parametrize("network", lpips.NETWORKS)
def test_a_file_of_lpips_tells_its_network(network, holding):
  arrays = {n: np.zeros(s, np.float64) for n, s in lpips.shapes(network).items()}
  # The package keeps the weights of channels under two names.
  holding(lpips, arrays | {"lins.0.model.1.weight": np.zeros(3)})
  found = lpips.load("any.pth")
  assert found.network == network and found.params.keys() == arrays.keys()
  assert all(value.dtype == np.float32 for value in found.params.values())
  for wrong in (
    {n: v for n, v in arrays.items() if n != "lin4.model.1.weight"},
    arrays | {"other": np.zeros(1)},
    arrays | {"lin4.model.1.weight": np.zeros((1, 3, 1, 1))},
  ):
    holding(lpips, wrong)
    with pytest.raises(InputError, match=r"any.pth: \d+ arrays, not those of LPIPS by alex or vgg"):
      lpips.load("any.pth")


def test_a_file_of_inception_has_every_array(holding):
  arrays = {n: np.zeros(s, np.float64) for n, s in inception.shapes().items()}
  assert len(arrays) == 94 * 5
  unused = {"fc.weight": np.zeros(3), "Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros(())}
  holding(inception, arrays | unused)
  found = inception.load("any.pth")
  assert found.keys() == arrays.keys()
  assert all(value.dtype == np.float32 for value in found.values())
  name = "Mixed_7c.branch3x3_2a.conv.weight"
  for wrong, said in (
    ({n: v for n, v in arrays.items() if n != name}, "is not there; it should be (384, 384, 1, 3)"),
    (arrays | {name: np.zeros((3, 4))}, "is (3, 4); it should be (384, 384, 1, 3), as in what tor"),
    (arrays | {"other": np.zeros(2)}, "any.pth: other is (2,); it should be not there"),
  ):
    holding(inception, wrong)
    with pytest.raises(InputError, match=re.escape(said)):
      inception.load("any.pth")


def sets():
  random = np.random.default_rng(5)
  return random.standard_normal((60, 8)), random.standard_normal((50, 8)) * 1.3 + 0.2


def test_the_frechet_distance_is_that_of_the_moments(random):
  first, second = sets()
  assert frechet.frechet_distance(first, second) == pytest.approx(REFERENCE["frechet"], rel=1e-9)
  # Fewer pictures than features, of each set in turn.
  for few in ((first[:5], second), (first, second[:2]), (first[:5], second[:4])):
    covariances = [np.cov(own, rowvar=False) for own in few]
    moments = np.square(few[0].mean(0) - few[1].mean(0)).sum() + sum(map(np.trace, covariances))
    root = np.sqrt(np.maximum(linalg.eigvals(covariances[0] @ covariances[1]).real, 0)).sum()
    # The eigenvalues that are 0 are known to about 1e-17, and their roots to 1e-8.
    assert frechet.frechet_distance(*few) == pytest.approx(moments - 2 * root, abs=1e-6)
  assert frechet.frechet_distance(first, first[::-1]) == pytest.approx(0, abs=1e-10)
  shifted = frechet.frechet_distance(first, first + 0.5)
  assert shifted == pytest.approx(8 * 0.25)
  with pytest.raises(InputError, match="of 60 and 1 pictures; allowed: two or more of each"):
    frechet.frechet_distance(first, second[:1])
