"""Files of the repository name no .md or .py file that the repository lacks."""

import re

import pytest
from command_line import ROOT

ROOMS = ("cfi_jax", "tests", "configs", "docs", "launch", "benchmarks")
KINDS = (".md", ".py", ".sh", ".yaml")
NAME = re.compile(r"[\w./-]*\w\.(?:md|py)\b")
FILES = sorted(
  path
  for folder in ROOMS
  for path in (ROOT / folder).rglob("*")
  if path.suffix in KINDS and "__pycache__" not in path.parts
)
FILES += sorted(ROOT.glob("*.md"))
KNOWN = {f"/{path.relative_to(ROOT)}" for path in FILES}
# Names of files that a run writes, that a test makes, or that stand elsewhere.
ELSEWHERE = {
  "summary.md",  # of evaluate, analyze and the study of shift
  "results.md",  # of a study of results
  "nowhere.py",  # of a test, and missing on purpose
  "work.py",  # written by a test
  "Evaluator.py",  # of the convention cddfuse
  "cfi_jax/recipes.py",  # in cards of weights: where the recipes stood when these were trained
  "setup.py",
}
# Files whose references other branches of the same change mend; and this one, for its examples.
LEFT = {f"cfi_jax/benchmark/{name}.py" for name in ("fuse", "input", "train")}
LEFT |= {"tests/test_readme.py", "tests/test_named_files.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(path):
  if str(path.relative_to(ROOT)) in LEFT:
    return
  text = re.sub(r"https?://\S+", "", path.read_text())
  named = {name.lstrip("./") for name in NAME.findall(text)} - ELSEWHERE
  missing = sorted(name for name in named if not any(known.endswith(f"/{name}") for known in KNOWN))
  assert not missing, f"names files that the repository lacks: {', '.join(missing)}"


def test_a_missing_file_is_found():
  found = NAME.findall("see METRICS.md, `cfi_jax/none.py` and ../docs/scores.md")
  assert found == ["METRICS.md", "cfi_jax/none.py", "../docs/scores.md"]
