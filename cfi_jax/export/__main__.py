"""Writes the inference of weights, or of a rule, as one file that other programs and libraries run.

  python -m cfi_jax.export --weights=medical --output=medical.zip
  python -m cfi_jax.export --weights=wavelet --format=onnx --sizes=480x640 --output=wavelet.onnx

stablehlo: a zip archive of programs for cpu, cuda and tpu, one for each of --sizes, which JAX runs
without this package. onnx: one graph of one size. The weights are inside, the batch may have any
size, and images smaller than a program's are given with their size. What was written is read again
and compared with the library first; nothing is left where they differ. docs/exporting.md
"""

from typing import Any

from cfi_jax.core import cli
from cfi_jax.weights import shipped

FORMATS = ("stablehlo", "onnx")
DTYPES = ("float32", "bfloat16", "float16")

FLAGS = {
  "weights": cli.Flag("as of python -m cfi_jax.fuse", shipped.DEFAULT, required=True),
  "format": cli.Flag("of the file", FORMATS[0], valid=FORMATS),
  "output": cli.Flag("the file to write, NAME.zip or NAME.onnx", required=True),
  "sizes": cli.Flag("HEIGHTxWIDTH of the largest images of each program, with commas", ["480x640"]),
  "gray": cli.Flag("visible images and results of one channel instead of RGB", False),
  "dtype": cli.Flag("of the network's computation", DTYPES[0], valid=DTYPES),
}


def main(given: dict[str, Any]) -> int:
  """Exports what the flags name."""
  from cfi_jax.export.command import export  # imported here, as help needs no JAX

  return export(given)


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
