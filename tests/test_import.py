"""Importing the package is fast and free of side effects; its names appear on use."""

import subprocess
import sys

import pytest

import cfi_jax

CHECK = """
import sys
before = set(sys.modules)
import cfi_jax
new = set(sys.modules) - before
heavy = {"jax", "flax", "numpy", "PIL", "absl"} & new
assert not heavy, heavy
assert cfi_jax.__version__
"""


def test_import_loads_nothing():
  subprocess.run([sys.executable, "-c", CHECK], check=True)


def test_names_are_found_on_use():
  from cfi_jax.systems.files import load_fuser as load

  assert cfi_jax.load is load
  assert cfi_jax.metrics.__name__ == "cfi_jax.metrics"
  with pytest.raises(AttributeError, match="no attribute 'lod'"):
    _ = cfi_jax.lod
