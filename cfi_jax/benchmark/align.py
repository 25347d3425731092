"""Accuracy of alignment: pairs and rigs that are misaligned by a known homography.

  python -m cfi_jax.benchmark align --roadscene=DIR --tno=DIR --output=FILE.json
  python -m cfi_jax.benchmark align --roadscene=DIR --tno=DIR --cases=rigs --output=FILE.json

Aligned pairs of RoadScene and TNO are cut, turned, scaled and moved (harness/misaligned.py): 20 and
10 of them by the seed, of every second file by name; the others served to choose thresholds. What
the output file holds already is kept, so a run that was stopped goes on. The error is the mean
distance in visible pixels of a grid from its true place, in the overlap.

- mild, strong, small: the strengths of harness/misaligned.py, each pair by itself
- wrong: strong, each visible image with the infrared one of another scene
- reversed: the infrared image black hot instead of white hot, as counts of 16 bits; this and the
  next ones strong and small in turn
- turned, mirrored: the infrared camera turned by 90 degrees or mirrored, --mounting=any;
  turned_upright, mirrored_upright: the same without it; wrong_any: wrong pairs with it
- msrs, medical: strong pairs of MSRS (--msrs, all that there are), mild ones of CT and MRI
  (--medical)
- rigs: ten pairs of RoadScene, cut to one size, under one homography, strong and small in turn;
  shuffled: the same rigs, each visible image with the next pair's infrared one; three: three pairs;
  three_turned: three pairs, the infrared camera turned by 90 degrees, --mounting=any
"""

import dataclasses
import itertools
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from cfi_jax.benchmark.harness import machine, misaligned, results
from cfi_jax.benchmark.harness.misaligned import STRENGTHS, Strength
from cfi_jax.core.files import write_atomically
from cfi_jax.core.progress import track
from cfi_jax.core.types import InputError
from cfi_jax.images import read as images
from cfi_jax.registration.pairs import find

FOLDERS = {
  "roadscene": ("crop_LR_visible", "cropinfrared"),
  "tno": ("vi", "ir"),
  "msrs": ("vi", "ir"),
  "medical": ("CT", "MRI"),
}
CHOSEN_ON = ("roadscene", "tno")  # whose other pictures the thresholds were chosen on
COUNTS = {"roadscene": 20, "tno": 10, "msrs": 10, "medical": 10}
RIG_SIZE = (300, 460)  # height, width
RIG_PAIRS = 10
CLOSE = 0.015  # of the width, within which an accepted pair is right
Picture = tuple[str, np.ndarray, np.ndarray]  # name, visible and infrared luma [H, W]


@dataclasses.dataclass(frozen=True)
class Case:
  """Pairs or rigs of one kind.

  strength: of `STRENGTHS`, or "alternating". alter: what is done to the infrared image. pairs: of a
  rig; 1: single pairs. count: at most.
  sources: data sets, of `FOLDERS`.
  """

  strength: str = "strong"
  wrong: bool = False
  alter: Callable[[np.ndarray], np.ndarray] | None = None
  mounting: str = "upright"
  pairs: int = 1
  count: int = 30
  sources: tuple[str, ...] = ("roadscene", "tno")


def _reversed(image: np.ndarray) -> np.ndarray:
  return (30000 - 20 * image).astype(np.uint16)


def _mirrored(image: np.ndarray) -> np.ndarray:
  return image[:, ::-1]


CASES = {
  "mild": Case("mild"),
  "strong": Case(),
  "small": Case("small"),
  "wrong": Case(wrong=True),
  "reversed": Case("alternating", alter=_reversed, count=10),
  "turned": Case("alternating", alter=np.rot90, mounting="any", count=10),
  "turned_upright": Case("alternating", alter=np.rot90, count=10),
  "mirrored": Case("alternating", alter=_mirrored, mounting="any", count=10),
  "mirrored_upright": Case("alternating", alter=_mirrored, count=10),
  "wrong_any": Case("alternating", wrong=True, mounting="any", count=10),
  "rigs": Case("alternating", pairs=RIG_PAIRS, count=10),
  "shuffled": Case("alternating", wrong=True, pairs=RIG_PAIRS, count=10),
  "three": Case("alternating", pairs=3, count=10),
  "three_turned": Case("alternating", alter=np.rot90, mounting="any", pairs=3, count=10),
  "msrs": Case(sources=("msrs",)),
  "medical": Case("mild", sources=("medical",)),
}


