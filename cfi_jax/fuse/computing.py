"""Computing of pairs that are ready: fused, and back in the values they came in."""

from collections.abc import Callable, Sequence

import numpy as np

from cfi_jax.fuse import aligned
from cfi_jax.fuse.reading import Options, Ready
from cfi_jax.fusion import masks
from cfi_jax.fusion.fuser import Fuser


def fuse_ready(
  fusing: Fuser,
  pairs: Sequence[Ready],
  options: Options,
  types: Sequence[Callable[[np.dtype, int], np.dtype]],
) -> list[np.ndarray]:
  """Fused images [H, W, C] of pairs that share a bucket.

  types: for each the type of its result by that of the visible image and by its channels.
  """
  fused = fusing.fuse_pairs(
    [ready.visible.plain for ready in pairs],
    [ready.infrared.plain for ready in pairs],
    gray=options.gray,
    memory_mb=options.memory_mb,
    # Without masks only holes of aligned pairs come here, which show the visible image.
    valid=[
      masks.of_pair(ready.visible, ready.infrared) if fusing.takes_valid else None
      for ready in pairs
    ],
  )
  results = []
  for ready, image, type_for in zip(pairs, fused, types, strict=True):
    stored = ready.visible.stored
    dtype = type_for(stored.dtype, 1 if options.gray else stored.shape[-1])
    image = ready.visible.restore(image, options.gray, dtype)
    if ready.mask is not None:
      image = aligned.compose(image, ready.visible, ready.mask, options.gray, dtype)
    results.append(image)
  return results
