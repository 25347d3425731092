"""Trivial fusions that every report scores beside its methods.

A baseline takes and returns uint8 grey levels [H, W] or [N, H, W, 1]; its third argument is the
name of the pair.
"""

import functools
from collections.abc import Callable, Iterable

import chex
import numpy as np

from cfi_jax.core.keys import name_number
from cfi_jax.fusion.fuser import Size
from cfi_jax.fusion.rule_options import parse
from cfi_jax.systems.rules import RuleFuser

Baseline = Callable[[np.ndarray, np.ndarray, str], np.ndarray]
NOISE = "average + noise"
NOISE_LEVELS = 10.0  # standard deviation of the noise control
RULES = {  # the names of tables, and the rules
  "average": "average",
  "maximum": "maximum",
  "Laplacian pyramid": "laplacian",
  "a trous wavelets": "wavelet",
}


def reserve(sizes: Iterable[Size]) -> None:
  """Plans few compiled programs for the images to come, one entry of `sizes` per image."""
  sizes = list(sizes)
  for rule in RULES.values():
    _fuser(rule).reserve(sizes)


def visible(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The visible image itself."""
  _assert_levels(visible_HW, infrared_HW)
  return visible_HW


def infrared(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The infrared image itself."""
  _assert_levels(visible_HW, infrared_HW)
  return infrared_HW


def by_rule(rule: str, visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The fusion by a rule with its default options, rounded half up."""
  _assert_levels(visible_HW, infrared_HW)
  fuse = _fuser(rule).fuse_luma
  if visible_HW.ndim == 2:
    return fuse(visible_HW, infrared_HW)
  pairs = zip(visible_HW[..., 0], infrared_HW[..., 0], strict=True)
  return np.stack([fuse(*pair) for pair in pairs])[..., None]


def noise_control(visible_HW: np.ndarray, infrared_HW: np.ndarray, name: str) -> np.ndarray:
  """The average plus Gaussian noise, drawn anew for every name: it improves no image."""
  _assert_levels(visible_HW, infrared_HW)
  rng = np.random.default_rng(name_number(name))
  noise = NOISE_LEVELS * rng.standard_normal(visible_HW.shape)
  noisy = (visible_HW.astype(np.float64) + infrared_HW) / 2 + noise
  return np.clip(np.floor(noisy + 0.5), 0, 255).astype(np.uint8)


BASELINES: dict[str, Baseline] = {
  "visible": visible,
  "infrared": infrared,
  **{name: functools.partial(by_rule, rule) for name, rule in RULES.items()},
  NOISE: noise_control,
}


@functools.cache
def _fuser(rule: str) -> RuleFuser:
  return RuleFuser(parse(rule))


def _assert_levels(*images: np.ndarray) -> None:
  chex.assert_type(images, np.uint8)
  chex.assert_equal_shape(images)
  chex.assert_rank(images, {2, 4})