def run(options: SimpleNamespace) -> int:
  """Measures; returns the exit status."""
  chosen = options.cases or list(CASES)
  if unknown := [name for name in chosen if name not in CASES]:
    raise InputError(f"--cases={','.join(unknown)}; allowed: {', '.join(CASES)}")
  path = results.output_path(options)
  done: dict[str, list[dict[str, Any]]] = {}
  if path is not None and path.exists():
    before = json.loads(path.read_text())
    if before["seed"] != options.seed:
      raise InputError(f"--output={path} holds seed {before['seed']}, not --seed={options.seed}")
    done = before["cases"]
  folders = {name: getattr(options, name) for name in FOLDERS if getattr(options, name)}
  if "roadscene" not in folders:
    raise InputError("--roadscene is missing; it is required: RoadScene's folder")
  chosen = [name for name in chosen if CASES[name].sources[0] in folders]
  values = {
    "command": options.command,
    "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    "machine": machine.machine(),
    "versions": machine.versions(),
    "seed": options.seed,
  }
  for name in chosen:
    rows = done.setdefault(name, [])
    for row in _measure(name, CASES[name], folders, options, len(rows)):
      rows.append(row)
      values["cases"] = {name: done[name] for name in CASES if name in done}
      if path is not None:
        write_atomically(path, json.dumps(values).encode())
  values["cases"] = {name: done[name] for name in CASES if done.get(name)}
  results.write(values, table(values), options)
  return 0


def _files(name: str, folder: str) -> list[tuple[pathlib.Path, pathlib.Path]]:
  """Pairs of a data set; of those in `CHOSEN_ON` the second, fourth and so on by name."""
  visible, infrared = (pathlib.Path(folder, part) for part in FOLDERS[name])
  if not visible.is_dir():
    raise InputError(f"--{name}={folder}: {visible} is not a folder")
  paths = sorted(visible.iterdir())
  return [(path, infrared / path.name) for path in (paths[1::2] if name in CHOSEN_ON else paths)]


def _read(files: tuple[pathlib.Path, pathlib.Path]) -> Picture:
  lumas = (images.luma(images.read_image(path))[..., 0].astype(np.float32) for path in files)
  return (files[0].name, *lumas)


def _pictures(folders: Mapping[str, str], seed: int) -> Iterator[Picture]:
  """The pictures of single pairs, in an order drawn by the seed."""
  rng = np.random.default_rng([seed, 0])
  chosen = []
  for name, folder in folders.items():
    files = _files(name, folder)
    chosen += [files[k] for k in rng.permutation(len(files))[: COUNTS[name]]]
  for k in rng.permutation(len(chosen)):
    yield _read(chosen[k])


def _measure(
  name: str, case: Case, folders: Mapping[str, str], options: SimpleNamespace, skipped: int
) -> Iterator[dict[str, Any]]:
  """The rows of a case after the first ones, which are there already."""
  own = {source: folders[source] for source in case.sources if source in folders}
  if case.pairs > 1:
    made = _rigs(case, options, skipped)
  else:
    made = itertools.islice(_pairs(case, own, options.seed), skipped, None)
  count = sum(COUNTS[source] for source in own) if case.pairs == 1 else case.count
  count = min(case.count, count, options.count or case.count)
  unit = "rig" if case.pairs > 1 else "pair"
  chosen = itertools.islice(made, max(0, count - skipped))
  for sample in track(chosen, name, unit, max(0, count - skipped)):
    yield _align(case, *sample)


Sample = tuple[str, list[np.ndarray], list[np.ndarray], np.ndarray, tuple[int, int]]


def _pairs(case: Case, folders: Mapping[str, str], seed: int) -> Iterator[Sample]:
  """Name, visible and infrared image, true homography, and size of the unaltered infrared one."""
  pictures = list(_pictures(folders, seed))

  def made(k: int) -> tuple[np.ndarray, np.ndarray, misaligned.View]:
    _, visible, infrared = pictures[k]
    rng = np.random.default_rng([seed, 1, k])
    view = misaligned.draw(_strength(case, k), visible.shape, rng)
    return *view.render(visible, infrared, rng), view

  for k, (name, _, _) in enumerate(pictures):
    visible, infrared, view = made(k)
    if case.wrong:
      infrared = made((k + 1) % len(pictures))[1]
    yield name, [visible], [_alter(case, infrared)], view.truth, view.size


def _strength(case: Case, number: int) -> Strength:
  names = ("strong", "small")
  return STRENGTHS[names[number % 2] if case.strength == "alternating" else case.strength]


def _alter(case: Case, infrared: np.ndarray) -> np.ndarray:
  return np.ascontiguousarray(case.alter(infrared)) if case.alter else infrared


