"""The type of a metric: name, direction, range, conventions, and the call that checks its input."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array, InputError

CONVENTIONS = {
  "tang": "the MATLAB toolkit Linfeng-Tang/Evaluation-for-Image-Fusion, as it really behaves",
  "cddfuse": "Evaluator.py of Zhaozixiang1228/MMIF-CDDFuse",
  "strict": "textbook definitions on 8-bit images, finite on every image (except PSNR)",
}


class Score(NamedTuple):
  """One metric of one triplet.

  value: float scalar. Under `tang` and `cddfuse` it is NaN or infinite where the toolkit's is.
  degenerate: bool scalar, true where the images hold nothing that the metric can measure. Under
    `strict` the value is then the agreed one, finite but for PSNR = +inf. Leave such images out of
    means.
  """

  value: Array
  degenerate: Array | bool = False


class Images(NamedTuple):
  """A triplet on a canvas: levels 0..255, int32 [H, W], of which the top left height x width count.

  Pixels outside that rectangle never enter a metric. One compiled program thus serves every size
  that fits on its canvas, with the result of the exact size.
  """

  visible: Array
  infrared: Array
  fused: Array
  height: Array | int
  width: Array | int

  def floats(self) -> Array:
    """(infrared, visible, fused) as floats [3, H, W]."""
    return jnp.stack((self.infrared, self.visible, self.fused)).astype(float)


@dataclasses.dataclass(frozen=True, eq=False)
class Metric:
  """One metric: a pure function of one triplet, and the facts that reading its value takes.

  Attributes:
    name: the short name used in tables (for example "Qabf").
    title: the long name.
    direction: "higher" or "lower": which is better.
    ranges: per convention under which the metric is defined, (lowest, highest) value; nominal for
      FMI, whose model may leave it slightly.
    function: (Images, convention) -> Score; called through the metric, which checks the input.
    minimum_sides: smallest image side in pixels; per convention where conventions differ.
    unit: of the value; empty for a ratio.
  """

  name: str
  title: str
  direction: str
  ranges: Mapping[str, tuple[float, float]]
  function: Callable[[Images, str], Score]
  minimum_sides: int | Mapping[str, int] = 1
  unit: str = ""

  @property
  def conventions(self) -> tuple[str, ...]:
    """The conventions under which the metric is defined."""
    return tuple(self.ranges)

  def minimum_side(self, convention: str) -> int:
    """Smallest height and width in pixels for which the metric is defined."""
    self.check(convention)
    if isinstance(self.minimum_sides, int):
      return self.minimum_sides
    return self.minimum_sides[convention]

  def check(self, convention: str) -> None:
    """Raises InputError when the metric is not defined under the convention."""
    check_convention(convention)
    if convention not in self.ranges:
      raise InputError(
        f"{self.name} is not defined under convention {convention!r}; "
        f"it is under {', '.join(self.conventions)}"
      )

  def __call__(
    self,
    visible: Array,
    infrared: Array,
    fused: Array,
    *,
    convention: str,
    size: tuple[Array, Array] | None = None,
  ) -> Score:
    """Scores one triplet; pure, jittable and vmappable (convention is static).

    Args:
      visible, infrared, fused: integer levels 0..255, [H, W] or [H, W, 1], all of one shape.
      convention: "tang", "cddfuse" or "strict".
      size: (height, width) of the image where it fills only the top left of the arrays; traced
        values are allowed, so that images of different sizes share one compiled program.

    Returns:
      Score of float scalar and bool scalar: float32, or float64 where jax_enable_x64 is on.

    Raises:
      InputError: unknown convention, floating-point input, levels outside 0..255 (in NumPy
        arrays), different shapes, or an image (an array, where `size` is given) smaller than
        the metric's minimum side.
    """
    side = self.minimum_side(convention)
    arrays = [_levels(x, name) for x, name in
              ((visible, "visible"), (infrared, "infrared"), (fused, "fused"))]  # fmt: skip
    shapes = [x.shape for x in arrays]
    if len(set(shapes)) != 1:
      raise InputError(f"visible, infrared and fused differ in shape: {shapes}")
    if min(shapes[0]) < side:
      raise InputError(
        f"{self.name} ({convention}) needs images of at least {side}x{side} pixels, "
        f"got {shapes[0][0]}x{shapes[0][1]}"
      )
    height, width = shapes[0] if size is None else size
    score = self.function(Images(*arrays, height, width), convention)
    return Score(jnp.asarray(score.value, float), jnp.asarray(score.degenerate, bool))


def check_convention(convention: str) -> None:
  """Raises InputError, listing the valid names, when the convention is unknown."""
  if convention not in CONVENTIONS:
    raise InputError(f"unknown convention {convention!r}; valid: {', '.join(CONVENTIONS)}")


def _levels(x: Array, name: str) -> Array:
  """int32 [H, W] of an integer array [H, W] or [H, W, 1]."""
  whole = isinstance(x, np.ndarray) and np.issubdtype(x.dtype, np.integer) and x.size
  if whole and (x.min() < 0 or x.max() > 255):
    raise InputError(f"{name}: levels {x.min()}..{x.max()}; allowed: 0..255")
  x = jnp.asarray(x)
  if not jnp.issubdtype(x.dtype, jnp.integer):
    raise InputError(
      f"{name}: metrics take integer levels 0..255, got {x.dtype}; "
      "round first (metrics.grey_levels for files, metrics.quantise for images in [0, 1])"
    )
  if x.ndim == 3 and x.shape[-1] == 1:
    x = x[..., 0]
  if x.ndim != 2:
    raise InputError(f"{name}: metrics take one image [H, W] or [H, W, 1], got shape {x.shape}")
  return x.astype(jnp.int32)
