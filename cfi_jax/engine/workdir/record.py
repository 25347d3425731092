"""The record of a run in its workdir: config, images, versions, devices; one workdir, one run."""

import dataclasses
import datetime
import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from cfi_jax.core import config as config_lib
from cfi_jax.core.files import write_atomically
from cfi_jax.core.types import InputError

FILE = "run.json"
CHECKPOINTS = "checkpoints"  # folder of the workdir, written by `cfi_jax.engine.workdir.checkpoint`
PACKAGES = (
  *("cfi_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy"),
  *("ml_collections", "pillow", "tensorflow-datasets"),
)


def check(
  workdir: pathlib.Path,
  config: Any,
  data: Mapping[str, Any],
  older: Mapping[str, Any] | None = None,
  computed: Sequence[str] = (),
) -> list[str]:
  """Refuses a workdir that holds another run, with the differences; writes nothing.

  config: the run's dataclass. data: identifies the images, per part. older: values of fields that
  an older version did not have (`Config.OLDER`). computed: fields that say how something is
  computed (`Config.COMPUTED`), which may change. Returns lines that say what was filled or changed.
  """
  if workdir.exists() and not workdir.is_dir():
    raise InputError(f"--workdir={workdir} is a file; it must be a folder or not be there yet")
  stored = read(workdir)
  if stored is None:
    if (workdir / CHECKPOINTS).is_dir() and any((workdir / CHECKPOINTS).iterdir()):
      raise InputError(f"{workdir} has checkpoints but no {FILE} that says of which run")
    return []
  now = _identity(config, data)
  there = {key: stored.get(key) for key in now}
  there["config"], filled = config_lib.complete(there["config"] or {}, older or {})
  found = dict(_differences("", there, now))
  how = {name: found.pop(name) for name in [f"config.{c}" for c in computed] if name in found}
  if found:
    differences = [f"{name}: {values}" for name, values in found.items()]
    raise InputError(
      f"{workdir} holds another run; differences (there, now): {'; '.join(differences)}. "
      "Choose another --workdir or give the same values"
    )
  lines = [f"{workdir} is of an older version, taken as: {', '.join(filled)}"] if filled else []
  if how:
    changes = "; ".join(f"{name} ({values})" for name, values in how.items())
    lines.append(f"{workdir} goes on, computed in another way (there, now): {changes}")
  return lines


def write(workdir: pathlib.Path, config: Any, data: Mapping[str, Any]) -> None:
  """Writes the record of a new run, or adds a start to that of the same run (see `check`)."""
  stored = read(workdir) or {"starts": []}
  stored |= _identity(config, data)
  stored["starts"].append(_environment())
  write_atomically(workdir / FILE, (json.dumps(stored, indent=2) + "\n").encode())


def _identity(config: Any, data: Mapping[str, Any]) -> dict[str, Any]:
  """Config and images, as they come back from JSON: tuples have become lists."""
  return json.loads(json.dumps({"config": dataclasses.asdict(config), "data": dict(data)}))


def read(workdir: pathlib.Path) -> dict | None:
  """The record of a workdir, None if it has none; `InputError` for a damaged one."""
  path = workdir / FILE
  if not path.exists():
    return None
  try:
    stored = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise InputError(f"{path}: damaged ({error})") from error
  if not isinstance(stored, dict) or not {"config", "data"} <= set(stored):
    raise InputError(f"{path}: is not the record of a run")
  return stored


def _environment() -> dict[str, Any]:
  """Versions, code and devices of this start."""
  return {
    "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    "python": platform.python_version(),
    "packages": {name: _version(name) for name in PACKAGES},
    "git": _git(),
    "devices": [device.device_kind for device in jax.devices()],
    "processes": jax.process_count(),
  }


def _version(package: str) -> str | None:
  """The installed version; None for a source tree that is not installed."""
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


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


def _differences(where: str, there: Any, now: Any) -> Iterator[tuple[str, str]]:
  """Path of every value that differs, and both values."""
  if isinstance(there, dict) and isinstance(now, dict):
    for key in sorted(there.keys() | now.keys()):
      name = f"{where}.{key}" if where else key
      yield from _differences(name, there.get(key), now.get(key))
  elif there != now:
    yield where, f"{there!r}, {now!r}"