def _rigs(case: Case, options: SimpleNamespace, skipped: int = 0) -> Iterator[Sample]:
  """The same of rigs after the first ones."""
  files = _files("roadscene", options.roadscene)
  for number in range(skipped, case.count):
    rng = np.random.default_rng([options.seed, 2, number])
    view = misaligned.draw(_strength(case, number), RIG_SIZE, rng)
    visibles, infrareds = [], []
    for k in rng.permutation(len(files)):
      _, visible, infrared = _read(files[k])
      rows, columns = (int(n) for n in np.subtract(visible.shape, RIG_SIZE) // 2)
      if min(rows, columns) < 0:
        continue
      cut = slice(rows, rows + RIG_SIZE[0]), slice(columns, columns + RIG_SIZE[1])
      visible, infrared = view.render(visible[cut], infrared[cut], rng)
      visibles.append(visible)
      infrareds.append(_alter(case, infrared))
      if len(visibles) == case.pairs:
        break
    if case.wrong:
      infrareds = [*infrareds[1:], infrareds[0]]
    yield f"rig {number}", visibles, infrareds, view.truth, view.size


def _align(
  case: Case,
  name: str,
  visibles: list[np.ndarray],
  infrareds: list[np.ndarray],
  truth: np.ndarray,
  size: tuple[int, int],
) -> dict[str, Any]:
  """The alignment found of a pair or rig, and how far it is off."""
  began = time.process_time()
  rig = find(
    [v[..., None] for v in visibles], [i[..., None] for i in infrareds], mounting=case.mounting
  )
  seconds = time.process_time() - began
  if case.alter is not None:
    truth = _altered(case.alter, size) @ truth
    size = infrareds[0].shape
  width = visibles[0].shape[1]
  return {
    "name": name,
    "width": width,
    "error": round(misaligned.error(rig.matrix, truth, visibles[0].shape, size), 3),
    "accepted": rig.confidence.holds,
    "margin": round(rig.confidence.margin, 4),
    "sharpness": round(rig.confidence.sharpness, 4),
    "ratio": rig.confidence.ratio and round(rig.confidence.ratio, 3),
    "ncc": [score.ncc for score in rig.scores],
    "seconds": round(seconds, 2),
  }


def _altered(alter: Callable[[np.ndarray], np.ndarray], size: tuple[int, int]) -> np.ndarray:
  """The homography from pixels of an image of a size to those after the alteration."""
  corners = [(0, 0), (0, size[1] - 1), (size[0] - 1, size[1] - 1), (size[0] - 1, 0)]
  ends = []
  for corner in corners:
    image = np.zeros(size, np.float32)
    image[corner] = 1
    changed = alter(image).astype(np.float64)
    place = int(np.abs(changed - np.median(changed)).argmax())  # of the one that differs
    ends.append((place % changed.shape[1], place // changed.shape[1]))
  return misaligned.through(np.array([(x, y) for y, x in corners], np.float64), ends)


COLUMNS = ("n", "< 2 px", "< 5 px", "< 1.5 % of width", "median px", "worst px")
COLUMNS += ("accepted", "of these < 1.5 %", "median s")


def table(values: dict[str, Any]) -> str:
  """The figures of every case as text."""
  host = values["machine"]
  lines = [
    f"$ {values['command']}",
    f"{values['date']}, {host['cpu_count']} x {host['cpu']}, one of them used, {host['system']}",
    ", ".join(f"{name} {version}" for name, version in values["versions"].items()),
    f"seed {values['seed']}; seconds of the processor for a pair or a whole rig",
  ]
  cells = [["case", *COLUMNS], *([name, *_row(rows)] for name, rows in values["cases"].items())]
  widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
  for row in cells:
    first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    lines.append("  ".join([first.strip().ljust(widths[0]), *rest]))
  return "\n".join(lines) + "\n"


def _row(rows: Sequence[dict[str, Any]]) -> list[str]:
  errors = np.array([row["error"] for row in rows])
  shares = np.array([row["error"] / row["width"] for row in rows])
  accepted = np.array([row["accepted"] for row in rows])
  right = int((shares[accepted] < CLOSE).sum())
  return [
    str(len(rows)),
    *(f"{100 * (errors < limit).mean():.0f} %" for limit in (2, 5)),
    f"{100 * (shares < CLOSE).mean():.0f} %",
    f"{np.median(errors):.2f}",
    f"{errors.max():.1f}",
    str(int(accepted.sum())),
    f"{right} of {int(accepted.sum())}",
    f"{np.median([row['seconds'] for row in rows]):.1f}",
  ]
