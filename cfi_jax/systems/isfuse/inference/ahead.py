"""Programs of fusing for devices that need not be there: shapes take the place of arrays."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cfi_jax.engine import sharding
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.systems.isfuse.inference import buckets, geometry, programs
from cfi_jax.systems.isfuse.inference.fold import fold
from cfi_jax.systems.isfuse.inference.geometry import Frame
from cfi_jax.systems.isfuse.procedure import shapes


def lower_fuse(
  mesh: Mesh, architecture: Mapping[str, Any], dtype: str, batch: int, size: buckets.Size
) -> jax.stages.Lowered:
  """The program that fuses `batch` whole pairs of `size` on the devices of `mesh`.

  It is that of `Model.fuse` with weights of the architecture; with a prior it gives the trust, and
  the rule's program, which makes the picture of it, is another.
  """
  padding, grid, levels = (architecture[name] for name in ("padding", "grid", "levels"))
  frame = Frame(padding, grid, levels)
  bucket = buckets.choose(size, (), frame)
  _, where = geometry.whole(size, bucket, frame, geometry.fills(size, bucket, frame))
  ones = jax.tree.map(lambda x: np.ones(x.shape), shapes(dict(architecture)))
  computed = np.dtype(jax.numpy.dtype(dtype))
  kept = programs.kept_dtype(computed)
  window = jax.ShapeDtypeStruct((batch, *bucket), kept)
  split = (dict.fromkeys(MODALITIES, window), geometry.stack([where] * batch, kept))
  params = sharding.as_shapes(sharding.replicated(mesh), fold(ones, computed))
  return programs.lower("fuse", mesh, params, sharding.as_shapes(sharding.split(mesh), split))
