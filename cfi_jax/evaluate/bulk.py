"""Scoring by several processes: the part of each, and the one report of all parts."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.progress import Progress
from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import Opened, Scene, Unscored, look, merge, open_scenes
from cfi_jax.data.parts import CHUNK, Part, Parts
from cfi_jax.data.shards import Shard, stretches
from cfi_jax.evaluate import (
  Evaluation,
  Models,
  Request,
  check,
  load,
  names_of_methods,
  report,
  score_scenes,
  write,
)
from cfi_jax.evaluate.exhibits import places
from cfi_jax.metrics import Columns, find_metrics


def score_part(
  request: Request,
  output: pathlib.Path,
  shard: Shard,
  flags: Mapping[str, str],
  *,
  keep: bool,
) -> tuple[int, int]:
  """Scores a shard's scenes and writes them as a part; returns how many were, and how many failed.

  flags: those that all parts have alike. keep: goes on with the scores of an earlier start. Scenes
  whose files cannot be read are recorded, not raised.

  Raises:
    InputError: see `evaluate`; and for degraded pairs, which one process scores.
  """
  check(request, output)
  if request.clean:
    raise InputError("--process_count with --clean_visible: one process scores degraded pairs")
  found, keys, unscored = look(request.folders, request.naming, shard)
  part = Part(output, shard, flags, keep)
  first = next(iter(found.values()))
  waiting = [key for key in keys if first.names[key] not in part.names]
  models, scored, failed = load(request), len(keys) - len(waiting), 0
  opened: list[Opened] = []
  with Progress("scoring", "image", len(keys), done=scored) as progress:
    for stretch in stretches(waiting, CHUNK):
      some = open_scenes(found, stretch)
      opened.append(Opened((), some.differing))
      models.reserve(some.scenes)
      records = [
        record
        | {"wide": some.wide.get(record["name"], 0), "narrow": some.narrow.get(record["name"], ())}
        for record in _score(request, some.scenes, models)
      ]
      records += [{"name": name, "failure": why} for name, why in some.broken.items()]
      for record in records:
        part.add(record)
      # Before the next is begun: a process that is killed has lost no more than these.
      part.flush()
      failed += sum(bool(record["failure"]) for record in records)
      scored += sum(not record["failure"] for record in records)
      progress.update(len(stretch))
  part.finish(dataclasses.asdict(unscored.and_sizes(opened)))
  return scored, failed


def _score(request: Request, scenes: Sequence[Scene], models: Models) -> list[dict[str, Any]]:
  """Records of scenes; where they cannot be scored together, each by itself."""
  if not scenes:
    return []
  try:
    rows = score_scenes(request, scenes, models, progress=False).rows
  except InputError as error:
    if len(scenes) == 1:
      return [{"name": scenes[0].name, "failure": str(error)}]
    return [record for scene in scenes for record in _score(request, [scene], models)]
  own: dict[str, list] = {scene.name: [] for scene in scenes}
  for row in rows:
    own[row.name].append((row.value, row.degenerate))
  return [
    {
      "name": scene.name,
      "failure": "",
      "size": scene.size,
      "files": {label: str(path) for label, path in scene.paths.items()},
      "values": [value for value, _ in own[scene.name]],
      "degenerate": [int(left_out) for _, left_out in own[scene.name]],
    }
    for scene in scenes
  ]


def join(
  request: Request, output: pathlib.Path, count: int | None, flags: Mapping[str, str]
) -> tuple[Evaluation, list[tuple[str, str]]]:
  """Writes the report of all parts, as one process would; returns it, and what failed, and why.

  count: the number of parts, by default what their folder tells.

  Raises:
    InputError: a part is missing, or of another request.
  """
  published = check(request, output)
  parts = Parts(output, count, flags)
  columns = [
    (method, convention, metric.name)
    for method in names_of_methods(request)
    for convention, metrics in request.parts
    for metric in find_metrics(metrics, convention)
  ]
  names, failures, values, degenerate, opened = [], [], [], [], []
  for record in parts.records():
    if record["failure"]:
      failures.append((record["name"], record["failure"]))
      continue
    if len(record["values"]) != len(columns):
      raise InputError(f"{output}: {record['name']} has {len(record['values'])} scores; make the "
                       "parts anew, without --skip_existing")  # fmt: skip
    name = record["name"]
    names.append(name)
    if record["wide"]:
      opened.append(Opened((), (), {name: record["wide"]}, {name: record["narrow"]}))
    values.append(np.array(record["values"]))
    degenerate.append(np.array(record["degenerate"], bool))
  if not names:
    raise InputError(f"{output}: the parts hold no scores; {len(failures)} images failed")
  table = Columns(columns, names, np.stack(values, 1), np.stack(degenerate, 1))
  unscored = merge([Unscored(**each) for each in parts.notes])
  differing = Opened((), unscored.differing)
  notes = list(unscored.and_sizes([*opened, differing]).sentences())
  if failures:
    listed = "; ".join(f"{name}: {why}" for name, why in failures)
    notes.append(f"{len(failures)} images could not be scored: {listed}")
  shown = _shown(parts, names)
  summary, told, texts = report(request, published, table, shown, notes, load(request))
  write(output, texts)
  return Evaluation(table, summary, told), failures


def _shown(parts: Parts, names: Sequence[str]) -> list[Scene]:
  """The scenes of which the page has pictures."""
  wanted = {names[k] for k in places(len(names))}
  return [
    Scene(
      record["name"],
      tuple(record["size"]),
      {label: storage.path(path) for label, path in record["files"].items()},
    )
    for record in parts.records()
    if record["name"] in wanted and not record["failure"]
  ]
