"""The release's state dict: strict, complete, and there and back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Pair
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.model import make_model
from cfi_jax.systems.isfuse.torch_names import from_torch, to_torch


@pytest.fixture(scope="module")
def template():
  blank = Pair(visible=jnp.zeros((1, 16, 16, 1)), infrared=jnp.zeros((1, 16, 16, 1)))
  model = make_model(recipes.released().model.to_dict())
  return jax.eval_shape(model.init, jax.random.key(0), blank)


@pytest.fixture
def state(inference_reference):
  items = inference_reference.items()
  return {k.removeprefix("state/"): v for k, v in items if k.startswith("state/")}


def test_there_and_back(state, template):
  back = to_torch(from_torch(state, template))
  assert back.keys() == state.keys()
  for name, array in state.items():
    np.testing.assert_array_equal(back[name], array)


def test_dead_tensors_are_dropped_by_name(state, template):
  dead = {
    "encoder_vis.module4.0.weight": np.zeros(1),
    "encoder_ir.module5.1.bias": np.zeros(1),
    "adjust_channels3.0.weight": np.zeros(1),
    "cfi3.refine.1.num_batches_tracked": np.zeros(()),
  }
  assert to_torch(from_torch(state | dead, template)).keys() == state.keys()


def test_missing_extra_and_misshapen_tensors_are_all_named(state, template):
  del state["cfi4.q_v.weight"]
  state["encoder_vis.module6.0.weight"] = np.zeros(1)
  state["final_decoder.0.bias"] = np.zeros(2)
  with pytest.raises(InputError) as error:
    from_torch(state, template)
  for text in ("missing cfi4.q_v.weight", "unexpected encoder_vis.module6", "final_decoder.0.bias"):
    assert text in str(error.value)
