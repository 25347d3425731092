"""The rules of the source tree: layers, sizes."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# A module imports only from its own group or groups above it.
LAYERS = [
  {"types", "ops", "files"},
  {"data"},
  {"models"},
  {"interventions", "corruptions", "losses", "metrics"},
  {"state", "optim", "sharding", "checkpoint", "memory", "preemption", "record", "logs", "step"}
  | {"watch", "processes"},
  {"compilation", "dispatch", "feed"},
  {"config", "recipes"},
  {"pretrained", "torch_checkpoint", "weights", "inference", "report"},
  {"validation", "writer", "analysis"},
  {"train", "check", "prepare", "fuse", "evaluate", "analyze", "convert", "export", "benchmark"}
  | {"shift", "reproduce", "studies"},
  {"main"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
FILES = sorted((ROOT / "cfi_jax").rglob("*.py"))


def imports(path: pathlib.Path) -> set[str]:
  """First-level modules of cfi_jax that a file imports."""
  found = set()
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.ImportFrom) and node.module == "cfi_jax":
      found |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cfi_jax."):
      found.add(node.module.split(".")[1])
    elif isinstance(node, ast.Import):
      names = [alias.name.split(".") for alias in node.names]
      found |= {name[1] for name in names if name[0] == "cfi_jax" and len(name) > 1}
  return found


def layer(path: pathlib.Path) -> str:
  """The first-level module that a file belongs to."""
  return path.relative_to(ROOT / "cfi_jax").parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_layers_and_sizes(path):
  if layer(path) != "__init__":
    assert layer(path) in RANK, f"{path} has no layer: add it to LAYERS"
    above = [name for name in imports(path) if RANK[name] > RANK[layer(path)]]
    assert not above, f"{path.name} imports from a later layer: {above}"
  assert len(path.read_text().splitlines()) <= 330


def test_the_training_step_is_short():
  tree = ast.parse((ROOT / "cfi_jax" / "step.py").read_text())
  lengths = {
    node.name: node.end_lineno - node.lineno + 1
    for node in ast.walk(tree)
    if isinstance(node, ast.FunctionDef)
  }
  assert lengths["make_train_step"] + lengths["update"] <= 60
  assert max(lengths.values()) <= 40


def test_importing_the_package_is_free_of_side_effects():
  text = (ROOT / "cfi_jax" / "__init__.py").read_text()
  assert "import jax" not in text
