"""Objects painted into pairs that look like faults and are none, for training; ours.

A network that is shown holes learns that what is flat, and ends sharply, is a hole. Hot objects
that saturate an infrared camera and white walls are flat and end sharply too, small lights are as
single as lost pixels, and nothing is as flat as what lies beyond a scanner's field of view.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from cfi_jax.core import keys
from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.images.ops import assert_grey


@dataclasses.dataclass(frozen=True)
class DecoyOptions:
  """Objects that are drawn into a pair; whole numbers are drawn uniformly, both ends included.

  probability: of a pair with any. bright: least and greatest number of flat bright objects in each
    image, drawn for each by itself. size: least and greatest height and width of one in pixels,
    their logarithms uniform. levels: least and greatest grey level of one. lights: least and
    greatest number of small lights, each in either image or in both.
  narrow: probability that one of both images is black beyond a field of view of its own, as the
    scanners of one patient differ.
  """

  probability: float
  bright: tuple[int, int]
  size: tuple[int, int]
  levels: tuple[float, float]
  lights: tuple[int, int]
  narrow: float

  def __post_init__(self):
    """Refuses ranges that draw nothing."""
    for name in ("probability", "narrow"):
      if not 0 <= (value := getattr(self, name)) <= 1:
        raise InputError(f"decoys.{name} is {value}; allowed: 0 to 1")
    for name, least in (("bright", 0), ("size", 1), ("lights", 0)):
      low, high = getattr(self, name)
      if not least <= low <= high:
        raise InputError(f"decoys.{name} is {(low, high)}; allowed: {least} <= least <= greatest")
    low, high = self.levels
    if not 0 < low <= high <= 1:
      raise InputError(f"decoys.levels is {(low, high)}; allowed: 0 < least <= greatest <= 1")


def add(key: Array, pair: Pair, options: DecoyOptions) -> Pair:
  """The pair [H, W, 1] in [0, 1] with objects that belong to its scene; see `DecoyOptions`."""
  assert_grey(pair, rank=3)
  found = pair
  if options.bright[1]:
    images = {m: getattr(pair, m) for m in MODALITIES}
    found = Pair(**{m: _with_bright(keys.fold(key, m), x, options) for m, x in images.items()})
  if options.lights[1]:
    found = _with_lights(keys.fold(key, "lights"), found, options)
  if options.narrow:
    found = _narrowed(keys.fold(key, "narrow"), found, options.narrow)
  chosen = jax.random.bernoulli(keys.fold(key, "decoys"), options.probability)
  return jax.tree.map(lambda new, old: jnp.where(chosen, new.astype(old.dtype), old), found, pair)


def add_to_batch(key: Array, batch: Pair, options: DecoyOptions) -> Pair:
  """`add` to every pair of a batch [B, H, W, 1]; sample i has the key of i."""
  assert_grey(batch, rank=4)
  draws = keys.per_sample(keys.fold(key, "decoys"), len(batch.visible))
  return jax.vmap(lambda k, p: add(k, p, options))(draws, batch)


def _with_bright(key: Array, image: Array, options: DecoyOptions) -> Array:
  """The image with objects as bright as `levels` say where they are brighter than what is there.

  Each is a superellipse, between a disk and a rectangle, which at times has a smaller one on it.
  """
  most = options.bright[1]
  count_key, size_key, place_key, form_key, level_key, edge_key = jax.random.split(key, 6)
  shown = _shown(count_key, options.bright)
  ends = jnp.log(jnp.array(options.size, jnp.float32))
  size = jnp.exp(jax.random.uniform(size_key, (most, 2, 1, 1), minval=ends[0], maxval=ends[1]))
  place = jax.random.uniform(place_key, (most, 2, 1, 1))
  place *= jnp.array(image.shape[:2], jnp.float32).reshape(1, 2, 1, 1)
  power, headed = jax.random.uniform(form_key, (2, most, 1, 1))
  edge = jax.random.uniform(edge_key, (most, 1, 1), minval=0.15, maxval=1.2)  # pixels
  form = functools.partial(_form, image.shape, power=power, edge=edge)
  body = form(place, size)
  above = place - size * jnp.array([0.6, 0.0]).reshape(1, 2, 1, 1)
  of_head = jnp.maximum(size.min(1, keepdims=True) * 0.6, 1.0)
  head = form(above, jnp.broadcast_to(of_head, size.shape))
  cover = jnp.maximum(body, jnp.where(headed < 0.4, head, 0)) * shown
  low, high = options.levels
  level = jax.random.uniform(level_key, (most, 1, 1), minval=low, maxval=high)
  painted = image[None, ..., 0] * (1 - cover) + level * cover
  return jnp.maximum(image, painted.max(0)[..., None])


def _form(shape: tuple[int, ...], place: Array, size: Array, power: Array, edge: Array) -> Array:
  """The cover of every pixel by superellipses, [n, H, W] in [0, 1].

  place, size: [n, 2, 1, 1], of rows and columns in pixels. power: [n, 1, 1], from 0 of an ellipse
  to 1 of nearly a rectangle. edge: [n, 1, 1], its blur in pixels.
  """
  rows = jnp.arange(shape[0]).reshape(1, -1, 1)
  columns = jnp.arange(shape[1]).reshape(1, 1, -1)
  away = jnp.abs(jnp.stack(jnp.broadcast_arrays(rows - place[:, 0], columns - place[:, 1]), 1))
  exponent = 2 + 6 * power
  radius = ((2 * away / size + 1e-6) ** exponent[:, None]).sum(1) ** (1 / exponent)
  return jax.nn.sigmoid((1 - radius) * size.min(1) / 2 / edge)


def _narrowed(key: Array, pair: Pair, probability: float) -> Pair:
  """The pair, of which one image may be black beyond a superellipse about as large as the crop."""
  chosen_key, side_key, size_key, place_key, form_key = jax.random.split(key, 5)
  height, width = pair.visible.shape[:2]
  sides = jnp.array([height, width], jnp.float32).reshape(1, 2, 1, 1)
  size = sides * jax.random.uniform(size_key, (1, 2, 1, 1), minval=0.5, maxval=1.6)
  place = sides * jax.random.uniform(place_key, (1, 2, 1, 1))
  power = jax.random.uniform(form_key, (1, 1, 1))
  seen = _form(pair.visible.shape, place, size, power, jnp.full((1, 1, 1), 0.3))[0, ..., None]
  seen = jnp.where(jax.random.bernoulli(chosen_key, probability), seen, 1)
  narrowed = jax.random.randint(side_key, (), 0, len(MODALITIES))
  images = (getattr(pair, m) * jnp.where(narrowed == i, seen, 1) for i, m in enumerate(MODALITIES))
  return Pair(*images)


def _with_lights(key: Array, pair: Pair, options: DecoyOptions) -> Pair:
  """The pair with small Gaussian spots, as optics make of points."""
  most = options.lights[1]
  count_key, place_key, width_key, size_key, side_key = jax.random.split(key, 5)
  shown = _shown(count_key, options.lights)
  height, width = pair.visible.shape[:2]
  places = jax.random.uniform(place_key, (most, 2, 1, 1))
  widths = jax.random.uniform(width_key, (most, 1, 1), minval=0.5, maxval=2.0)  # pixels
  sizes = jax.random.uniform(size_key, (most, 1, 1), minval=0.3, maxval=1.0)
  rows = jnp.arange(height).reshape(1, -1, 1) - places[:, 0] * height
  columns = jnp.arange(width).reshape(1, 1, -1) - places[:, 1] * width
  spots = shown * sizes * jnp.exp(-(rows**2 + columns**2) / (2 * widths**2))
  side = jax.random.randint(side_key, (most, 1, 1), 0, 3)  # 2: both
  lit = {}
  for other, modality in enumerate(reversed(MODALITIES)):
    image = getattr(pair, modality)
    own = jnp.where(side == other, 0, spots).sum(0)[..., None]
    lit[modality] = jnp.clip(image + own, 0, jnp.maximum(image, 1))
  return Pair(**lit)


def _shown(key: Array, counts: tuple[int, int]) -> Array:
  """Which of the greatest number of objects there are, [most, 1, 1]."""
  count = jax.random.randint(key, (), counts[0], counts[1] + 1)
  return jnp.arange(counts[1]).reshape(-1, 1, 1) < count
