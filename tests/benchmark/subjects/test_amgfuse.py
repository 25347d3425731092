"""AMG-Fuse in benchmarks: what its form in PyTorch has."""

import types

import pytest

from cfi_jax.benchmark.subjects import amgfuse
from cfi_jax.core.types import InputError


@pytest.mark.parametrize(("name", "value"), [("fold", 2), ("prior", "wavelet")])
def test_the_form_of_amgfuse_in_pytorch_has_neither_fold_nor_prior(name, value):
  with pytest.raises(InputError, match=f"model.{name} is {value!r}; the form in PyTorch knows"):
    amgfuse.torch_state({}, {"blocks": (1,), name: value})


def test_the_form_of_amgfuse_in_pytorch_has_the_terms_of_its_authors():
  config = types.SimpleNamespace(loss={"structure": 1.0, "target": 0.0})
  assert amgfuse.torch_files(config, {}) == {}
  config.loss["target"] = 2.0
  with pytest.raises(InputError, match=r"loss.target is 2.0; .* intensity, edges, .*, tdas"):
    amgfuse.torch_files(config, {})
