"""Matching the frames of two recordings: by their times, or by their numbers, or not at all."""

import dataclasses

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.sequences.recording import Recording

FRAMES = ("shortest", "nearest")
SAME_RATE = 1e-3  # rates that differ by less are one
SLACK = 0.02  # of a frame, of rounded time stamps


@dataclasses.dataclass(frozen=True, eq=False)
class Matched:
  """The frames that belong together: number of the visible and of the infrared one of each.

  Both are int64 [N], ascending; an infrared frame may be there several times.
  """

  visible: np.ndarray
  infrared: np.ndarray


def match(
  visible: Recording, infrared: Recording, frames: str = "", offset: float = 0.0
) -> Matched:
  """Pairs the frames of two recordings.

  Those of recordings with times are paired by them, each visible frame with the infrared one that
  is within half a frame of it; without times by their number from the first.

  Args:
    frames: "": both have as many frames, in one rate. "shortest": the longer one is cut. "nearest":
      rates may differ and frames be missing; the infrared frame nearest in time is taken, once,
      often or never, and a visible frame without one is left out.
    offset: seconds by which the infrared camera started earlier; what has no partner is left out.

  Raises:
    InputError: the recordings do not fit, with their numbers and the flag that takes them anyway.
  """
  ours, theirs = visible.timing, infrared.timing
  for recording in (visible, infrared):
    if recording.timing.cut and not frames:
      raise InputError(f"{recording.title} {recording.timing.cut}; --frames=shortest takes it")
  if ours.base is None or theirs.base is None:
    return _by_number(visible, infrared, frames, offset)
  _require_one_rate(visible, infrared, frames)
  if not frames and not offset:
    _require_as_many(visible, infrared)
  times, others = ours.seconds + offset, theirs.seconds
  borders = (others[1:] + others[:-1]) / 2
  nearest = np.searchsorted(borders, times)
  apart = np.abs(others[nearest] - times)
  allowed = (0.5 + SLACK) * max(ours.step, theirs.step)
  inside = (times >= others[0] - allowed) & (times <= others[-1] + allowed)
  if not (inside & (apart <= allowed)).any():
    raise InputError(
      f"{visible.title} and {infrared.title} have no time in common with --offset={offset:g}"
    )
  late = inside & (apart > allowed)
  if late.any() and frames != "nearest":
    worst = int(np.argmax(np.where(inside, apart, -1)))
    raise InputError(
      f"frame {worst} of {visible.title} has none of {infrared.title} within half a frame "
      f"({1000 * apart[worst]:.0f} ms to the nearest, {1000 * allowed:.0f} allowed); "
      "--offset=SECONDS shifts the second, --frames=nearest leaves such frames out"
    )
  inside &= ~late
  twice = np.flatnonzero(np.diff(nearest[inside]) == 0)
  if frames != "nearest" and len(twice):
    first = int(np.flatnonzero(inside)[twice[0]])
    raise InputError(
      f"frames {first} and {first + 1} of {visible.title} have one nearest frame of "
      f"{infrared.title}, {nearest[first]}: their times are uneven; --frames=nearest takes it "
      "twice"
    )
  return Matched(np.flatnonzero(inside), nearest[inside])


def _by_number(visible: Recording, infrared: Recording, frames: str, offset: float) -> Matched:
  if frames == "nearest" or offset:
    which = visible.title if visible.timing.base is None else infrared.title
    flag = f"--offset={offset:g}" if offset else "--frames=nearest"
    raise InputError(f"{flag} needs times, and {which} has none; --rate=FRAMES_PER_SECOND gives it")
  if not frames:
    _require_as_many(visible, infrared)
  both = np.arange(min(len(visible.timing), len(infrared.timing)))
  return Matched(both, both)


def _require_as_many(visible: Recording, infrared: Recording) -> None:
  counts = [len(recording.timing) for recording in (visible, infrared)]
  if counts[0] != counts[1]:
    raise InputError(
      f"{visible.title} has {counts[0]} frames and {infrared.title} {counts[1]}; "
      "--frames=shortest leaves out those at the end of the longer one"
    )


def _require_one_rate(visible: Recording, infrared: Recording, frames: str) -> None:
  rates = [recording.timing.rate for recording in (visible, infrared)]
  if frames == "nearest" or rates[0] is None or rates[1] is None:
    return
  if abs(rates[0] / rates[1] - 1) > SAME_RATE:
    raise InputError(
      f"{visible.title} has {float(rates[0]):.4g} frames a second and {infrared.title} "
      f"{float(rates[1]):.4g}; --frames=nearest takes for each visible frame the infrared one "
      "nearest in time"
    )
