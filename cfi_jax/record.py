"""The record of a run in its workdir: what was run, with what, on what; one workdir, one run."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from cfi_jax.types import InputError

FILE = "run.json"
PACKAGES = ("cfi_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy")


def claim(workdir: pathlib.Path, config: Any, data: Mapping[str, Any]) -> None:
  """Writes the record of a new run, or adds a start to the record of the same run.

  config: the run's dataclass. data: what identifies the images, per split. Every process of a run
  calls this; the first one writes. A workdir whose record has another config or other images is an
  `InputError` with the differences.
  """
  path = workdir / FILE
  # Through JSON, so that tuples and lists of a stored record compare equal to the run's.
  identity = json.loads(json.dumps({"config": dataclasses.asdict(config), "data": dict(data)}))
  record = read(workdir) or {**identity, "starts": []}
  differences = list(_differences("", {k: record[k] for k in identity}, identity))
  if differences:
    raise InputError(
      f"{workdir} holds another run; differences (there, now): {'; '.join(differences)}. "
      "Choose another --workdir or give the same values"
    )
  if jax.process_index():
    return
  record["starts"].append(_environment())
  workdir.mkdir(parents=True, exist_ok=True)
  unfinished = path.with_suffix(".tmp")
  unfinished.write_text(json.dumps(record, indent=2) + "\n")
  os.replace(unfinished, path)


def read(workdir: pathlib.Path) -> dict | None:
  """The record of a workdir, None if it has none."""
  path = workdir / FILE
  return json.loads(path.read_text()) if path.exists() else None


def _environment() -> dict[str, Any]:
  """Versions, code and devices of this start."""
  return {
    "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    "git": _git(),
    "devices": [device.device_kind for device in jax.devices()],
    "processes": jax.process_count(),
  }


def _git() -> dict[str, Any] | None:
  """Commit of the source tree and whether it was changed; None outside a checkout."""
  folder = pathlib.Path(__file__).parent

  def git(*arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

  try:
    if not git("ls-files", "record.py"):  # installed inside another project's checkout
      return None
    return {"commit": git("rev-parse", "HEAD"), "changed": bool(git("status", "--porcelain"))}
  except (OSError, subprocess.CalledProcessError):
    return None


def _differences(where: str, there: Any, now: Any) -> Iterator[str]:
  if isinstance(there, dict) and isinstance(now, dict):
    for key in sorted(there.keys() | now.keys()):
      name = f"{where}.{key}" if where else key
      yield from _differences(name, there.get(key), now.get(key))
  elif there != now:
    yield f"{where}: {there!r}, {now!r}"
