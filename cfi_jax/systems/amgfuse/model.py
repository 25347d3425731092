"""AMG-Fuse: three coupled U-Nets, and the restoration network that is trained before.

Source: "Multi-modality Image Fusion under Adverse Weather: Mask-Guided Feature Restoration and
Interaction" (arXiv 2606.26812) and the network its authors released.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct

from cfi_jax.core.types import Array, InputError
from cfi_jax.fusion import rule_options
from cfi_jax.systems.amgfuse import masks
from cfi_jax.systems.amgfuse import ways as ways_lib
from cfi_jax.systems.amgfuse.correction import CHANNELS, corrected
from cfi_jax.systems.amgfuse.coupling import STREAMS, Coupling, Streams
from cfi_jax.systems.amgfuse.folding import FOLDS, folded, unfolded
from cfi_jax.systems.amgfuse.histogram import Blocks
from cfi_jax.systems.amgfuse.layers import Convolution, Down, Output, Reduce, Stage, Up
from cfi_jax.systems.amgfuse.ways import Ways

NUMERATORS = ("visible", "infrared")


@struct.dataclass
class Fusions:
  """Results of the network for a batch, and the maps they were made from.

  visible, fused, infrared: outputs of the three streams [B, H, W, 3], neither cut nor squashed.
  masked: the visible image times the mask of the three images, [B, H, W, 3].
  raw_masks, masks: of every coupling, in order, [B, h, w, C] in (0, 1).
  before, after: the streams around every coupling.
  With `only_fused` all that it leaves out is None.
  """

  visible: Array
  fused: Array
  infrared: Array
  masked: Array
  raw_masks: tuple[Array, ...]
  masks: tuple[Array, ...]
  before: tuple[Streams, ...]
  after: tuple[Streams, ...]


class AMGFuse(nn.Module):
  """The fusion network, for heights and widths that are multiples of `step`.

  width: channels of the finest level; doubled at each next one.
  blocks, heads: of the fused stream, by level, finest first; blocks of the finest level are those
    of the decoder, the coarsest level has one stage. Heads divide the channels. One level has no
    decoder, and so no blocks but those of `refinement`.
  refinement: blocks after the decoder.
  mask, gate: parts that can be left out, for ablations: the couplings' masks, and the weights of
    what both modalities add to the fused stream.
  masked_by: output whose distance from the fused image is the numerator of the mask of `masked`:
    "visible" in the release; "infrared" as in all other masks.
  prior: "none", or the rule that fuses, with its options, as "wavelet:gain=1.2". The streams of
    both modalities then give gains and offsets of the images, as haze and its removal are, and the
    fused stream those of what the rule makes of the results; all are 0 before training. Ours.
  fold: 1, or the side of squares of pixels, of `FOLDS`, that are one pixel of the network each, so
    that it computes on maps of 1 / fold^2 of the pixels. Ours.
  """

  width: int
  blocks: tuple[int, ...]
  heads: tuple[int, ...]
  refinement: int
  mask: bool
  gate: bool
  masked_by: str
  prior: str
  fold: int
  ways: Ways

  def __post_init__(self):
    """Refuses values that no variant has."""
    check(self, least=16)
    for name in ("mask", "gate"):
      if type(getattr(self, name)) is not bool:
        raise InputError(f"model.{name}={getattr(self, name)!r}; allowed: True, False")
    if self.masked_by not in NUMERATORS:
      raise InputError(f"model.masked_by={self.masked_by!r}; valid: {', '.join(NUMERATORS)}")
    rule_options.prior_of(self.prior)
    if type(self.fold) is not int or self.fold not in FOLDS:
      raise InputError(f"model.fold={self.fold!r}; valid: {', '.join(map(str, FOLDS))}")
    super().__post_init__()

  @property
  def step(self) -> int:
    """Heights and widths are multiples of it."""
    return self.fold * 2 ** (len(self.blocks) - 1)

  @nn.compact
  def __call__(self, visible: Array, infrared: Array, only_fused: bool = False) -> Fusions:
    """Fuses degraded images [B, H, W, 3] and [B, H, W, 1] in [0, 1].

    only_fused: whether the other outputs, and what only they need, are left out.
    """
    check_images(self.step, visible, infrared)
    own, levels = self.ways, len(self.blocks)
    rule, coarsest = rule_options.prior_of(self.prior), 2 * levels - 2
    shortened = only_fused and rule is None  # a rule needs the other outputs
    taps: dict[str, list] = {name: [] for name in ("raw_masks", "masks", "before", "after")}

    def couple(streams: Streams, level: int) -> Streams:
      number = len(taps["masks"])
      coupling = Coupling(
        self.heads[level - 1], self.mask, self.gate, own, number == 0, name=f"coupling{number}"
      )
      last = shortened and number == coarsest
      after, raw, mask = coupling(streams, only_fused=last)
      for name, value in zip(taps, (raw, mask, streams, after), strict=True):
        taps[name].append(value)
      return after

    def each(kind: type, name: str, streams: Streams, *options: Any) -> Streams:
      parts = (kind(*options, own, name=f"{name}_{s}") for s in STREAMS)
      return Streams(*(part(x) for part, x in zip(parts, streams, strict=True)))

    def stages(name: str, streams: Streams, level: int, count: int) -> Streams:
      fused = Blocks(count, self.heads[level - 1], own, name=f"{name}_fused")(streams.fused)
      return Streams(
        *(Stage(own, name=f"{name}_{m}")(getattr(streams, m)) for m in STREAMS[:2]), fused
      )

    images = {"visible": visible.astype(own.dtype), "infrared": infrared.astype(own.dtype)}
    images = {m: folded(x, self.fold) for m, x in images.items()}
    first = [
      Stage(own, name=f"encoder1_{m}")(Convolution(self.width, own, name=f"embed_{m}")(x))
      for m, x in images.items()
    ]
    streams = couple(Streams(*first, sum(first)), 1)
    skips = [streams]
    for level in range(2, levels + 1):
      streams = each(Down, f"down{level - 1}", streams)
      streams = couple(stages(f"encoder{level}", streams, level, self.blocks[level - 1]), level)
      skips.append(streams)
    for level in range(levels - 1, 0, -1):
      streams = each(Up, f"up{level}", streams)
      joined = zip(streams, skips[level - 1], strict=True)
      streams = Streams(*(jnp.concatenate(both, -1) for both in joined))
      if level > 1:
        streams = each(Reduce, f"reduce{level}", streams)
      streams = couple(stages(f"decoder{level}", streams, level, self.blocks[level - 1]), level)
    channels = (3 if rule is None else CHANNELS) * self.fold**2
    if shortened:
      refined = Blocks(self.refinement, self.heads[0], own, name="refinement_fused")(streams.fused)
      outputs = Streams(None, None, Output(channels, False, own, name="output_fused")(refined))
    else:
      refined = stages("refinement", streams, 1, self.refinement)
      outputs = each(Output, "output", refined, channels, rule is not None)
    outputs = (None if x is None else unfolded(x.astype(own.exact), self.fold) for x in outputs)
    outputs = Streams(*outputs)
    if rule is not None:
      outputs = corrected(rule, visible, infrared, outputs)
    if only_fused:
      outputs = Streams(None, None, outputs.fused)
    masked = None if only_fused else self._masked(outputs, visible, infrared)
    found = {name: tuple(values) for name, values in taps.items()}
    return Fusions(**outputs._asdict(), masked=masked, **found)

  def _masked(self, outputs: Streams, visible: Array, infrared: Array) -> Array:
    """The visible image times the mask of the three images."""
    visible, infrared = (x.astype(self.ways.exact) for x in (visible, infrared))
    # In the release the numerator is the fused less the visible image, unlike in all other masks.
    subtracted = visible if self.masked_by == "visible" else infrared
    denominator = visible - infrared + outputs.fused + masks.EPSILON
    return masks.soft(masks.share(outputs.fused - subtracted, denominator)) * visible


class Restoration(nn.Module):
  """The restoration network: one U-Net of the fused stream's blocks, added to its input.

  width, blocks, heads, refinement: as of `AMGFuse`, but the finest level has blocks on both sides.
  """

  width: int
  blocks: tuple[int, ...]
  heads: tuple[int, ...]
  refinement: int
  ways: Ways

  def __post_init__(self):
    """Refuses values that no variant has."""
    check(self, least=2)
    super().__post_init__()

  @property
  def step(self) -> int:
    """Heights and widths are multiples of it."""
    return 2 ** (len(self.blocks) - 1)

  @nn.compact
  def __call__(self, image: Array) -> Array:
    """Restores images [B, H, W, 3]."""
    check_images(self.step, image)
    own, levels = self.ways, len(self.blocks)

    def blocks(name: str, x: Array, level: int, count: int) -> Array:
      return Blocks(count, self.heads[level - 1], own, name=name)(x)

    x = Convolution(self.width, own, name="embed")(image.astype(own.dtype))
    skips = []
    for level in range(1, levels + 1):
      x = blocks(f"encoder{level}", x, level, self.blocks[level - 1])
      skips.append(x)
      if level < levels:
        x = Down(own, name=f"down{level}")(x)
    for level in range(levels - 1, 0, -1):
      x = jnp.concatenate([Up(own, name=f"up{level}")(x), skips[level - 1]], -1)
      if level > 1:
        x = Reduce(own, name=f"reduce{level}")(x)
      x = blocks(f"decoder{level}", x, level, self.blocks[level - 1])
    x = blocks("refinement", x, 1, self.refinement)
    return image + Output(3, False, own, name="output")(x).astype(image.dtype)


NETWORKS = {"amgfuse": AMGFuse, "restoration": Restoration}
NOT_OPTIONS = ("name", "parent", "ways")  # fields of the modules that no config has
COMPUTED = (*ways_lib.WAYS, "dtype", "param_dtype")  # fields of a config that say how
DTYPES = {"dtype": ("bfloat16", "float32", "float64"), "param_dtype": ("float32", "float64")}
RANGES = {"width": 4096, "refinement": 64}
OLDER = {"prior": "none", "fold": 1}  # fields that files of earlier versions lack, of `AMGFuse`
FIXED = ("scale", "temperature")  # leaves that begin at 1
MOST_BLOCKS, LEVELS = 64, (1, 6)


def check(module: nn.Module, least: int) -> None:
  """Raises InputError for widths, blocks and heads that make no network; least: width."""
  for name, high in RANGES.items():
    value, low = getattr(module, name), least if name == "width" else 1
    if type(value) is not int or not low <= value <= high:
      raise InputError(f"model.{name}={value!r}; allowed: whole numbers from {low} to {high}")
  for name in ("blocks", "heads"):
    value = getattr(module, name)
    whole = isinstance(value, tuple) and all(type(n) is int and n >= 1 for n in value)
    if not whole or not LEVELS[0] <= len(value) <= LEVELS[1] or max(value) > MOST_BLOCKS:
      raise InputError(
        f"model.{name}={value!r}; allowed: {LEVELS[0]} to {LEVELS[1]} whole numbers from 1 to "
        f"{MOST_BLOCKS}, one per level"
      )
  if len(module.blocks) != len(module.heads):
    raise InputError(
      f"model.heads={module.heads!r} has {len(module.heads)} levels and model.blocks "
      f"{len(module.blocks)}; allowed: as many"
    )
  # The finest level's decoder has twice the channels, which its heads divide then, too.
  for level, heads in enumerate(module.heads):
    channels = module.width * 2**level
    if channels % 2 or channels % heads:
      raise InputError(
        f"model.width={module.width} has {channels} channels at level {level + 1}; they must be "
        f"even and a multiple of its {heads} heads"
      )


def check_images(step: int, *images: Array) -> None:
  """Raises AssertionError unless images are [B, H, W, 3 or 1] of one size, multiples of `step`."""
  for image, channels in zip(images, (3, 1), strict=False):
    chex.assert_shape(image, (None, None, None, channels))
  chex.assert_equal_shape_prefix(images, 3)
  height, width = images[0].shape[1:3]
  if height % step or width % step:
    raise AssertionError(f"images of {height}x{width}; allowed: multiples of {step}")


def make_model(options: Mapping[str, Any]) -> AMGFuse | Restoration:
  """The network of `options`: its name, "amgfuse" or "restoration", and all its fields.

  dtype and param_dtype are names; float64 needs JAX_ENABLE_X64=1. The ways of computing are those
  of `ways.WAYS`.
  """
  fields = dict(options)
  name = fields.pop("name", None)
  if name not in NETWORKS:
    raise InputError(f"no model {name!r}; valid: {', '.join(NETWORKS)}")
  own = [f.name for f in dataclasses.fields(NETWORKS[name]) if f.name not in NOT_OPTIONS]
  valid = [*own, *COMPUTED]
  if wrong := sorted(set(fields) ^ set(valid)):
    given = ", ".join(f"{k}={fields[k]!r}" if k in fields else k for k in wrong)
    raise InputError(f"model: missing or unknown: {given}; its fields: {', '.join(valid)}")
  for field, dtypes in DTYPES.items():
    if fields[field] not in dtypes:
      raise InputError(f"model.{field} is {fields[field]!r}; valid: {', '.join(dtypes)}")
    if fields[field] == "float64" and not jax.config.jax_enable_x64:
      raise InputError(f"model.{field} is 'float64', which needs JAX_ENABLE_X64=1")
  ways = ways_lib.choose(
    *(fields[k] for k in ("dtype", "param_dtype")), {k: fields[k] for k in ways_lib.WAYS}
  )
  lists = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.items() if k in own}
  return NETWORKS[name](**lists, ways=ways)


def architecture(options: Mapping[str, Any]) -> dict[str, Any]:
  """The `options` of a network that decide its variables and what they mean."""
  return {name: value for name, value in options.items() if name not in COMPUTED}


def from_architecture(architecture: Mapping[str, Any], dtype: str) -> AMGFuse | Restoration:
  """The network of an architecture that computes in `dtype`, in the fastest ways."""
  computed = {"dtype": dtype, "param_dtype": "float64" if dtype == "float64" else "float32"}
  older = OLDER if architecture.get("name") == "amgfuse" else {}
  return make_model({**older, **architecture, **dict.fromkeys(ways_lib.WAYS, "auto"), **computed})


def init(network: AMGFuse | Restoration, key: Array) -> dict:
  """Variables before training, a pure function of the key: as PyTorch initialises, see `bound`."""
  sizes = (1, network.step, network.step)
  images = [jnp.zeros((*sizes, 3))]
  if isinstance(network, AMGFuse):
    images.append(jnp.zeros((*sizes, 1)))
  # The parameters are those of any ways; these are traced fastest.
  plain = dataclasses.replace(network.ways, **ways_lib.PLAIN)
  bounds = jax.jit(network.clone(ways=plain).init)(key, *images)
  paths, tree = jax.tree_util.tree_flatten_with_path(bounds)
  count = sum(leaf.size for _, leaf in paths)
  numbers, start = jax.random.uniform(key, (count,), network.ways.param_dtype, -1, 1), 0
  leaves = []
  for path, leaf in paths:
    drawn = numbers[start : start + leaf.size].reshape(leaf.shape)
    leaves.append(leaf if path[-1].key in FIXED else leaf * drawn)
    start += leaf.size
  return jax.tree.unflatten(tree, leaves)
