"""Scores fused images beside trivial baselines.

  python -m cfi_jax.evaluate --visible=DIR --infrared=DIR --fused=NAME:DIR --output=DIR
  python -m cfi_jax.evaluate --visible=DIR --infrared=DIR --weights=medical --metrics=EN,SSIM \\
      --output=DIR
  python -m cfi_jax.evaluate --visible=DIR --infrared=DIR --weights=FILE --output=DIR \\
      --baselines=published.md#TNO
  python -m cfi_jax.evaluate --config=configs/figures.py --weights=figures.safetensors \\
      --output=DIR
  python -m cfi_jax.evaluate --config=configs/perception.py --weights=perception.safetensors \\
      --output=DIR
  python -m cfi_jax.evaluate --temporal --visible=V.mp4 --infrared=I.mkv --fused=NAME:FUSED.mkv \\
      --output=DIR
  python -m cfi_jax.evaluate --visible=RAIN/vi --infrared=RAIN/ir --clean_visible=CLEAN/vi \\
      --clean_infrared=CLEAN/ir --weights=FILE --output=DIR
  python -m cfi_jax.evaluate ... --process_index=I --process_count=N; at last once with --join

Prints the means; writes scores.csv, summary.md and report.html. Files of 16 bits per channel are
scored as 8 bits, round(value / 257). With clean images scores refer to them, and in files of their
own to the degraded ones; restored images are scored, too. Published means are rows beside the
scores, and ranked with them. Metrics are found whatever their capitals and dashes. With a config of
pose transfer its held-out people are transferred and scored instead; with one of perception the
labels and boxes of its held-out images. Sequences are scored over time with --temporal: flicker of
what stands still, and motion unlike the sources'. Exits with 2 when the input cannot be used.
"""

import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from cfi_jax.core import cli, storage
from cfi_jax.core.types import InputError
from cfi_jax.data import naming, shards
from cfi_jax.data.alignment import cut
from cfi_jax.data.naming import FLAGS as NAMES
from cfi_jax.data.parts import request_of
from cfi_jax.data.shards import FLAGS as SHARDS
from cfi_jax.evaluate import PROTOCOLS, Request, bulk, evaluate, perceptions
from cfi_jax.evaluate.temporal import evaluate_temporal, to_text
from cfi_jax.evaluate.transfers import Given, evaluate_transfers
from cfi_jax.metrics import CONVENTIONS
from cfi_jax.report.evaluation import write_means
from cfi_jax.systems.dfcnet.trials import HELD_OUT

FLAGS = {
  "visible": cli.Flag("folder of visible images; required without --config"),
  "infrared": cli.Flag("folder of infrared images; required without --config"),
  **NAMES,
  "fused": cli.Flag("NAME:DIR, a method and its images; may be repeated", kind=tuple),
  "weights": cli.Flag("weights (file or name) or a rule (wavelet:gain=1.2) to fuse with and score"),
  "clean_visible": cli.Flag("folder of clean visible images, where those given are degraded"),
  "clean_infrared": cli.Flag("folder of clean infrared images, where those given are degraded"),
  "restoration": cli.Flag("weights of a restoration network, which restores before fusing"),
  "output": cli.Flag("folder for scores.csv, summary.md and report.html", required=True),
  "convention": cli.Flag(f"one of {', '.join(CONVENTIONS)}; {Request.convention} by default"),
  "metrics": cli.Flag("names with commas; all of the convention by default", kind=list),
  "compare_to": cli.Flag("method that paired differences refer to; the first by default"),
  "baselines": cli.Flag("FILE.md#TABLE or FILE.csv, published means to rank the methods among"),
  "protocol": cli.Flag(f"one of {', '.join(PROTOCOLS)}; sets convention and metrics"),
  "temporal": cli.Flag(
    "score sequences over time (folders of frames, TIFFs, videos) instead", False
  ),
  "config": cli.Flag("config of pose transfer or perception, whose held-out split is scored"),
  "split": cli.Flag(f"with --config: one of {', '.join(HELD_OUT)}; {HELD_OUT[0]} by default"),
  "lpips": cli.Flag("with --config: state dict of lpips.LPIPS, saved by torch.save; adds LPIPS"),
  "fid": cli.Flag("with --config: state dict of pytorch-fid's Inception; adds FID"),
  "judge": cli.Flag("with --config: package or file of BlazePose, which then reads keypoints"),
  "skip_existing": cli.Flag("go on with the scores of an earlier start of this process", False),
  **SHARDS,
}
NETWORKS = ("lpips", "fid", "judge")
OF_TRANSFERS = ("config", "split", "weights", "output", *NETWORKS)

