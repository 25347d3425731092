"""Aligns two cameras: finds the homography from visible to infrared pixels from pairs they took.

  python -m cfi_jax.align --visible=PATH --infrared=PATH --save=rig.json --picture=check.png
  python -m cfi_jax.fuse --visible=PATH --infrared=PATH --align=rig.json --output=FUSED

Two files, two folders whose images are paired by name, or two sequences, all taken with the same
two cameras: three pairs suffice, ten of different scenes are better. Exits with 1, and writes no
rig, when what it found cannot be believed (docs/alignment.md), with 2 for unusable input.
"""

from typing import Any

from cfi_jax.core import cli
from cfi_jax.data.naming import FLAGS as NAMING
from cfi_jax.images.read import MAX_PIXELS
from cfi_jax.registration.mountings import MOUNTINGS
from cfi_jax.sequences.pair import FLAGS as SEQUENCES

FLAGS = {
  "visible": cli.Flag("visible image, folder or video"),
  "infrared": cli.Flag("infrared image, folder or video"),
  "flir": cli.Flag("in place of both: radiometric JPEG of FLIR, or folder, with a visible picture"),
  "save": cli.Flag("file to write, JSON", required=True),
  **NAMING,
  **SEQUENCES,
  "accept": cli.Flag("write the rig even if it cannot be believed", False),
  "picture": cli.Flag("picture to check it by: checkerboards and edges, before and after"),
  "pairs": cli.Flag("at most so many pairs or frames are taken, evenly", 10),
  "mounting": cli.Flag(
    "any: the infrared camera may also be turned by 90, 180 or 270 degrees, or mirrored",
    MOUNTINGS[0],
    valid=MOUNTINGS,
  ),
  "max_pixels": cli.Flag("larger files are refused unread", MAX_PIXELS),
}


def main(given: dict[str, Any]) -> int:
  """Aligns the cameras whose pairs the flags name."""
  from cfi_jax.align.command import align  # imported here, as help needs no JAX

  return align(given)


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
