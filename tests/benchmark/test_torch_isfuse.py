"""The PyTorch network of the benchmarks is the network."""

import pathlib
import sys

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def test_it_gives_the_reference_outputs(inference_reference):
  torch = pytest.importorskip("torch")
  sys.path.insert(0, str(ROOT / "benchmarks"))
  try:
    from torch_isfuse import from_state
  finally:
    sys.path.remove(str(ROOT / "benchmarks"))
  prefix = "state/"
  state = {
    k.removeprefix(prefix): v for k, v in inference_reference.items() if k.startswith(prefix)
  }
  from cfi_jax.models import torch_names

  network = from_state({k: v for k, v in state.items() if not torch_names.is_dead(k)}).float()
  for size in ("53x67", "8x8"):
    images = [inference_reference[f"{size}/{m}"] for m in ("visible", "infrared")]
    tensors = [torch.tensor(i, dtype=torch.float32).permute(0, 3, 1, 2) / 255 for i in images]
    with torch.inference_mode():
      fused = network(*tensors).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(fused, inference_reference[f"{size}/fused"], atol=1e-5)