OVER_TIME = ("visible", "infrared", "fused", "output", "temporal", *NAMES)

LATER = ("compare_to", "baselines")  # flags of the report alone, which a join takes anew

CLEAN = {"visible": "clean_visible", "infrared": "clean_infrared"}  # flags by modality


def main(given: dict[str, Any]) -> int:
  """Scores what the flags name."""
  if given["config"] is not None:
    return of_config(given)
  for name in ("split", *NETWORKS):
    if given[name] is not None:
      raise InputError(f"--{name}={given[name]} without --config")
  for name in ("visible", "infrared"):
    if not given[name]:
      raise InputError(f"--{name} is missing; it is required: {FLAGS[name].text}")
  if given["temporal"]:
    return over_time(given)
  for name in ("convention", "metrics"):
    if given["protocol"] and given[name] is not None:
      raise InputError(f"--{name} is set by --protocol={given['protocol']}; leave it out")
  request = Request(
    visible=storage.path(given["visible"]),
    infrared=storage.path(given["infrared"]),
    fused=parse_methods(given["fused"] or ()),
    weights=given["weights"] or None,
    convention=given["convention"] or Request.convention,
    metrics=None if given["metrics"] is None else tuple(given["metrics"]),
    compare_to=given["compare_to"],
    protocol=given["protocol"] or "",
    naming=naming.from_options(given),
    clean={m: storage.path(given[f]) for m, f in CLEAN.items() if given[f]},
    restoration=given["restoration"] or None,
    published=given["baselines"] or None,
  )
  output, shard = storage.path(given["output"]), shards.from_flags(given)
  if given["skip_existing"] and shard is None:
    raise InputError("--skip_existing is for the part of one of several processes: --process_count")
  flags = {name: value for name, value in request_of(given).items() if name not in LATER}
  if shard is not None:
    scored, failed = bulk.score_part(request, output, shard, flags, keep=given["skip_existing"])
    print(f"scored {scored} images, {failed} failed; part {shard} is written; when all are, --join "
          f"makes the report in {output} of them")  # fmt: skip
    return 0  # a scheduler has nothing to do again; what failed the join lists
  failures: list[tuple[str, str]] = []
  if given["join"]:
    result, failures = bulk.join(request, output, given["process_count"], flags)
  else:
    result = evaluate(request, output)
  print(write_means(result.summary))
  if result.restoration is not None:
    print("\nrestored visible images against clean ones:")
    print(write_means(result.restoration))
  for note in result.notes:
    print(f"note: {cut(note)}")
  for name, why in failures:
    print(f"failed: {name}: {why}", file=sys.stderr)
  print(f"scored {len(result.scores.methods)} methods on {result.summary.images} images: {output}")
  return 1 if failures else 0


def over_time(given: dict[str, Any]) -> int:
  """Scores sequences over time."""
  for name, flag in FLAGS.items():
    if name not in OVER_TIME and given[name] != flag.default:
      raise InputError(
        f"--{name} is for single images; allowed with --temporal: --visible, --infrared, --fused, "
        "and the flags of names"
      )
  output = storage.path(given["output"])
  sources = {name: storage.path(given[name]) for name in ("visible", "infrared")}
  methods = parse_methods(given["fused"] or ())
  print(to_text(evaluate_temporal(sources, methods, naming.from_options(given), output)))
  print(f"scored {len(methods)} sequences over time: {output / 'temporal.csv'}")
  return 0


def of_config(given: dict[str, Any]) -> int:
  """Scores pose transfer on the people of a config, or perception on its labelled images."""
  for name, flag in FLAGS.items():
    if name not in OF_TRANSFERS and given[name] != flag.default:
      raise InputError(f"--{name} is for fused images; allowed with --config: --weights, --split")
  if not given["weights"]:
    raise InputError("--weights is missing; with --config it is required: weights to be scored")
  output = storage.path(given["output"])
  if given["config"].get("system") == "perception":
    for name in NETWORKS:
      if given[name] is not None:
        raise InputError(f"--{name} is for pose transfer, and the config is one of perception")
    split = given["split"] or perceptions.HELD_OUT[0]
    result = perceptions.evaluate_perception(given["config"], given["weights"], split, output)
    print(result.to_text())
    print(f"scored {len(result.names)} images: {output}")
    return 0
  networks = Given(**{name: given[name] or "" for name in NETWORKS})
  scored = evaluate_transfers(
    given["config"], given["weights"], given["split"] or HELD_OUT[0], output, networks
  )
  print(scored.to_text())
  print(f"scored {len(scored.methods)} methods on {len(scored.names)} transfers: {output}")
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
    methods[name] = storage.path(folder)
  return methods


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
