"""Programs for devices that need not be there are those of a `Model`."""

import numpy as np
import pytest
from random_weights import random_variables

from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.inference import Model, ahead, programs
from cfi_jax.systems.isfuse.model import architecture, from_architecture


@pytest.mark.parametrize("padding, size", [("zeros", (16, 24)), ("reflect", (17, 24))])
def test_it_lowers_what_a_model_fuses_with(padding, size, monkeypatch):
  fields = architecture(recipes.released().to_dict()["model"] | dict(features=4, grid=2))
  fields["padding"] = padding
  model = Model(random_variables(from_architecture(fields, "float32")), fields)
  lowering, texts = programs.lower, []

  def lower(*arguments):
    lowered = lowering(*arguments)
    texts.append(lowered.as_text())
    return lowered

  monkeypatch.setattr(programs, "lower", lower)
  model.fuse(*np.zeros((2, 2, *size), np.float32))
  ahead.lower_fuse(model.programs._mesh, fields, "float32", 2, size)
  assert len(texts) == 2 and texts[0] == texts[1]
