"""Trains one network on visible, infrared, both, and fused images, and compares what it perceives.

  python -m cfi_jax.downstream --config=configs/downstream.py --workdir=runs/downstream
  python -m cfi_jax.downstream --config=configs/downstream.py --workdir=runs/downstream \\
      --fused=NAME:DIR --fused=NAME:FILE --fused=medical

--fused adds a row to those of the config: images of a folder, matched by name, or whatever weights
or a rule fuse; without a name weights and rules have their own. Writes summary.md, findings.csv
and report.html after every seed. Goes on where it was stopped. The same study without --fused:
python -m cfi_jax.study. Exits with 2 when the input cannot be used, with 1 when a training
diverges.
"""

import re
from collections.abc import Iterable
from typing import Any

from cfi_jax.core import cli, storage
from cfi_jax.core.types import InputError
from cfi_jax.fusion import rule_options
from cfi_jax.study import __main__ as study
from cfi_jax.weights import shipped

FLAGS = {
  "config": cli.NEEDED_CONFIG,
  "workdir": study.FLAGS["workdir"],
  "fused": cli.Flag("NAME:DIR, NAME:WEIGHTS or WEIGHTS; may be repeated", kind=tuple),
}


def main(given: dict[str, Any]) -> int:
  """Runs the study that the flags name, with the rows of --fused."""
  config = dict(given["config"])
  if config.get("study") != "downstream":
    raise InputError(
      f"--config is of the study {config.get('study')!r}; allowed here: configs/downstream.py"
    )
  added = parse_fused(given["fused"] or (), taken=(*config["order"], *config["fused"]))
  config["fused"] = config["fused"] | added
  config["order"] = (*config["order"], *added)
  return study.main({"config": config, "workdir": given["workdir"]})


def parse_fused(texts: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
  """{name: folder, weights or rule} of NAME:SOURCE or SOURCE texts.

  Raises InputError for a folder without a name, and for a name that is taken or given twice.
  """
  found: dict[str, str] = {}
  for text in texts:
    name, colon, source = text.partition(":")
    own = rule_options.is_rule(text) or text in shipped.SHA256 or storage.is_remote(text)
    if text and (own or not colon):
      name, source = _name(text), text
    if not (name and source):
      raise InputError(f"--fused={text}: expected NAME:DIR, NAME:WEIGHTS or WEIGHTS")
    if name in found or name in taken:
      names = ", ".join((*taken, *found))
      raise InputError(f"--fused={text}: the name {name!r} is taken; taken: {names}")
    found[name] = source
  return found


def _name(source: str) -> str:
  """The name of weights or a rule that were given none."""
  if rule_options.is_rule(source):
    return re.sub(r"[^\w.=-]+", "_", source)
  path = storage.path(source)
  if path.is_dir():
    raise InputError(f"--fused={source} is a folder; expected NAME:DIR")
  return path.stem


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
