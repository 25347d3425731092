"""Published scores: a table of means of other methods, read strictly from a file."""

import csv
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.metrics import CONVENTIONS, METRICS, Metric, find_metric
from cfi_jax.report.ranks import RANKED

NAMES = "|".join(CONVENTIONS)
STATED = re.compile(rf"`({NAMES})`\s+convention|\bconvention:?\s+`?({NAMES})\b", re.IGNORECASE)
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
MISSING = ("", "-")
ROUNDING = 0.01  # how far published means may leave the range of a metric


@dataclasses.dataclass(frozen=True)
class Published:
  """Means of methods as a file gives them.

  rows: mean by method, "NAME (published)", and metric, in the file's order; NaN where it has none.
  title: the file, and the heading of the table in it. images: as many as the heading says that
    means are of, as in "TNO (n=42)"; None where it says nothing.
  left_out: headings of the columns that are of another convention.
  """

  rows: dict[str, dict[str, float]]
  title: str
  images: int | None
  left_out: tuple[str, ...]


class _Table(NamedTuple):
  """A table as text: lines are the numbers of its rows in the file."""

  heading: str
  convention: str | None
  header: list[str]
  lines: list[int]
  rows: list[list[str]]


def read_published(place: str, convention: str, metrics: Sequence[str]) -> Published:
  """Reads a table of published means.

  A table has a column `method` and a column for each of its metrics, under their names: `AG`,
  `AG ↑`, `AG tang`. A column that names another convention, as `AG cdd` does under "tang", is left
  out; any other is refused. A cell is a number, or `-` for none. In Markdown the convention is
  stated above the table (Convention: `tang`), in CSV it has a column, `convention`.

  place: FILE.csv, FILE.md, or FILE.md#HEADING where the file has several tables; what stands in
    brackets at the end of a heading need not be given.
  convention: of the scores that these are to stand beside. metrics: of those scores.

  Raises:
    InputError: no such table, another convention or none, unknown or missing columns, a method
      twice, a value that is no number or that the metric cannot have under the convention.
  """
  title, table = _open(place)
  _check_convention(title, table.convention, convention)
  columns, left_out = _columns(title, table.header, convention)
  found = [metric.name for metric in columns.values()]
  lacking = [metric for metric in RANKED if metric in metrics and metric not in found]
  if lacking:
    here = ",".join(metric for metric in found if metric in metrics)
    raise InputError(
      f"{title}: mean ranks need the columns {', '.join(lacking)}, which it lacks; score what it "
      f"has, --metrics={here}"
    )
  counted = re.search(r"\(n\s*=\s*(\d+)\)", table.heading)
  rows = _rows(title, table, columns, convention)
  return Published(rows, title, int(counted[1]) if counted else None, left_out)


def _open(place: str) -> tuple[str, _Table]:
  """The table at a place, and what messages call it."""
  file, _, heading = place.partition("#")
  if storage.path(place).is_file():
    file, heading = place, ""
  kind = storage.path(file).suffix.lower()
  if kind not in (".md", ".csv"):
    raise InputError(f"{file}: published scores are read from files .md and .csv")
  if kind == ".csv" and heading:
    raise InputError(f"{place}: a CSV file is one table; leave #{heading} out")
  try:
    text = storage.path(file).read_text("utf-8-sig")
  except (OSError, UnicodeDecodeError) as error:
    raise InputError(f"{file}: cannot be read as text (UTF-8): {error}") from error
  if kind == ".csv":
    return file, _read_csv(file, text)
  table = _choose(file, _read_markdown(file, text), heading)
  return f"{file}, table {table.heading!r}", table


def _read_csv(file: str, text: str) -> _Table:
  """The table of a CSV file; the convention of its rows where it is one."""
  reader = csv.reader(text.splitlines(), strict=True)
  try:
    lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader if cells]
  except csv.Error as error:
    raise InputError(f"{file}, line {reader.line_num}: cannot be read as CSV: {error}") from error
  header = lines[0][1] if lines else []
  if "convention" not in header:
    raise InputError(
      f"{file}: there is no column 'convention'; it says of every row, for example, tang"
    )
  column = header.index("convention")
  conventions, rows = set(), []
  for number, cells in lines[1:]:
    if len(cells) != len(header):
      raise InputError(
        f"{file}, line {number}: {len(cells)} cells in a table of {len(header)} columns"
      )
    conventions.add(cells.pop(column))
    rows.append(cells)
  if len(conventions) > 1:
    raise InputError(f"{file}: rows of several conventions, {', '.join(sorted(conventions))}")
  numbers = [number for number, _ in lines[1:]]
  convention = conventions.pop() if conventions else None
  return _Table("", convention, header[:column] + header[column + 1 :], numbers, rows)


