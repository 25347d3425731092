"""Ways in which an infrared camera is mounted beside a visible one."""

import itertools
from collections.abc import Sequence

import numpy as np

MOUNTINGS = ("upright", "any")


def mounted(
  infrareds: Sequence[np.ndarray], mounting: str
) -> list[tuple[list[np.ndarray], np.ndarray]]:
  """Infrared images [H, W] as they look upright, and the homography back to their own pixels.

  One entry for "upright"; for "any" one for each quarter turn, without and with a mirror.
  """
  if mounting == MOUNTINGS[0]:
    return [(list(infrareds), np.eye(3))]
  found = []
  for mirrored, quarters in itertools.product((False, True), range(4)):
    images = [_turn(image, mirrored, quarters) for image in infrareds]
    y, x = (_turn(place, mirrored, quarters) for place in np.indices(infrareds[0].shape))
    back = [
      [a[0, 1] - a[0, 0], a[1, 0] - a[0, 0], a[0, 0]]
      for a in (x, y)  # of the own pixel, whose place changes by one from pixel to pixel
    ]
    found.append((images, np.array([*back, [0, 0, 1]], np.float64)))
  return found


def _turn(image: np.ndarray, mirrored: bool, quarters: int) -> np.ndarray:
  return np.ascontiguousarray(np.rot90(image[:, ::-1] if mirrored else image, quarters))
