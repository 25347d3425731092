"""The folded network as one traced function for a frame (`fusion.graphs`), geometry inside."""

import math

import jax
import jax.numpy as jnp

from cfi_jax.core.types import Array
from cfi_jax.fusion import graphs
from cfi_jax.fusion.fuser import Size
from cfi_jax.fusion.graphs import LumaFunction
from cfi_jax.fusion.rule_options import Choice
from cfi_jax.fusion.types import Fusion
from cfi_jax.systems.isfuse.inference import geometry, graph
from cfi_jax.systems.isfuse.inference.geometry import Axis, Frame, Geometry


def luma_function(
  params: graph.Params, network: Frame, frame: Size, prior: Choice | None, plain: bool
) -> LumaFunction:
  """The fused luma of a frame, by the network or by the rule that it tells whom to trust.

  params: folded, constants of the function. plain: see `graphs.HasGraph`.
  """
  margin = network.margin
  window = geometry.smallest_bucket(frame, network)
  inside = tuple(slice(margin, margin + n) for n in frame)
  around = [(margin, m - margin - n) for n, m in zip(frame, window, strict=True)]
  rule = None if prior is None else graphs.of_rule(prior, frame, plain)

  def fuse(visible: Array, infrared: Array, size: Array) -> Array:
    windows = {
      "visible": jnp.pad(visible[..., 0], [(0, 0), *around]),
      "infrared": jnp.pad(infrared[..., 0], [(0, 0), *around]),
    }
    where = [
      geometry.axis(size[k], -margin, length, network, (0, math.inf))
      for k, length in enumerate(window)
    ]
    found = _integrate(params, windows, Geometry(*where))
    if rule is None:
      return jnp.clip(found.fused[:, *inside].astype(visible.dtype), 0, 1)
    trust = jax.tree.map(lambda x: x[:, *inside].astype(visible.dtype), found.trust)
    return rule(visible, infrared, size, trust)

  return fuse


def _integrate(params: graph.Params, windows: dict[str, Array], where: Geometry) -> Fusion:
  """The fusion of windows [B, H, W] with one geometry for all."""
  batch = windows["visible"].shape[0]

  def spread(axis: Axis) -> Axis:
    alone = jax.tree.map(lambda x: jnp.asarray(x)[None], axis)
    # Factors of products of matrices have as many as there are images, for converters to ONNX.
    pool = tuple(jnp.broadcast_to(x, (batch, *x.shape[1:])) for x in alone.pool)
    return alone._replace(pool=pool)

  shared = Geometry(*map(spread, where))
  features = graph.encode(params, windows, shared, plain=True)
  grids = graph.pool(features, shared)
  return graph.integrate(params, features, grids, shared, plain=True)
