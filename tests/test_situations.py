"""The table of docs/situations.md: every row has a test that exists."""

import ast
import functools
import re

import pytest
from command_line import ROOT

TEXT = (ROOT / "docs" / "situations.md").read_text()
HEAD = ["situation", "what happens", "test"]
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)(?:\[(.+)\])?`")


def rows(text):
  """The cells of all rows of tables, without their headings."""
  lines = [line for line in text.splitlines() if line.startswith("|")]
  cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
  return [row for row in cells if row != HEAD and not re.fullmatch(r"[-|]+", row[0])]


ROWS = rows(TEXT)


@functools.cache
def functions(path):
  """Names of the test functions of a file."""
  return {n.name for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)}


def is_shown(test):
  """Whether a cell names a test that exists; a case in brackets must be a word of its file."""
  match = TEST.fullmatch(test)
  if match is None or not (ROOT / match[1]).is_file():
    return False
  path, case = ROOT / match[1], match[3]
  return match[2] in functions(path) and (not case or case in path.read_text())


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_every_situation_has_a_test(row):
  assert len(row) == len(HEAD), row
  assert all(row) and is_shown(row[2]), row


def test_no_situation_stands_twice():
  situations = [row[0] for row in ROWS]
  assert len(set(situations)) == len(situations) >= 35


def test_a_row_without_a_test_is_noticed():
  known = "tests/test_situations.py::test_no_situation_stands_twice"
  assert is_shown(f"`{known}`") and is_shown(f"`{known}[situation]`")
  absent = f"`{known}[case {1}]`"  # put together, as the case is not to be found in this file
  for wrong in (
    f"`{known}s`",
    absent,
    known,
    f"`{known}`".replace("tests/", "tests/core/"),
    "none",
  ):
    assert not is_shown(wrong), wrong
  assert rows("| a | b | c |\n|---|---|---|\n") == [["a", "b", "c"]]
