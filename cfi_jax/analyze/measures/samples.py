"""The pairs that an analysis looks at, with the truth where it is known."""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.datasets.world.scenes import BOTH, INFRARED, NONE, VISIBLE, Scene
from cfi_jax.fusion.types import Pair

# The object pixels of a scene by what carries them.
CARRIERS = {"visible": VISIBLE, "infrared": INFRARED, "both": BOTH, "neither": NONE}


@dataclasses.dataclass(frozen=True)
class Sample:
  """One pair, [H, W, 1] floating point in [0, 1] on the host, under its name.

  truth: the scene of the synthetic world that it shows, None for real images.
  """

  name: str
  pair: Pair
  truth: Scene | None = None

  @property
  def size(self) -> tuple[int, int]:
    """Height and width in pixels."""
    return self.pair.visible.shape[:2]

  @property
  def batch(self) -> Pair:
    """The pair as a batch of one."""
    return jax.tree.map(lambda image: image[None], self.pair)

  def regions(self) -> dict[str, np.ndarray]:
    """Masks bool [H, W] by "carried by ..." and "background"; empty without truth."""
    if self.truth is None:
      return {}
    objects, carrier = (np.asarray(x)[..., 0] for x in (self.truth.objects, self.truth.carrier))
    found = {
      f"carried by {name}": (objects > 0) & (carrier == value) for name, value in CARRIERS.items()
    }
    return {**found, "background": objects == 0}


def from_scenes(scenes: Scene) -> list[Sample]:
  """Samples of scenes with a leading axis, as `cfi_jax.datasets.synthetic.scenes` returns them."""
  count = len(np.asarray(scenes.night))
  each = [jax.tree.map(lambda field, i=i: np.asarray(field)[i], scenes) for i in range(count)]
  return [Sample(f"scene {i:04d}", scene.pair, scene) for i, scene in enumerate(each)]


def require(samples: Sequence[Sample]) -> None:
  """Refuses an empty sequence: there is nothing to estimate."""
  if not len(samples):
    raise InputError("no pair to analyse; allowed: one or more")
