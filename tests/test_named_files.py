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
  "summary_given.md",  # of evaluate, where pairs are degraded
  "restoration.md",  # the same
  "results.md",  # of a study of results
  "options.md",  # of a study of a rule's options
  "FILE.md",  # tables of published scores, a user's
  "published.md",
  "baselines.md",
  *("b.md", "empty.md", "none.md", "one.md", "theirs.md", "two.md"),  # the same, of a test
  "nowhere.py",  # of a test, and missing on purpose
  "work.py",  # written by a test
  "Evaluator.py",  # of the convention cddfuse
  "cfi_jax/recipes.py",  # in cards of weights: where the recipes stood when these were trained
  "setup.py",
  "sitecustomize.py",  # of the mutation script, in the copy that it changes
  "xla_bridge.py",  # of JAX
  "c.py",  # a config, made by a test
  "x.py",  # of a test's status of git
}
EXAMPLES = re.compile(r"\bNAME\b|^other/|^own\.py$|^utils\.py$")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_named_files_exist(path):
  if path.name == "test_named_files.py":  # its own examples
    return
  text = re.sub(r"https?://\S+", "", path.read_text())
  named = {name.lstrip("./") for name in NAME.findall(text)} - ELSEWHERE
  named = {name for name in named if not EXAMPLES.search(name)}
  missing = sorted(name for name in named if not any(known.endswith(f"/{name}") for known in KNOWN))
  assert not missing, f"names files that the repository lacks: {', '.join(missing)}"


def test_a_missing_file_is_found():
  found = NAME.findall("see METRICS.md, `cfi_jax/none.py` and ../docs/scores.md")
  assert found == ["METRICS.md", "cfi_jax/none.py", "../docs/scores.md"]
