"""Trained networks, ready to transfer poses between pictures of any size; all of it is ours."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.core.types import Array, InputError
from cfi_jax.datasets.figures.skeleton import JOINTS
from cfi_jax.images import ops, squares
from cfi_jax.systems.dfcnet.model import from_architecture
from cfi_jax.systems.dfcnet.networks import Networks, signed, unsigned
from cfi_jax.systems.dfcnet.samples import Transfer

DTYPES = ("float32", "bfloat16")


@dataclasses.dataclass(frozen=True)
class Transferrer:
  """Shows the person of one picture in the pose of another, with one set of weights.

  networks: of the architecture. params: {"estimator": ..., "network": ...} on the device.
  """

  networks: Networks
  params: Mapping[str, Any]

  @property
  def side(self) -> int:
    """Side in pixels of the squares that are computed."""
    return self.networks.architecture.side

  def transfer(
    self,
    source: np.ndarray,
    target: np.ndarray,
    source_keypoints: np.ndarray | None = None,
    target_keypoints: np.ndarray | None = None,
  ) -> np.ndarray:
    """The person of `target` in the pose of `source`, uint8 [H, W, 3] of the target's size.

    source, target: uint8 [H, W, 3], of any sizes, one person each. They are padded to squares by
    their border and scaled to `side`. Pixels far from the person and from the new pose are the
    target's own, in its full resolution; others are scaled up.
    source_keypoints, target_keypoints: [18, 3] in pixels of these pictures, x, y and 0 where a
    joint is missing; where None, they are read off the pictures. Raises InputError for arrays of
    another kind, and where there are no two joints.
    """
    (result,) = self.sequence([(source, source_keypoints)], target, target_keypoints)
    return result

  def sequence(
    self,
    sources: Iterable[tuple[np.ndarray, np.ndarray | None]],
    target: np.ndarray,
    target_keypoints: np.ndarray | None = None,
  ) -> Iterator[np.ndarray]:
    """`transfer` of every source with its keypoints in turn, such as the frames of a dance.

    The target's pose is read once for each; the room behind is the same in every frame.
    """
    whole = squares.pad(require_picture(target, "target"))
    small = self._shrink(whole)
    height, width = target.shape[:2]
    top, left = squares.margins(height, width)
    own = self._place(target_keypoints, target, "target")
    for source, keypoints in sources:
      wanted = self._shrink(squares.pad(require_picture(source, "source")))
      poses = (self._place(keypoints, source, "source"), own)
      made, region, found = jax.device_get(
        self._program(self.params, wanted[None], small[None], poses)
      )
      _require_person(found[:, 0])
      result = _insert(whole, made[0], region[0])
      yield result[top : top + height, left : left + width]

  @functools.cached_property
  def draw(self) -> Callable[[Transfer], Array]:
    """A compiled function: made pictures [B, S, S, 3] in [0, 1] of samples with their keypoints."""

    @jax.jit
    def drawn(params: Mapping[str, Any], samples: Transfer) -> Array:
      keypoints = (samples.source_keypoints, samples.target_keypoints)
      source, target = signed(samples.source), signed(samples.target)
      inputs = self.networks.prepare(params, source, target, keypoints)
      return unsigned(self.networks.draw(params["network"], inputs))

    return functools.partial(drawn, self.params)

  @functools.cached_property
  def read(self) -> Callable[[Array], Array]:
    """A compiled function: keypoints [B, K, 3], by the estimator, of pictures in [0, 1]."""
    program = jax.jit(lambda params, x: self.networks.read(params, signed(x)).keypoints)
    return functools.partial(program, self.params)

  @functools.cached_property
  def _program(self):
    return jax.jit(functools.partial(_draw, self.networks))

  def _place(
    self, keypoints: np.ndarray | None, picture: np.ndarray, role: str
  ) -> np.ndarray | None:
    """Keypoints of a picture in pixels of the network's side, [1, 18, 3]; None where not given."""
    if keypoints is None:
      return None
    if self.networks.architecture.pose_input == "estimator":
      raise InputError(
        f"keypoints of the {role} are given, and these weights read poses off pictures "
        "(model.pose_input='estimator'); leave them out"
      )
    keypoints = np.asarray(keypoints, np.float32)
    if keypoints.shape != (len(JOINTS), 3) or not np.isfinite(keypoints).all():
      raise InputError(
        f"keypoints of the {role} are {list(keypoints.shape)}; allowed: finite, [{len(JOINTS)}, 3]"
      )
    places = squares.move(keypoints[:, :2], *picture.shape[:2], self.side)
    there = (keypoints[:, 2:] > 0).astype(np.float32)
    return (np.concatenate([places, 2 * there], 1) * there)[None].astype(np.float32)

  def _shrink(self, square: np.ndarray) -> np.ndarray:
    """A square picture at the network's side, float32 in [0, 1]."""
    return squares.scale(square, self.side).astype(np.float32) / 255