def _read_markdown(file: str, text: str) -> list[_Table]:
  """All tables of a Markdown file, each with the heading and the convention stated last above."""
  tables: list[_Table] = []
  heading, convention, inside = "", None, False
  for number, line in enumerate(text.splitlines(), 1):
    if not line.lstrip().startswith("|"):
      inside = False
      if line.startswith("#"):
        heading = line.lstrip("#").strip()
      for stated in STATED.finditer(line):
        convention = (stated[1] or stated[2]).lower()
      continue
    cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())][1:]
    cells = cells[:-1] if line.rstrip().endswith("|") else cells
    if not inside:
      tables.append(_Table(heading, convention, cells, [], []))
    tables[-1].lines.append(number)
    tables[-1].rows.append(cells)
    inside = True
  found = []
  for table in tables:
    below = table.rows[1] if len(table.rows) > 1 else []
    if not below or not all(re.fullmatch(":?-+:?", cell) for cell in below):
      raise InputError(f"{file}, line {table.lines[0]}: no line | --- | below the head of a table")
    found.append(table._replace(lines=table.lines[2:], rows=table.rows[2:]))
  return found


def _choose(file: str, tables: Sequence[_Table], heading: str) -> _Table:
  """The table under a heading; "" is the only one."""
  names = ", ".join(f"#{_short(table.heading)}" for table in tables) or "none"
  if not heading and len(tables) == 1:
    return tables[0]
  chosen = [table for table in tables if heading in (table.heading, _short(table.heading))]
  if not heading or len(chosen) != 1:
    wanted = f"{len(chosen)} tables under #{heading}" if heading else f"{len(tables)} tables"
    raise InputError(f"{file}: {wanted}; name one behind the file's name, of {names}")
  return chosen[0]


def _short(heading: str) -> str:
  """The heading without brackets at its end."""
  return re.sub(r"\s*\([^()]*\)$", "", heading)


def _check_convention(title: str, found: str | None, wanted: str) -> None:
  valid = ", ".join(CONVENTIONS)
  if not found:
    raise InputError(
      f"{title}: its convention is not stated; write above it, for example, Convention: `tang` "
      f"(in CSV: a column 'convention'); valid: {valid}"
    )
  if found not in CONVENTIONS:
    raise InputError(f"{title}: unknown convention {found!r}; valid: {valid}")
  if found != wanted:
    raise InputError(
      f"{title}: scores of the convention {found!r}, which must not be compared with {wanted!r}; "
      f"score with --convention={found}"
    )


def _columns(
  title: str, header: Sequence[str], convention: str
) -> tuple[dict[int, Metric], tuple[str, ...]]:
  """The metrics by column, and the headings of what is of another convention."""
  if header.count("method") != 1:
    raise InputError(f"{title}: columns {', '.join(header)}; one must be 'method', the names")
  columns: dict[int, Metric] = {}
  left_out = []
  for k, heading in enumerate(header):
    if heading == "method":
      continue
    name, _, suffix = heading.rstrip("↑↓ ").partition(" ")
    short = suffix.strip("( )")
    meant = [one for one in CONVENTIONS if one.startswith(short)] if short else [convention]
    try:
      metric = find_metric(name)
      if meant == [convention]:
        metric.check(convention)
    except InputError as error:
      raise InputError(f"{title}: column {heading!r}: {error}") from error
    if len(meant) != 1:
      raise InputError(
        f"{title}: column {heading!r}: {short!r} is no convention; valid: {', '.join(CONVENTIONS)}"
      )
    if meant != [convention]:
      left_out.append(heading)
    elif metric in columns.values():
      raise InputError(f"{title}: column {heading!r}: {metric.name} is there twice")
    else:
      columns[k] = metric
  if not columns:
    raise InputError(f"{title}: no column of a metric; valid: {', '.join(METRICS)}")
  return columns, tuple(left_out)


def _rows(
  title: str, table: _Table, columns: Mapping[int, Metric], convention: str
) -> dict[str, dict[str, float]]:
  """The means by method and metric; columns: the metrics by column."""
  names = table.header.index("method")
  rows: dict[str, dict[str, float]] = {}
  for line, cells in zip(table.lines, table.rows, strict=True):
    where = f"{title}, line {line}"
    if len(cells) != len(table.header):
      raise InputError(f"{where}: {len(cells)} cells in a table of {len(table.header)} columns")
    name = cells[names]
    label = f"{name} (published)"
    if not name:
      raise InputError(f"{where}: a method without a name")
    if label in rows:
      raise InputError(f"{where}: the method {name!r} is there twice")
    rows[label] = {
      metric.name: _value(f"{where}: {metric.name} of {name!r}", cells[k], metric, convention)
      for k, metric in columns.items()
    }
  if not rows:
    raise InputError(f"{title}: a table without rows")
  return rows


def _value(where: str, text: str, metric: Metric, convention: str) -> float:
  """The number of a cell; NaN where it is missing."""
  if text in MISSING:
    return math.nan
  if not NUMBER.fullmatch(text):
    raise InputError(f"{where} is {text!r}; allowed: a number, or - for none")
  value = float(text)
  low, high = metric.ranges[convention]
  if not low - ROUNDING <= value <= high + ROUNDING:
    raise InputError(
      f"{where} is {text}; under {convention} it is {low:.6g} to {high:.6g}: is this another "
      "convention?"
    )
  return value
