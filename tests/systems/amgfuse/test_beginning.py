"""A network with a prior that begins from weights without one."""

import jax
import numpy as np
import pytest
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import product
from cfi_jax.systems import files
from cfi_jax.systems.amgfuse import model as model_lib
from cfi_jax.systems.amgfuse.config import Config

TINY = ROOT / "tests" / "systems" / "amgfuse" / "tiny.py"


def configure(prior, path):
  values = config_lib.load(str(TINY))
  values.model.prior, values.init_from = prior, str(path)
  return config_lib.build(Config, values.to_dict())


@pytest.fixture
def file(tmp_path, random):
  """Weights without a prior, and their file."""
  system, path = systems.find("amgfuse"), tmp_path / "start.safetensors"
  config = configure("none", "")
  architecture = model_lib.architecture(config.model)
  del architecture["prior"], architecture["fold"]  # as in files of earlier versions
  shapes = system.shapes(architecture)
  variables = jax.tree.map(lambda s: np.float32(random.normal(size=s.shape)), shapes)
  files.save(path, variables, files.Card("amgfuse", architecture, "", "", "2026-11-29", ""))
  return variables["params"], path


def test_its_outputs_are_corrections_of_nothing(file, tmp_path):
  variables, path = file
  system = systems.find("amgfuse")
  for prior in ("none", "wavelet:planes=1"):
    config = configure(prior, path)
    begun, identity = product.read_initial(system, config, tmp_path / "run")
    assert len(identity["init"]) == 64
    for name, part in begun["params"].items():
      if prior == "none" or not name.startswith("output_"):
        jax.tree.map(np.testing.assert_array_equal, part, variables[name])
      else:
        assert part["conv"]["kernel"].shape[-1] == 6 and not part["conv"]["kernel"].any()
  architecture = model_lib.architecture(config.model)
  files.save(path, begun, files.Card("amgfuse", architecture, "", "", "2026-11-29", ""))
  with pytest.raises(InputError, match="prior is 'wavelet:planes=1', not 'none'"):
    product.read_initial(system, configure("none", path), tmp_path / "run")
