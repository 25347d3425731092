"""The record of a run in its workdir: config, images, versions, devices; one workdir, one run."""

import contextlib
import dataclasses
import datetime
import importlib.metadata
import json
import pathlib
import platform
import subprocess
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax

from cfi_jax.core import config as config_lib
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.data.listing import shorten

FILE = "run.json"
IMAGES = "data.json"  # {part: {relative name of a file: its identity, see `Source.files`}}
CHECKPOINTS = "checkpoints"  # folder of the workdir, written by `cfi_jax.engine.workdir.checkpoint`
METADATA = "_CHECKPOINT_METADATA"  # Orbax's file in each of them, with what `about` says
RUN = "run"
PACKAGES = (
  *("cfi_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy"),
  *("ml_collections", "pillow", "tensorflow-datasets"),
)


class Length(NamedTuple):
  """Length of a run, which may become longer, never shorter.

  steps: now. of: f(values of a stored config) -> its steps. fixed: a clause on why runs of this
  config cannot become longer; "" where they can.
  """

  steps: int
  of: Callable[[Mapping[str, Any]], int]
  fixed: str


@dataclasses.dataclass(frozen=True)
class Identity:
  """All by which a workdir knows its run again.

  config: the run's dataclass. data: identifies the images and other files, per part.
  files: identities of the images by part and relative name, `Source.files`.
  formerly: hashes by path, such as "data.train.sha256", by which earlier versions knew the same.
  older: values of fields that an older version did not have (`Config.OLDER`).
  operational: paths of fields that may change while a run goes on (`Config.OPERATIONAL`).
  length: None where the config has no number of steps.
  """

  config: Any
  data: Mapping[str, Any]
  files: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
  formerly: Mapping[str, str] = dataclasses.field(default_factory=dict)
  older: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  operational: tuple[str, ...] = ()
  length: Length | None = None

  def to_json(self) -> dict[str, Any]:
    """Config and data, as they come back from JSON: tuples have become lists."""
    return json.loads(
      json.dumps({"config": dataclasses.asdict(self.config), "data": dict(self.data)})
    )


def about(identity: Identity) -> dict[str, Any]:
  """Metadata for each checkpoint, of which a lost record is made again."""
  return {RUN: identity.to_json()}


def check(workdir: pathlib.Path, identity: Identity) -> list[str]:
  """Refuses a workdir that holds another run, with the differences; writes nothing.

  Returns lines that say what was filled or changed. Raises `InputError` for what cannot be read or
  written, too.
  """
  if workdir.exists() and not workdir.is_dir():
    raise InputError(f"--workdir={workdir} is a file; it must be a folder or not be there yet")
  require_folder(workdir)
  stored, lost = _read(workdir)
  if stored is None:
    if has_checkpoints(workdir):
      raise InputError(f"{workdir} has checkpoints but no {FILE} that says of which run")
    return []
  now = identity.to_json()
  there = {key: stored[key] for key in now}
  there["config"], filled = config_lib.complete(there["config"], identity.older)
  found = {
    name: values
    for name, values in _differences("", there, now)
    if values[0] is None or values[0] != identity.formerly.get(name)
  }
  operational = {f"config.{path}" for path in identity.operational}
  changed = {name: found.pop(name) for name in list(found) if name in operational}
  lines = [lost] if lost else []
  lines += [f"{workdir} is of an older version, taken as: {', '.join(filled)}"] if filled else []
  lines += _take_length(workdir, identity.length, there["config"], found)
  images = _changed_images(workdir, identity.files, found)
  if images:
    found = {name: values for name, values in found.items() if not name.endswith(".sha256")}
  if found or images:
    differences = [f"{name}: {have!r}, {want!r}" for name, (have, want) in found.items()]
    raise InputError(
      f"{workdir} holds another run; differences (there, now): {'; '.join(differences + images)}. "
      "Choose another --workdir or give the same values"
    )
  if changed:
    listed = "; ".join(f"{name} ({have!r}, {want!r})" for name, (have, want) in changed.items())
    lines.append(
      f"{workdir} goes on with other values, which do not decide its result (there, now): {listed}"
    )
  return lines


def _take_length(
  workdir: pathlib.Path,
  length: Length | None,
  there: Mapping[str, Any],
  found: dict[str, tuple[Any, Any]],
) -> list[str]:
  """Takes the number of steps out of the differences where it may change; lines that say so."""
  fields = [name for name in ("config.steps", "config.epochs") if name in found]
  if length is None or not fields:
    return []
  try:
    before = length.of(there)
  except InputError as error:
    raise InputError(f"{workdir / FILE}: {error}") from error
  if length.steps > before and length.fixed:
    raise InputError(
      f"{workdir} is a run of {before} steps and cannot go on to {length.steps}: {length.fixed}; "
      f"a new run goes on from its weights, with --config.init_from={workdir} and another --workdir"
    )
  if length.steps < before:
    raise InputError(
      f"{workdir} is a run of {before} steps and cannot become one of {length.steps}; allowed: "
      f"{before} or more"
    )
  for name in fields:
    del found[name]
  longer = f"{workdir} goes on to step {length.steps} instead of {before}"
  return [longer] if length.steps > before else []


