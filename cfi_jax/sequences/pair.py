"""The two recordings that the flags of a command name, and their frames that belong together."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from cfi_jax.core import cli, storage
from cfi_jax.core.types import InputError
from cfi_jax.data import naming
from cfi_jax.data.naming import MODALITIES
from cfi_jax.sequences.matching import FRAMES, Matched, match
from cfi_jax.sequences.opening import is_recording, open_recording
from cfi_jax.sequences.recording import Recording

FLAGS = {
  "sequence": cli.Flag("folders are sequences of numbered frames", False),
  "frames": cli.Flag(
    "sequences of different lengths (shortest), or of different rates, too (nearest in time)",
    "",
    valid=FRAMES,
  ),
  "offset": cli.Flag("seconds by which the infrared sequence started earlier", 0.0),
  "rate": cli.Flag("frames a second of sequences that are folders or TIFFs: 25, 30000/1001", ""),
}


def is_sequence(given: Mapping[str, Any]) -> bool:
  """Whether flags name sequences: by --sequence, or as one of their files is a recording.

  Raises InputError for other flags of sequences where there is none.
  """
  paths = [storage.path(given[name]) for name in MODALITIES if given[name]]
  if given["sequence"] or any(is_recording(path) for path in paths):
    return True
  for name in ("frames", "offset", "rate"):
    if given[name] != FLAGS[name].default:
      raise InputError(
        f"--{name}={given[name]} is for sequences: videos, TIFFs of several pages, and folders "
        "with --sequence"
      )
  return False


def open_both(given: Mapping[str, Any]) -> tuple[list[Recording], Matched]:
  """The visible and the infrared recording that flags name, and their frames that are pairs.

  Raises InputError where one is missing, cannot be opened, or both do not fit (`match`).
  """
  for name in MODALITIES:
    if not given[name]:
      raise InputError(f"--{name} is missing; required of sequences are --visible and --infrared")
  rate, rule = _rate(given["rate"]), naming.from_options(given)
  visible, infrared = (
    open_recording(
      storage.path(given[name]),
      name,
      naming=rule,
      rate=rate,
      max_pixels=given["max_pixels"],
    )
    for name in MODALITIES
  )
  apart = visible.names and rule.affix("visible") != rule.affix("infrared")  # files of one folder
  if visible.title == infrared.title and not apart:
    raise InputError(f"{visible.title}: given as the visible and as the infrared sequence")
  return [visible, infrared], match(visible, infrared, given["frames"], given["offset"])


def _rate(text: str) -> Fraction | None:
  """Frames a second of --rate, such as 25, 29.97 or 30000/1001."""
  try:
    rate = Fraction(text) if text else None
  except (ValueError, ZeroDivisionError):
    rate = Fraction(0)
  if rate is not None and rate <= 0:
    raise InputError(f"--rate={text}; allowed: frames a second, such as 25, 29.97 or 30000/1001")
  return rate
