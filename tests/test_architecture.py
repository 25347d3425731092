"""The rules of the source tree: rooms on floors, sizes of files, no circle among them."""

import ast
import graphlib
import pathlib

import pytest
from command_line import ROOT

PACKAGE = ROOT / "cfi_jax"
# A room imports from rooms on floors above its own in this list, and from itself.
FLOORS = [
  {"core"},
  {"images", "weights"},
  {"data", "metrics"},
  {"engine", "fusion", "report"},
  {"datasets"},
  {"systems"},
  {"analyze", "benchmark", "check", "convert", "evaluate", "fuse", "prepare", "study"},
  {"main", "__init__", "__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = {path: str(path.relative_to(PACKAGE)) for path in FILES}
# Imports that the migration (ARCHITECTURE.md, steps 2 to 6) has yet to take out: file -> rooms.
LEFT = {
  "data/alignment.py": ["fusion"],
  "data/pipeline.py": ["fusion"],
  "data/resident.py": ["fusion"],
  "engine/dispatch.py": ["fusion", "systems"],
  "engine/feed.py": ["fusion"],
  "engine/loop.py": ["datasets", "systems"],
  "engine/sharding.py": ["fusion"],
  "engine/state.py": ["fusion"],
  "engine/validation.py": ["fusion", "systems"],
  "engine/workdir/writer.py": ["systems"],
  "fusion/arrays.py": ["systems"],
  "images/ops.py": ["fusion"],
  "study/results/__init__.py": ["convert"],
  "study/shift/__init__.py": ["convert"],
}


def module(path: pathlib.Path) -> str:
  """The dotted name of a file, such as cfi_jax.data.source; a package's is that of its folder."""
  parts = ("cfi_jax", *path.relative_to(PACKAGE).with_suffix("").parts)
  return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def imports(path: pathlib.Path) -> set[str]:
  """Modules of the package that a file imports, at its top or inside a function."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "cfi_jax":
      for alias in node.names:
        whole = f"{node.module}.{alias.name}"
        found.add(whole if whole in MODULES else node.module)
    elif isinstance(node, ast.Import):
      found |= {alias.name for alias in node.names if alias.name in MODULES}
  return found


def room(name: str) -> str:
  """The room of a dotted name."""
  return (name.split(".") + ["__init__"])[1]


@pytest.mark.parametrize("path", FILES, ids=NAMES.get)
def test_rooms_import_only_rooms_below_them(path):
  own = room(module(path))
  assert own in FLOOR, f"{NAMES[path]} is in no room of FLOORS"
  rooms = {room(name) for name in imports(path)} - {own}
  wrong = sorted(other for other in rooms if FLOOR[other] >= FLOOR[own])
  assert wrong == LEFT.get(NAMES[path], []), f"{NAMES[path]} imports from its own floor or above"


def test_files_import_each_other_in_no_circle():
  graphlib.TopologicalSorter({module(path): imports(path) for path in FILES}).prepare()


@pytest.mark.parametrize("path", FILES, ids=NAMES.get)
def test_files_are_short(path):
  assert len(path.read_text().splitlines()) <= 330


def test_few_files_stand_at_the_root():
  assert len([path for path in PACKAGE.iterdir() if path.is_file()]) <= 8


def test_the_training_step_is_short():
  tree = ast.parse((PACKAGE / "systems" / "isfuse" / "step.py").read_text())
  lengths = {
    node.name: node.end_lineno - node.lineno + 1
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef)
  }
  assert lengths["make_train_step"] + lengths["update"] <= 60
  assert max(lengths.values()) <= 40


def test_importing_the_package_is_free_of_side_effects():
  assert "import jax" not in (PACKAGE / "__init__.py").read_text()
