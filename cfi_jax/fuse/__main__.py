"""Fuses images: two files, or two folders whose images are paired by name.

  python -m cfi_jax.fuse --visible=PATH --infrared=PATH --output=PATH
  python -m cfi_jax.fuse --visible=BOTH --infrared=BOTH --visible_suffix=_rgb \\
      --infrared_suffix=_thermal --output=FUSED
  python -m cfi_jax.fuse --flir=PATH --align=rig.json --window=0C:40C --output=FUSED
  python -m cfi_jax.fuse --visible=V.mp4 --infrared=I.mkv --output=FUSED.mkv
  python -m cfi_jax.fuse --visible=PET --infrared=MRI --output=FUSED --weights=medical

  python -m cfi_jax.fuse ... --process_index=I --process_count=N; at last once with --join

Two volumes (DICOM series, NIfTI) become one, and pictures of its slices: docs/volumes.md.

Folders below the two are searched, too. Results keep the visible image's folder, name (less a
prefix or suffix that is given), colour and depth. Exits with 0 when every pair was fused, 1 when
some failed (each is listed; the others are written), 2 when nothing could be begun.
"""

from typing import Any

from cfi_jax.core import cli
from cfi_jax.data.naming import FLAGS as NAMING
from cfi_jax.data.shards import FLAGS as SHARDS
from cfi_jax.engine.cluster.flags import FLAGS as PROCESSES
from cfi_jax.fusion.rule_options import NAMES
from cfi_jax.images.palettes import PALETTES
from cfi_jax.images.ranges import OVER, RULES
from cfi_jax.images.read import MAX_PIXELS
from cfi_jax.sequences.pair import FLAGS as SEQUENCES
from cfi_jax.weights import shipped

FLAGS = {
  "visible": cli.Flag("visible image, folder or video (the coloured one: PET, SPECT)"),
  "infrared": cli.Flag("infrared image, folder or video (MRI)"),
  "flir": cli.Flag("in place of both: radiometric JPEG of FLIR, or folder, with a visible picture"),
  "output": cli.Flag(
    "file, or folder for folders; for sequences .mkv (FFV1, lossless), .mp4 (H.264, for looking), "
    ".tif or a folder",
    required=True,
  ),
  "visible_valid": cli.Flag(
    "mask, or folder of masks named as the visible images: black where they have no value", ""
  ),
  "infrared_valid": cli.Flag("the same for infrared images; one mask serves all of a folder", ""),
  **NAMING,
  **SEQUENCES,
  "weights": cli.Flag(
    f"one of {', '.join(shipped.of('isfuse'))}; a rule without training: {NAMES}, with options as "
    "in wavelet:gain=1.2,planes=5; or a weights file (python -m cfi_jax.convert)",
    shipped.DEFAULT,
    required=True,
  ),
  "gray": cli.Flag("write the fused luma without the visible image's colour", False),
  "format": cli.Flag("extension of the results in a folder", "png"),
  "resize": cli.Flag(
    "fit this image to the other one where sizes differ; other aspect ratios only with ,stretch",
    "",
    valid=("infrared", "infrared,stretch"),
  ),
  "align": cli.Flag(
    "two cameras: the file of python -m cfi_jax.align, or auto, which aligns each pair by itself",
    "",
  ),
  "normalize": cli.Flag(
    f"which values mean 0 and 1: {RULES}; or visible:RULE,infrared:RULE (docs/fusing.md)", "auto"
  ),
  "window": cli.Flag(
    "LOW:HIGH of infrared images, the values that mean 0 and 1: 0C:40C, 270K:320K, 32F:104F, or "
    "29000:31000 as stored; a rule of --normalize",
    "",
  ),
  "normalize_over": cli.Flag("what a range is found for", OVER[0], valid=OVER),
  "infrared_palette": cli.Flag(
    "turn the colours of false-coloured infrared images into values", "", valid=PALETTES
  ),
  "resample": cli.Flag("of volumes: bring the infrared one to the other's grid", False),
  "slices": cli.Flag(
    "of volumes: plane of the slices; by default across the largest spacing",
    "",
    valid=("axial", "coronal", "sagittal"),
  ),
  "skip_existing": cli.Flag("leave out pairs whose result exists", False),
  "dtype": cli.Flag("of the computation: float32, bfloat16, float64", "float32"),
  "memory_mb": cli.Flag("memory per device; larger images are tiled", kind=float),
  "max_pixels": cli.Flag("larger files are refused unread", MAX_PIXELS),
  **SHARDS,
  **PROCESSES,
}


def main(given: dict[str, Any]) -> int:
  """Fuses what the flags name."""
  from cfi_jax.engine.cluster import processes  # imported here, as help needs no JAX
  from cfi_jax.fuse.command import fuse

  again = "the same command with --skip_existing fuses the rest"
  return processes.run(processes.from_flags(given), lambda: fuse(given), again)


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
