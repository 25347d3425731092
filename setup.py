"""Puts the folder configs into wheels as cfi_jax/configs; pyproject.toml has everything else.

A package of setuptools would have to stand below cfi_jax in the checkout, too. An editable install
copies nothing: there the configs are those of the checkout.
"""

import pathlib

import setuptools
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
  """Builds the package, then adds the config files."""

  def run(self):
    """Copies configs/*.py into the built package, if it is not an editable install."""
    super().run()
    if self.editable_mode:
      return
    target = pathlib.Path(self.build_lib, "cfi_jax", "configs")
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(pathlib.Path(__file__).parent.joinpath("configs").glob("*.py")):
      self.copy_file(str(path), str(target / path.name))


setuptools.setup(cmdclass={"build_py": BuildWithConfigs})