def _changed_images(
  workdir: pathlib.Path, files: Mapping[str, Mapping[str, str]], found: Mapping[str, Any]
) -> list[str]:
  """Sentences on the images of each part that are not those of the record, by name.

  found: the differences. Where the hash of a part is none of them, its names and sizes are the same
  and what their list says against it is damage of the list; hashes of contents count still.
  """
  sentences = []
  for part, there in _read_images(workdir).items():
    now = files.get(part, {})
    known = f"data.{part}.sha256" not in found
    kinds = {
      "gone": [] if known else [name for name in there if name not in now],
      "new": [] if known else [name for name in now if name not in there],
      "changed": [
        f"{name} ({_describe(there[name])}, now {_describe(now[name])})"
        for name in there
        if name in now and not _is_same(there[name], now[name], known)
      ],
    }
    listed = [f"{kind}: {shorten(names)}" for kind, names in kinds.items() if names]
    sentences += [f"data.{part}: {'; '.join(listed)}"] if listed and now else []
  return sentences


def _is_same(there: str, now: str, known: bool) -> bool:
  """Whether identities of files agree; hashes of contents count where both have one.

  known: whether the sizes, which come first, are known to agree.
  """
  both = list(zip(there.split(), now.split(), strict=False))
  return all(a == b for a, b in (both[1:] if known else both))


def _describe(identity: str) -> str:
  size, *digest = identity.split()
  return f"{size} bytes" + "".join(f" with SHA-256 {text[:8]}" for text in digest)


def has_checkpoints(workdir: pathlib.Path) -> bool:
  """Whether something is in the folder of checkpoints, whole or not."""
  folder = workdir / CHECKPOINTS
  return folder.is_dir() and any(folder.iterdir())


def write(workdir: pathlib.Path, identity: Identity) -> None:
  """Writes the record of a new run, or adds a start to that of the same run (see `check`)."""
  stored = read(workdir) or {"starts": []}
  stored |= identity.to_json()
  stored["starts"].append(_environment())
  if identity.files:
    known = _read_images(workdir)
    for part, files in identity.files.items():  # hashes of contents stay known
      known[part] = {
        name: max(now, known.get(part, {}).get(name, ""), key=len) for name, now in files.items()
      }
    write_atomically(workdir / IMAGES, (json.dumps(known, indent=0) + "\n").encode())
  write_atomically(workdir / FILE, (json.dumps(stored, indent=2) + "\n").encode())


def read(workdir: pathlib.Path) -> dict | None:
  """The record of a workdir, None if it has none; `InputError` for a damaged one.

  One that is damaged or lost is made again of the newest checkpoint that knows its run.
  """
  return _read(workdir)[0]


def _read(workdir: pathlib.Path) -> tuple[dict | None, str]:
  """The record as in `read`, and a line that says whether it was made again; "" if not."""
  damage = None
  try:
    stored = _read_record(workdir / FILE)
  except InputError as error:
    stored, damage = None, error
  if stored is not None:
    return stored, ""
  folder = workdir / CHECKPOINTS
  found = folder.iterdir() if folder.is_dir() else ()
  steps = sorted((path for path in found if path.name.isdecimal()), key=lambda path: int(path.name))
  for path in reversed(steps):
    with contextlib.suppress(InputError, KeyError, TypeError):
      stored = _require_record(_read_json(path / METADATA)["custom_metadata"][RUN], path)
      return stored, f"{damage or f'{workdir / FILE} is missing'}; made again of {path}"
  if damage is not None:
    raise damage
  return None, ""


def _read_record(path: pathlib.Path) -> dict | None:
  return _require_record(_read_json(path), path) if path.exists() else None


def _require_record(stored: Any, path: pathlib.Path) -> dict:
  """The content of a file, if it is the record of a run."""
  if not isinstance(stored, dict) or not {"config", "data"} <= set(stored):
    raise InputError(f"{path}: is not the record of a run")
  for key, kind in (("config", dict), ("data", dict), ("starts", list)):
    if not isinstance(stored.setdefault(key, []), kind):
      raise InputError(f"{path}: damaged ({key} is {str(stored[key])[:40]!r})")
  return stored


def _read_images(workdir: pathlib.Path) -> dict[str, dict[str, str]]:
  """The images of the record by part and name; {} for a run of an older version or a damaged file.

  Then the hash in the record alone says whether the images are the same.
  """
  try:
    stored = _read_json(workdir / IMAGES)
  except InputError:
    return {}
  parts = stored.items() if isinstance(stored, dict) else ()
  return {
    part: files
    for part, files in parts
    if isinstance(files, dict) and all(isinstance(x, str) and x.split() for x in files.values())
  }


def _read_json(path: pathlib.Path) -> Any:
  """The content of a file, None where it is not there; `InputError` for what is no JSON."""
  try:
    return json.loads(path.read_bytes())
  except (FileNotFoundError, NotADirectoryError):
    return None
  except (OSError, ValueError, RecursionError) as error:
    raise InputError(f"{path}: damaged ({error})") from error


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


def _differences(where: str, there: Any, now: Any) -> Iterator[tuple[str, tuple[Any, Any]]]:
  """Path of every value that differs, and both values."""
  if isinstance(there, dict) and isinstance(now, dict):
    for key in sorted(there.keys() | now.keys()):
      name = f"{where}.{key}" if where else key
      yield from _differences(name, there.get(key), now.get(key))
  elif there != now:
    yield where, (there, now)
