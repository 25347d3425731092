"""Transfers poses: shows the person of one picture in the pose of another.

  python -m cfi_jax.transfer --source=POSE.png --target=PERSON.png --output=RESULT.png
  python -m cfi_jax.transfer --source=DANCE --target=PERSON.png --output=FRAMES
  python -m cfi_jax.transfer --source=DANCE --target=PERSON.png --output=DANCE.webp \\
      --weights=mine.safetensors

The source gives the pose, the target the person, clothes and room. A folder of sources, such as the
frames of a dance, gives a folder of results under the same names, or one animated picture where the
output is a .gif or .webp. Pictures are computed at the size that the weights were trained at. Poses
are read off the pictures, unless keypoint files say them: OpenPose's JSON (cfi_jax.keypoints writes
it) or poses of Everybody Dance Now. Exits with 0 when every picture was made, 1 when some failed
(each is listed; the others are written), 2 when nothing could be begun.
"""

from typing import Any

from cfi_jax.core import cli
from cfi_jax.images.read import MAX_PIXELS
from cfi_jax.weights import shipped

FLAGS = {
  "source": cli.Flag("picture whose pose is taken, or a folder of such pictures", required=True),
  "target": cli.Flag("picture of the person to show", required=True),
  "output": cli.Flag("file; for a folder of sources a folder, or a .gif or .webp", required=True),
  "weights": cli.Flag(
    f"one of {', '.join(shipped.of('dfcnet'))}; or a weights file (python -m cfi_jax.convert)",
    shipped.DEFAULT_TRANSFER,
    required=True,
  ),
  "source_keypoints": cli.Flag("keypoint file of the source; for a folder a folder of them"),
  "target_keypoints": cli.Flag("keypoint file of the target"),
  "format": cli.Flag("of results in a folder: png, jpg, bmp, tif, webp", "png"),
  "frame_ms": cli.Flag("milliseconds that an animated picture shows each result", 80),
  "dtype": cli.Flag("of the convolutions: float32, bfloat16", "float32"),
  "max_pixels": cli.Flag("larger files are refused unread", MAX_PIXELS),
}


def main(given: dict[str, Any]) -> int:
  """Transfers what the flags name."""
  from cfi_jax.transfer.command import transfer  # imported here, as help needs no JAX

  return transfer(given)


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
