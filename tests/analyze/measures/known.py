"""Fusion rules whose analysis is known in advance, and pairs to try them on."""

import jax.numpy as jnp
import numpy as np

from cfi_jax.analyze.measures.samples import Sample
from cfi_jax.datasets.world.scenes import Scene
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.report.findings import Finding


def fusion(fused, gates=()):
  """A fusion without features."""
  return Fusion(fused=fused, gates=gates, features={}, levels=())


def average(pair):
  """The pixelwise mean: nothing is filled in, and contributions add up."""
  return fusion((pair.visible + pair.infrared) / 2)


def copy_visible(pair):
  """The visible image; infrared plays no part."""
  return fusion(pair.visible)


def fill_visible(pair):
  """The visible image, its holes filled with infrared, unless it is lacking altogether."""
  present = pair.visible.max() > 0
  return fusion(jnp.where((pair.visible == 0) & present, pair.infrared, pair.visible))


def spread_out(pair):
  """The mean of the visible image at every pixel: what happens anywhere happens everywhere."""
  mean = pair.visible.mean(axis=(1, 2), keepdims=True)
  return fusion(jnp.broadcast_to(mean, pair.visible.shape))


def sample(name="a", size=(32, 40), seed=0, low=0.2, high=0.9) -> Sample:
  """A pair of independent random images without black pixels."""
  random = np.random.default_rng(seed)
  images = random.uniform(low, high, (2, *size, 1)).astype(np.float32)
  return Sample(name, Pair(*images))


def with_truth(pair: Pair, objects: np.ndarray, carrier: np.ndarray) -> Sample:
  """A sample with a label map [H, W] of objects and what carries them; nothing else is known."""
  others = [None] * (len(Scene.__dataclass_fields__) - 3)
  return Sample("scene", pair, Scene(pair, objects[..., None], carrier[..., None], *others))


def numbers(findings: list[Finding]) -> dict:
  """The means by (quantity, condition), or (quantity, condition, x) where there is an x."""
  return {
    (f.quantity, f.condition) if np.isnan(f.x) else (f.quantity, f.condition, f.x): f.estimate.mean
    for f in findings
  }
