"""Options of the embedded world."""

import dataclasses

import jax

from cfi_jax.core.types import InputError


@dataclasses.dataclass(frozen=True)
class SceneOptions:
  """The world that scenes are drawn from. Probabilities are per object, but `night` is per scene.

  size: height and width in pixels. objects: least and greatest number of objects drawn.
  correlation: of the objects' temperature and brightness, in [-1, 1].
  night: share of scenes by night; a scene with a darkened object is one by night in any case.
  smoke, darkness: the object and its surroundings disappear behind smoke, in the dark (visible).
  crossover: the object is as warm as what lies behind it (infrared).
  read_noise, shot_noise: visible noise has variance read_noise^2 + shot_noise^2 * intensity.
  infrared_noise, pattern_noise: standard deviation of infrared noise, new in every scene, and of
    the column pattern that belongs to the sensor.
  infrared_blur: standard deviation of the infrared optics' Gaussian, in pixels; 0 is sharp.
  visibility: contrast, in standard deviations of a pixel's noise, from which on an image carries
    an object.

  A pytree: size and objects are static under jit, the numbers are traced, so that worlds that
  differ only in numbers share one compiled program.
  """

  size: int
  objects: tuple[int, int]
  correlation: float
  night: float
  smoke: float
  darkness: float
  crossover: float
  read_noise: float
  shot_noise: float
  infrared_noise: float
  pattern_noise: float
  infrared_blur: float
  visibility: float

  def __post_init__(self):
    """Raises InputError, naming the field and what is allowed."""
    if not _is_whole(self.size) or not 32 <= self.size <= 4096:
      raise InputError(f"size is {self.size!r}; allowed: a whole number from 32 to 4096")
    self._require_objects()
    ranges = {
      "correlation": (-1, 1),
      "infrared_blur": (0, 16),
      "visibility": (0, 100),
      **dict.fromkeys(("night", "smoke", "darkness", "crossover"), (0, 1)),
      **dict.fromkeys(("read_noise", "shot_noise", "infrared_noise", "pattern_noise"), (0, 0.5)),
    }
    for name, (low, high) in ranges.items():
      value = getattr(self, name)
      # Written so that nan is refused, too.
      if not isinstance(value, (int, float)) or not low <= value <= high:
        raise InputError(f"{name} is {value!r}; allowed: a number from {low} to {high}")

  def _require_objects(self):
    """Accepts a list, as configs hold it, but keeps a tuple: options are hashable."""
    if isinstance(self.objects, (list, tuple)) and len(self.objects) == 2:
      least, greatest = self.objects
      if _is_whole(least) and _is_whole(greatest) and 0 <= least <= greatest <= 32 and greatest:
        object.__setattr__(self, "objects", (least, greatest))
        return
    raise InputError(
      f"objects is {self.objects!r}; allowed: (least, greatest), whole numbers with "
      "0 <= least <= greatest and greatest from 1 to 32"
    )


def _is_whole(value) -> bool:
  return isinstance(value, int) and not isinstance(value, bool)


_STATIC = ("size", "objects")
_TRACED = tuple(f.name for f in dataclasses.fields(SceneOptions) if f.name not in _STATIC)


def _flatten(options: SceneOptions):
  return [getattr(options, n) for n in _TRACED], tuple(getattr(options, n) for n in _STATIC)


def _unflatten(static, traced) -> SceneOptions:
  """Skips the checks: under jit the numbers have no values yet."""
  options = object.__new__(SceneOptions)
  for name, value in [*zip(_STATIC, static, strict=True), *zip(_TRACED, traced, strict=True)]:
    object.__setattr__(options, name, value)
  return options


jax.tree_util.register_pytree_node(SceneOptions, _flatten, _unflatten)
