"""Scores fused images: python -m cfi_jax.evaluate.

python -m cfi_jax.evaluate --visible=DIR --infrared=DIR --fused=NAME:DIR [--fused=NAME:DIR ...] \
  [--weights=FILE_OR_NAME] --output=DIR [--convention=tang] [--metrics=EN,SSIM] [--compare_to=NAME]

Writes scores.csv, summary.md and report.html. Exits with 2 when the input cannot be used.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import cut
from cfi_jax.evaluate import PROTOCOLS, Request, evaluate
from cfi_jax.metrics import CONVENTIONS

_FLAGS = {
  "visible": (flags.DEFINE_string, None, "folder of visible images"),
  "infrared": (flags.DEFINE_string, None, "folder of infrared images"),
  "fused": (flags.DEFINE_multi_string, [], "NAME:DIR, a method and its images; may be repeated"),
  "weights": (
    flags.DEFINE_string,
    None,
    "weights (file or name) to fuse with and score",
  ),
  "output": (flags.DEFINE_string, None, "folder for scores.csv, summary.md and report.html"),
  "convention": (flags.DEFINE_string, "tang", f"one of {', '.join(CONVENTIONS)}"),
  "metrics": (flags.DEFINE_list, None, "names with commas; all of the convention by default"),
  "compare_to": (flags.DEFINE_string, None, "method that paired differences refer to"),
  "protocol": (flags.DEFINE_string, "", f"one of {', '.join(PROTOCOLS)}; sets the metrics"),
}


def main(argv: list[str]) -> int:
  """Scores what the flags name."""
  given = cli.flag_values(argv, _FLAGS, required=("visible", "infrared", "output"))
  for name in ("convention", "metrics"):
    if given["protocol"] and flags.FLAGS[name].present:
      raise InputError(f"--{name} is set by --protocol={given['protocol']}; leave it out")
  request = Request(
    visible=pathlib.Path(given["visible"]),
    infrared=pathlib.Path(given["infrared"]),
    fused=parse_methods(given["fused"]),
    weights=pathlib.Path(given["weights"]) if given["weights"] else None,
    convention=given["convention"],
    metrics=None if given["metrics"] is None else tuple(given["metrics"]),
    compare_to=given["compare_to"],
    protocol=given["protocol"],
  )
  output = pathlib.Path(given["output"])
  result = evaluate(request, output)
  for note in result.notes:
    print(f"note: {cut(note)}")
  print(f"scored {len(result.scores.methods)} methods on {result.summary.images} images: {output}")
  return 0


def parse_methods(texts: Sequence[str]) -> dict[str, pathlib.Path]:
  """{NAME: DIR} of NAME:DIR texts; raises InputError for another form or a name given twice."""
  methods: dict[str, pathlib.Path] = {}
  for text in texts:
    name, colon, folder = text.partition(":")
    if not (name and colon and folder):
      raise InputError(f"--fused={text}: expected NAME:DIR")
    if name in methods:
      raise InputError(f"--fused={text}: the name {name!r} is given twice")
    methods[name] = pathlib.Path(folder)
  return methods


if __name__ == "__main__":
  for flag, (define, default, text) in _FLAGS.items():
    define(flag, default, text)
  cli.run(main)
