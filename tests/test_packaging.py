"""The wheel: what is in it, and that it works without the checkout."""

import os
import shutil
import subprocess
import sys
import venv
import zipfile

import pytest
from command_line import ROOT

import cfi_jax

CONFIGS = sorted(path.name for path in (ROOT / "configs").glob("*.py"))
COMMANDS = [path.name for path in (ROOT / "cfi_jax").iterdir() if (path / "__main__.py").exists()]
COMMANDS += ["main", "check", "prepare", "convert"]
# Builds a configuration from a config file of the installed package, as a run does.
CHECK = """
import importlib.util, pathlib, sys
import cfi_jax
from cfi_jax.core import config
package = pathlib.Path(cfi_jax.__file__).parent
assert package.is_relative_to(sys.prefix), package
found = sorted((package / "configs").glob("*.py"))
for path in found:
  assert len(config.load(str(path))) > 1
print(cfi_jax.__version__, *(path.name for path in found))
for command in sys.argv[1:]:
  assert importlib.util.find_spec(f"cfi_jax.{command}"), command
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
  """The wheel of what the checkout holds."""
  root = tmp_path_factory.mktemp("wheel")
  source = root / "source"
  ignored = shutil.ignore_patterns("__pycache__")
  for folder in ("cfi_jax", "configs"):
    shutil.copytree(ROOT / folder, source / folder, ignore=ignored)
  for file in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
    shutil.copy(ROOT / file, source)
  command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
  subprocess.run([*command, "-w", root, source], check=True)
  (path,) = root.glob("*.whl")
  return path


def test_it_holds_every_file_of_the_package_and_the_configs(wheel):
  assert f"-{cfi_jax.__version__}-" in wheel.name
  with zipfile.ZipFile(wheel) as archive:
    held = {name for name in archive.namelist() if ".dist-info/" not in name}
  sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "cfi_jax").rglob("*.py")}
  assert sources and CONFIGS
  assert {name for name in held if name.endswith(".py")} == sources | {
    f"cfi_jax/configs/{name}" for name in CONFIGS
  }
  assert "cfi_jax/py.typed" in held
  assert all(name.startswith("cfi_jax/") for name in held)


def test_it_works_without_the_checkout(wheel, tmp_path):
  """In a fresh environment, whose other packages are those of this one."""
  venv.create(tmp_path / "fresh", symlinks=True)
  python = tmp_path / "fresh" / "bin" / "python"
  site = subprocess.run(
    [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
    check=True, capture_output=True, text=True,
  ).stdout.strip()  # fmt: skip
  install = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-deps"]
  subprocess.run([*install, "--no-index", "--no-warn-script-location", wheel], check=True)
  others = [path for path in sys.path if path.endswith("site-packages")]
  with open(f"{site}/others.pth", "w") as file:
    file.write("\n".join(others))
  environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

  def run(*arguments):
    command = [python, *arguments]
    return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

  checked = run("-P", "-c", CHECK, *COMMANDS)
  assert checked.stdout.split() == [cfi_jax.__version__, *CONFIGS], checked.stderr
  helped = run("-m", "cfi_jax.main", "--config=folder", "--help")
  assert "--workdir" in helped.stdout and "--config.data.match=name" in helped.stdout, helped.stderr
