"""The rules of the source tree: rooms on floors, sizes of files, no circle among them."""

import ast
import graphlib
import inspect
import itertools
import pathlib

import pytest
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.engine import loop
from cfi_jax.systems.isfuse import step

PACKAGE = ROOT / "cfi_jax"
# A room imports from rooms on floors above its own in this list, and from itself.
FLOORS = [
  {"core"},
  {"images", "native", "weights"},
  {"data", "metrics", "volumes"},
  {"engine", "fusion", "report"},
  {"datasets", "features", "registration", "sequences"},
  {"keypoints"},
  {"systems"},
  {"align", "analyze", "benchmark", "check", "convert", "evaluate", "export", "fuse", "prepare"}
  | {"study", "transfer", "weather"},
  {"downstream"},  # a study with flags of its own
  {"__init__"},
  {"main", "__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = {path: str(path.relative_to(PACKAGE)) for path in FILES}


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
  assert not wrong, f"{NAMES[path]} imports from its own floor or above: {wrong}"


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
  assert lengths["train_step"] + lengths["update"] <= 60
  assert max(lengths.values()) <= 40


def test_the_walk_from_main_to_the_training_step_is_short(pairs, tmp_path, monkeypatch):
  """Files on the stack when the step is traced: at most six with main.py, none entered thrice."""
  values = config_lib.load(str(ROOT / "tests" / "systems" / "isfuse" / "tiny.py")).to_dict()
  values["data"]["root"] = str(pairs)
  walks = []

  class Seen(Exception):
    """The step was reached."""

  def update(*arguments):
    stack = [frame.filename for frame in reversed(inspect.stack())]
    walks.append([name for name, _ in itertools.groupby(f for f in stack if str(PACKAGE) in f)])
    raise Seen

  monkeypatch.setattr(step, "update", update)
  with pytest.raises(Seen):
    loop.train(*systems.configure(values), tmp_path / "run")
  walk = walks[0]
  assert walk[0].endswith("engine/loop.py") and walk[-1].endswith("isfuse/step.py")
  assert 1 + len(set(walk)) <= 6, walk
  assert max(walk.count(name) for name in walk) <= 2, walk


def test_importing_the_package_is_free_of_side_effects():
  assert "import jax" not in (PACKAGE / "__init__.py").read_text()
