"""The PyTorch network and training step of the benchmarks are the network and the step."""

import dataclasses

import numpy as np
import pytest

from cfi_jax.benchmark import train
from cfi_jax.benchmark.harness import ours
from cfi_jax.core import config as config_lib
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.systems.isfuse import recipes, torch_names
from cfi_jax.systems.isfuse.config import Config

torch = pytest.importorskip("torch", reason="PyTorch, the extra `torch`, is not installed")


@pytest.fixture(autouse=True)
def one_thread():
  """Threads of PyTorch that wait for each other take ages where the cores are shared."""
  threads = torch.get_num_threads()
  torch.set_num_threads(1)
  yield
  torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reference_state(inference_reference):
  items = inference_reference.items()
  state = {k.removeprefix("state/"): v for k, v in items if k.startswith("state/")}
  return {k: v for k, v in state.items() if not torch_names.is_dead(k)}


def test_it_gives_the_reference_outputs(inference_reference, reference_state):
  from cfi_jax.benchmark.rivals.torch_isfuse import from_state

  network = from_state(reference_state).float()
  for size in ("53x67", "8x8"):
    pictures = [inference_reference[f"{size}/{m}"] for m in ("visible", "infrared")]
    tensors = [torch.tensor(i, dtype=torch.float32).permute(0, 3, 1, 2) / 255 for i in pictures]
    with torch.inference_mode():
      fused, gates = network(*tensors, with_gates=True)
    fused = fused.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(fused, inference_reference[f"{size}/fused"], atol=1e-5)
    gate = gates[0].permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(gate, inference_reference[f"{size}/gate1"], atol=1e-4)


def test_its_step_equals_the_reference_and_so_ours(reference_state, train_reference):
  """Losses, gradients and running statistics in float64, as test_step.py has them of ours."""
  from cfi_jax.benchmark.rivals import torch_isfuse, torch_train

  config = config_lib.build(Config, recipes.released().to_dict())
  arrays = {m: train_reference[m] / 255 for m in MODALITIES}
  for m in MODALITIES:
    arrays[f"complementary/{m}"] = train_reference[f"mask_{m}"].astype(bool)
    arrays[f"shared/{m}"] = train_reference["mask_shared"].astype(bool)
  tensors = {k: torch.tensor(v).permute(0, 3, 1, 2) for k, v in arrays.items()}
  network = torch_isfuse.from_state(reference_state).double().train()
  optimizer = torch.optim.Adam(network.parameters(), lr=config.optim.learning_rate)
  options = dataclasses.asdict(config.loss)
  step = torch_train.make_step(network, optimizer, options, tensors, tensors)

  losses = {k: float(v) for k, v in step().items()}
  columns = [losses[k] for k in ("loss", "intensity", "gradient")]
  parts = [[losses[f"{k}/{v}"] for k in ("consistency", "area", "entropy")] for v in train.MASKED]
  columns.append(sum(c + a - e for c, a, e in parts) / 2)
  columns.append(losses["necessity/without_visible"] + losses["necessity/without_infrared"])
  columns += parts[0] + parts[1]
  np.testing.assert_allclose(columns, train_reference["losses"][0], rtol=1e-8)
  for name, parameter in network.named_parameters():
    expected, found = train_reference[f"step0/grad/{name}"], parameter.grad.numpy()
    scale = np.abs(expected).max()
    atol = 1e-10 if scale < 1e-10 else 1e-7 * scale  # stored in float32; some are zero but for it
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)
  statistics = {k: v for k, v in network.named_buffers() if "running" in k}
  for name, found in statistics.items():
    expected = train_reference[f"after1/{name}"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * np.abs(expected).max())
  # The next step's losses come out of the update.
  assert float(step()["loss"]) == pytest.approx(train_reference["losses"][1][0], rel=1e-6)


def test_what_it_does_not_implement_is_refused():
  config = config_lib.build(Config, recipes.paper().to_dict())
  with pytest.raises(ValueError, match="shared_encoder=True, model.gate='paper'"):
    train.check_released(config)
  changes = {"optim.clip_norm": 1.0, "optim.ema_decay": 0.9, "masks.fill": 0.5}
  changes |= {"statistics.normalise": "original", "loss.invariance.filling": 1.0}
  changes |= {"loss.fusion.maximum": 1.0, "loss.necessity.views": ()}
  changes["loss.robustness.views"] = ("darker",)
  for name, value in changes.items():
    settings = recipes.released()
    settings.statistics.views = "original"
    settings.update_from_flattened_dict({name: value})
    config = config_lib.build(Config, settings.to_dict())
    with pytest.raises(ValueError, match="views c" if name == "loss.necessity.views" else name):
      train.check_released(config)


def test_the_counting_takes_the_gate_of_the_recipe():
  for recipe, hidden in (("released", 16), ("paper", 1)):
    config = config_lib.build(Config, recipes.get(recipe).to_dict())
    assert ours.network(config.model).hidden == hidden
