"""Finds the keypoints of people in pictures, by BlazePose.

  python -m cfi_jax.keypoints --images=PERSON/train/frames --model=mediapipe-pose-0.5.1675469404.tgz

Writes OpenPose's JSON (18 points of COCO) for every picture, as training on frames reads it: beside
a folder `frames` into `keypoints`, unless --output names another folder. Of several people in a
picture one is found. Points that are unsure or outside of the picture are missing, 0, 0, 0. The
network is not part of this package and never downloaded: `npm pack @mediapipe/pose` fetches a
package that holds it (Apache-2.0). Exits with 0 when every picture was read, 1 when some could not
be (each is listed), 2 when nothing could be begun.
"""

from typing import Any

from cfi_jax.core import cli
from cfi_jax.images.read import MAX_PIXELS

SIZES = ("lite", "full", "heavy")
FLAGS = {
  "images": cli.Flag("folder of pictures, one person each", required=True),
  "model": cli.Flag("pose_landmark_*.tflite, or a package or folder that holds it", required=True),
  "size": cli.Flag("which of the networks of a package", "full", valid=SIZES),
  "output": cli.Flag("folder for NAME_keypoints.json; `keypoints` beside the pictures by default"),
  "max_pixels": cli.Flag("larger files are refused unread", MAX_PIXELS),
}


def main(given: dict[str, Any]) -> int:
  """Finds the keypoints of the pictures that the flags name."""
  from cfi_jax.keypoints.command import find_all  # imported here, as help needs no JAX

  return find_all(given)


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
