"""Interventions on one pair: masking, modality dropout, darkening.

Each is f(key, pair, options) -> pair for ONE pair [H, W, 1] in [0, 1]; `intervene` maps it over a
batch. Masks are True where a pixel is kept; removed pixels become what `options.fills` says.
Complementary and shared masking and dropout are those of arXiv 2603.23272; `one_sided`, `faulty`
and `darker` are ours.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from cfi_jax.core import keys
from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion.fillings import FILLS
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.images.ops import assert_grey


@dataclasses.dataclass(frozen=True)
class MaskOptions:
  """Options of the holes that masks have, and of darkening.

  holes: least and greatest number of holes per image, uniform, both included.
  size: least and greatest side of a square hole or diameter of a disk, in pixels, uniform.
  square_probability: probability that a hole is a square; else it is a disk.
  fill: the value of removed pixels, and of a removed image.
  darkest: the least factor of the intervention `darker`.
  fills: what holes hold, kinds of `FILLS`, of which every image draws one; ("value",): `fill`. A
    network that knows holes of one value takes all that has it for a hole.
  faulty: least and greatest share of pixels that a sensor lost, its logarithm uniform.
  brightest: greatest value that the kinds "any value" and "noise" give holes; what is flat and
    brighter is an object, hot or white, that saturated an image.
  dimmest: least value that holes, but those that "value" alone fills, and lost pixels have; where
    they would be darker, the image stays. Above 0 for images in which black is no fault.
  """

  holes: tuple[int, int]
  size: tuple[int, int]
  square_probability: float
  fill: float
  darkest: float
  fills: tuple[str, ...] = ("value",)
  faulty: tuple[float, float] = (0.001, 0.01)
  brightest: float = 1.0
  dimmest: float = 0.0

  def __post_init__(self):
    """Refuses ranges that draw nothing."""
    for name, least in (("holes", 0), ("size", 1)):
      low, high = getattr(self, name)
      if not least <= low <= high:
        raise InputError(f"masks.{name} is {(low, high)}; allowed: {least} <= least <= greatest")
    for name in ("square_probability", "fill", "dimmest"):
      if not 0 <= getattr(self, name) <= 1:
        raise InputError(f"masks.{name} is {getattr(self, name)}; allowed: 0 to 1")
    if not self.fills or not {*self.fills} <= {*FILLS}:
      raise InputError(f"masks.fills is {self.fills}; allowed: one or more of {', '.join(FILLS)}")
    low, high = self.faulty
    if not 0 < low <= high <= 1:
      raise InputError(f"masks.faulty is {(low, high)}; allowed: 0 < least <= greatest <= 1")
    for name in ("darkest", "brightest"):
      if not 0 < getattr(self, name) <= 1:
        raise InputError(f"masks.{name} is {getattr(self, name)}; allowed: above 0, to 1")


@dataclasses.dataclass(frozen=True)
class Intervention:
  """An intervention, and the parts of its result that are known before it runs.

  apply: f(key, pair, options) -> pair, for one pair.
  keeps: modalities that stay unchanged; their features are those of the original view.
  blanks: modalities that become `options.fill` everywhere; one sample stands for the batch.
  """

  apply: Callable[[Array, Pair, MaskOptions], Pair]
  keeps: tuple[str, ...] = ()
  blanks: tuple[str, ...] = ()


def sample_mask(
  key: Array,
  height: int,
  width: int,
  options: MaskOptions,
  canvas: tuple[int, int] | None = None,
) -> Array:
  """Draws a mask, bool [height, width, 1], with holes that lie inside the image.

  A disk holds the pixel centres within size / 2 of the centre of the square of its size.
  canvas: shape of a larger mask with the image in its top left corner; the same compiled operations
    then serve images of many sizes.
  """
  rows, columns = canvas or (height, width)
  most = options.holes[1]
  count_key, shape_key, size_key, top_key, left_key = jax.random.split(key, 5)
  count = jax.random.randint(count_key, (), options.holes[0], most + 1)
  square = jax.random.bernoulli(shape_key, options.square_probability, (most, 1, 1))
  size = jax.random.randint(size_key, (most, 1, 1), options.size[0], options.size[1] + 1)
  top = jax.random.randint(top_key, (most, 1, 1), 0, height - size + 1)
  left = jax.random.randint(left_key, (most, 1, 1), 0, width - size + 1)
  # Twice the distance from the centre of the square, so that it is a whole number.
  dy = jnp.abs(2 * (jnp.arange(rows).reshape(1, -1, 1) - top) - (size - 1))
  dx = jnp.abs(2 * (jnp.arange(columns).reshape(1, 1, -1) - left) - (size - 1))
  in_square = (dy < size) & (dx < size)
  in_disk = dy**2 + dx**2 <= size**2
  hole = jnp.where(square, in_square, in_disk) & (jnp.arange(most).reshape(-1, 1, 1) < count)
  return ~hole.any(axis=0)[..., None]


def complementary_masks(
  key: Array,
  height: int,
  width: int,
  options: MaskOptions,
  canvas: tuple[int, int] | None = None,
) -> Pair:
  """Draws one mask per modality so that no pixel is removed from both; see `sample_mask`.

  A pixel in the holes of both is given back to one of them at random.
  """
  visible_key, infrared_key, tie_key = jax.random.split(key, 3)
  visible = sample_mask(visible_key, height, width, options, canvas)
  infrared = sample_mask(infrared_key, height, width, options, canvas)
  both = ~visible & ~infrared
  to_visible = jax.random.bernoulli(tie_key, shape=both.shape)
  return Pair(visible=visible | (both & to_visible), infrared=infrared | (both & ~to_visible))


def apply_masks(pair: Pair, masks: Pair, fill: float) -> Pair:
  """Sets the pixels outside `masks` to `fill`; all images and masks are [..., H, W, 1]."""
  assert_grey(pair, masks)
  return jax.tree.map(lambda image, mask: jnp.where(mask, image, fill), pair, masks)


def _remove(key: Array, pair: Pair, masks: Pair, options: MaskOptions) -> Pair:
  """The pair with something else outside `masks`; see `MaskOptions.fills`."""
  if options.fills == ("value",):
    return apply_masks(pair, masks, options.fill)
  fillings = {}
  for modality in MODALITIES:
    kind_key, own_key = jax.random.split(keys.fold(key, "fills", modality))
    image = getattr(pair, modality)
    kind = jax.random.randint(kind_key, (), 0, len(options.fills))
    given = dict(value=options.fill, most=options.brightest)
    makers = [functools.partial(FILLS[name], **given) for name in options.fills]
    filling = jax.lax.switch(kind, makers, own_key, image)
    fillings[modality] = _replaced(image, ~getattr(masks, modality), filling, options)
  return Pair(**fillings)


def _replaced(image: Array, where: Array, values: Array, options: MaskOptions) -> Array:
  """The image with other values at some of its pixels, if they are not too dim."""
  if options.dimmest:
    where &= values >= options.dimmest
  return jnp.where(where, values, image)


def complementary(key: Array, pair: Pair, options: MaskOptions) -> Pair:
  """Removes spatially disjoint holes from the two images."""
  assert_grey(pair, rank=3)
  masks = complementary_masks(key, *pair.visible.shape[:2], options)
  return _remove(key, pair, masks, options)


def shared(key: Array, pair: Pair, options: MaskOptions) -> Pair:
  """Removes the same holes from both images."""
  assert_grey(pair, rank=3)
  mask = sample_mask(key, *pair.visible.shape[:2], options)
  return _remove(key, pair, Pair(visible=mask, infrared=mask), options)


def without_visible(key: Array, pair: Pair, options: MaskOptions) -> Pair:
  """Removes the visible image."""
  assert_grey(pair, rank=3)
  return pair.replace(visible=jnp.full_like(pair.visible, options.fill))


def without_infrared(key: Array, pair: Pair, options: MaskOptions) -> Pair:
  """Removes the infrared image."""
  assert_grey(pair, rank=3)
  return pair.replace(infrared=jnp.full_like(pair.infrared, options.fill))


def one_sided(key: Array, pair: Pair, options: MaskOptions) -> Pair:
  """Removes holes from one of the two images, either with probability 1/2.

  Where both images always have holes, a network may take those of one image as a sign that there
  are some in the other, and leave a hole that comes alone.
  """
  assert_grey(pair, rank=3)
  mask_key, side_key = jax.random.split(key)
  mask = sample_mask(mask_key, *pair.visible.shape[:2], options)
  in_visible = jax.random.bernoulli(side_key)
  masks = Pair(visible=mask | ~in_visible, infrared=mask | in_visible)
  return _remove(key, pair, masks, options)


def faulty(key: Array, pair: Pair, options: MaskOptions) -> Pair:
  """Gives pixels, and at times a row or a column, of either image a wrong value: black to white.

  The share of pixels is drawn, see `MaskOptions.faulty`; of its own for each image.
  """
  assert_grey(pair, rank=3)
  return Pair(*(_lose(keys.fold(key, m), getattr(pair, m), options) for m in MODALITIES))


def _lose(key: Array, image: Array, options: MaskOptions) -> Array:
  share_key, where_key, line_key, place_key, value_key, kind_key = jax.random.split(key, 6)
  low, high = map(math.log, options.faulty)
  share = jnp.exp(jax.random.uniform(share_key, (), minval=low, maxval=high))
  lost = jax.random.uniform(where_key, image.shape) < share
  row, column = jax.random.uniform(place_key, (2,))
  with_row, with_column = jax.random.bernoulli(line_key, 0.25, (2,))
  for axis, place, drawn in ((0, row, with_row), (1, column, with_column)):
    line = jnp.arange(image.shape[axis]) == (place * image.shape[axis]).astype(int)
    lost |= drawn & jnp.expand_dims(line, (1 - axis, 2))
  values = jax.random.uniform(value_key, image.shape, image.dtype)
  extreme = jax.random.bernoulli(kind_key)
  values = jnp.where(extreme, jnp.round(values), values)
  return _replaced(image, lost, values, options)


def darker(key: Array, pair: Pair, options: MaskOptions) -> Pair:
  """Multiplies each image by a factor between `options.darkest` and 1, its logarithm uniform.

  The levels of a data set are those of its cameras. A network that saw no dark pair may make grey
  of black ones.
  """
  assert_grey(pair, rank=3)
  visible_key, infrared_key = jax.random.split(key)

  def scale(key: Array, image: Array) -> Array:
    low = math.log(options.darkest)
    return image * jnp.exp(jax.random.uniform(key, (), image.dtype, minval=low, maxval=0))

  return Pair(visible=scale(visible_key, pair.visible), infrared=scale(infrared_key, pair.infrared))


INTERVENTIONS = {
  "complementary": Intervention(complementary),
  "shared": Intervention(shared),
  "without_visible": Intervention(without_visible, keeps=("infrared",), blanks=("visible",)),
  "without_infrared": Intervention(without_infrared, keeps=("visible",), blanks=("infrared",)),
  "one_sided": Intervention(one_sided),
  "faulty": Intervention(faulty),
  "darker": Intervention(darker),
}


def get(name: str) -> Intervention:
  """The intervention of that name; `InputError` lists the valid names."""
  if name not in INTERVENTIONS:
    raise InputError(f"no intervention {name!r}; valid: {', '.join(INTERVENTIONS)}")
  return INTERVENTIONS[name]


@dataclasses.dataclass(frozen=True)
class View:
  """A batch as one intervention shows it.

  pair: the images [B, H, W, 1]; a blank one is a batch of one.
  sources: the name of the image by modality; views share the images of equal names.
  """

  pair: Pair
  sources: dict[str, str]


def stand_alone(name: str, view: View, batch_size: int) -> View:
  """Returns the view with images of its own, and with blank ones for every sample."""
  pair = jax.tree.map(lambda x: jnp.broadcast_to(x, (batch_size, *x.shape[1:])), view.pair)
  return View(pair, dict.fromkeys(MODALITIES, name))


def original_view(batch: Pair) -> View:
  """Returns the batch [B, H, W, 1] as a view without an intervention."""
  assert_grey(batch, rank=4)
  return View(batch, dict.fromkeys(MODALITIES, "original"))


def intervene(name: str, key: Array, batch: Pair, options: MaskOptions) -> View:
  """Applies the intervention to a batch [B, H, W, 1]; the name and i give sample i its key."""
  assert_grey(batch, rank=4)
  intervention = get(name)
  draws = keys.per_sample(keys.fold(key, name), len(batch.visible))
  pair = jax.vmap(lambda k, p: intervention.apply(k, p, options))(draws, batch)
  sources = {}
  for modality in MODALITIES:
    if modality in intervention.keeps:
      sources[modality] = "original"
    elif modality in intervention.blanks:
      sources[modality] = "blank"
      one = getattr(batch, modality)[:1]
      pair = pair.replace(**{modality: jnp.full_like(one, options.fill)})
    else:
      sources[modality] = name
  return View(pair, sources)
