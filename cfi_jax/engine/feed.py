"""Where the samples of a run come from: pairs kept on the devices, or batches made by Grain."""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from cfi_jax.core.types import Array
from cfi_jax.data import pipeline, resident
from cfi_jax.data.source import Source
from cfi_jax.engine import sharding
from cfi_jax.engine.memory import GB
from cfi_jax.fusion.types import Pair
from cfi_jax.images.read import Header


@dataclasses.dataclass(frozen=True)
class Streamed:
  """Batches that Grain makes on the host.

  gigabytes: the size of all pairs, decoded. batch_size: global.
  """

  source: Source
  options: pipeline.Input
  seed: int
  batch_size: int
  gigabytes: float

  @property
  def description(self) -> str:
    """What is done with the pairs."""
    return (
      f"decoded pairs of {self.gigabytes:.3f} GB, more than input.device_gb = "
      f"{self.options.device_gb:g}, are read anew for every batch"
    )

  @property
  def advice(self) -> str:
    """What else frees memory."""
    return ""

  @property
  def images(self) -> Any:
    """Shapes of what stays on every device: nothing."""
    return ()

  @property
  def item(self) -> Pair:
    """Shapes of what a step takes from the host: its batch."""
    shape = (self.batch_size, self.options.crop, self.options.crop, 1)
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    return Pair(visible=image, infrared=image)

  def load(self, mesh: Mesh) -> Any:
    """What stays on every device: nothing."""
    del mesh
    return ()

  def cut(self, images: Any, item: Pair) -> Pair:
    """The batch of a step; traced."""
    del images
    return item

  def items(self, start: int, stop: int) -> Iterator[Pair]:
    """This process's rows of the batches of the steps after `start`, up to `stop`."""
    stretch = self._stretch(start, stop)
    batches = pipeline.train_batches(self.source, self.options, self.seed, stretch)
    return (Pair(**batch) for batch in batches)

  def _stretch(self, start: int, stop: int) -> pipeline.Stretch:
    return pipeline.Stretch(self.batch_size, start, stop, jax.process_index(), jax.process_count())


@dataclasses.dataclass(frozen=True)
class Resident(Streamed):
  """All pairs, decoded, on every device; a step takes six integers per sample from the host.

  Every process reads all pairs: shuffling is global.
  """

  layout: resident.Layout

  @property
  def description(self) -> str:
    """What is done with the pairs."""
    return f"decoded pairs of {self.gigabytes:.3f} GB stay on each device"

  @property
  def advice(self) -> str:
    """What else frees memory."""
    return ", or --config.input.device_gb=0, which keeps no pairs there"

  @property
  def images(self) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of the canvases."""
    layout = self.layout
    return {n: jax.ShapeDtypeStruct(layout.shapes[n], depth) for n, depth in layout.depths.items()}

  @property
  def item(self) -> jax.ShapeDtypeStruct:
    """Shape of what a step takes from the host: the rows of `pipeline.train_cuts`."""
    return jax.ShapeDtypeStruct((self.batch_size, 6), jnp.int32)

  def load(self, mesh: Mesh) -> dict[str, Array]:
    """Reads all pairs and puts them on every device of this process."""
    canvases = resident.read(self.source, self.layout)
    # Not device_put, which compares what all processes give: hundreds of megabytes.
    everywhere = sharding.replicated(mesh)
    return jax.tree.map(
      lambda x: jax.make_array_from_process_local_data(everywhere, x, x.shape), canvases
    )

  def cut(self, images: dict[str, Array], item: Array) -> Pair:
    """The batch of a step, float32 [B, crop, crop, 1]; traced."""
    cut = functools.partial(resident.cut, images, crop=self.options.crop)
    return Pair(**jax.vmap(cut)(item))

  def items(self, start: int, stop: int) -> Iterator[np.ndarray]:
    """This process's rows of integers of the steps after `start`, up to `stop`."""
    stretch = self._stretch(start, stop)
    return pipeline.train_cuts(self.source, self.layout.sizes, self.options, self.seed, stretch)


def choose(
  source: Source,
  headers: Sequence[Mapping[str, Header]],
  options: pipeline.Input,
  *,
  seed: int,
  batch_size: int,
) -> Streamed:
  """Resident if all pairs, decoded, are at most `options.device_gb`; told from headers alone."""
  layout = resident.lay_out(headers, options.crop)
  gigabytes = layout.bytes / GB
  if gigabytes > options.device_gb:
    return Streamed(source, options, seed, batch_size, gigabytes)
  return Resident(source, options, seed, batch_size, gigabytes, layout)