def _draw(
  networks: Networks,
  params: Mapping[str, Any],
  source: Array,
  target: Array,
  poses: tuple[Array | None, Array | None],
) -> tuple[Array, Array, Array]:
  """Made pictures, the region that may differ from the target, and joints found, [2, B].

  source, target: [B, S, S, 3] in [0, 1]. poses: keypoints of both, read off where None.
  """
  keypoints = tuple(
    networks.read(params, signed(picture)).keypoints if own is None else own
    for picture, own in zip((source, target), poses, strict=True)
  )
  inputs = networks.prepare(params, signed(source), signed(target), keypoints)
  made = unsigned(networks.draw(params["network"], inputs))
  region = inputs.warped.region
  if not networks.architecture.keep_background:
    region = jnp.ones_like(region)
  found = jnp.stack([(points[..., 2] > 0).sum(-1) for points in keypoints])
  return made, region, found


def _require_person(found: np.ndarray) -> None:
  """Raises InputError where fewer than two joints were found in the source or the target."""
  for role, count in zip(("source", "target"), found, strict=True):
    if count < 2:
      raise InputError(f"{count} of {len(JOINTS)} joints were found in the {role}: nobody is seen")


def require_picture(picture: np.ndarray, role: str) -> np.ndarray:
  """The picture; raises InputError unless it is uint8 [H, W, 3] of 16 pixels or more a side."""
  if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
    raise InputError(
      f"the {role} is {picture.dtype} {list(picture.shape)}; allowed: uint8 [height, width, 3]"
    )
  if min(picture.shape[:2]) < 16:
    height, width = picture.shape[:2]
    raise InputError(f"the {role} has {width}x{height} pixels; allowed: 16 or more on each side")
  return picture


def _insert(whole: np.ndarray, made: np.ndarray, region: np.ndarray) -> np.ndarray:
  """The picture [N, N, 3] with what was made at the network's side put into the region, uint8."""
  side = whole.shape[0]
  made, region = (np.asarray(ops.resize(jnp.asarray(x), side, side)) for x in (made, region))
  share = region if side != made.shape[0] else (region > 0).astype(np.float32)
  result = whole + share * (255 * made - whole)
  return np.floor(np.clip(result, 0, 255) + 0.5).astype(np.uint8)


def load(
  variables: Mapping[str, Any],
  architecture: Mapping[str, Any],
  *,
  dtype: str = "float32",
  devices: Sequence[jax.Device] | None = None,
) -> Transferrer:
  """Inference with the variables of a weights file.

  dtype: of the convolutions, "float32" or "bfloat16". devices: the first of them is used.
  """
  if dtype not in DTYPES:
    raise InputError(f"dtype is {dtype!r}; valid for pose transfer: {', '.join(DTYPES)}")
  networks = Networks(from_architecture(architecture), jnp.dtype(dtype))
  params = jax.device_put(variables["params"], devices[0] if devices else None)
  return Transferrer(networks, params)
