"""The PyTorch form of the benchmarks is the authors' network and training step, and so ours."""

import jax
import numpy as np
import pytest

from cfi_jax.systems.amgfuse import model as model_lib
from cfi_jax.systems.amgfuse import recipes, torch_names, ways

torch = pytest.importorskip("torch", reason="PyTorch, the extra `torch`, is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = dict(
  visible="vi", infrared="ir", clean_visible="gt_vi", clean_infrared="gt_ir", pseudo="pseudo"
)


@pytest.fixture
def networks(rule, options):
  """Both reduced networks with the weights of the fixture, float64."""
  from cfi_jax.benchmark.rivals.torch_amgfuse import NETWORKS, from_state

  made = []
  for architecture, prefix in zip(options, ("", "res."), strict=True):
    shapes = NETWORKS[architecture["name"]](architecture).state_dict()
    state = {name: rule[1](prefix + name, tuple(x.shape)) for name, x in shapes.items()}
    made.append(from_state(state, architecture))
  return made


def test_it_is_the_network_of_the_authors(networks, oracle):
  network, restoration = networks
  prefix = "reduced/b_40x56/"
  images = (torch.tensor(oracle[f"{prefix}in_{name}"]) for name in ("vi", "ir"))
  with torch.inference_mode():
    outputs = network(*images)
    restored = restoration(outputs.masked)
  for name, image in (
    ("fused", outputs.fused),
    ("vi", outputs.visible),
    ("ir", outputs.infrared),
    ("masked", outputs.masked),
    ("restored", restored),
  ):
    np.testing.assert_allclose(image, oracle[prefix + name], rtol=0, atol=1e-9, err_msg=name)


def test_its_steps_are_those_of_the_authors(networks, oracle):
  from cfi_jax.benchmark.rivals import torch_amgfuse_train

  network, restoration = networks
  images = {ours: torch.tensor(oracle[f"train/in_{name}"]) for ours, name in IMAGES.items()}
  recipe = recipes.released()
  settings = {"loss": recipe.loss.to_dict(), "optim": recipe.optim.to_dict(), "rates": [1e-4]}
  step = torch_amgfuse_train.Step(network, settings, images, restore=restoration)
  names = {name.decode(): i for i, name in enumerate(oracle["train/names"])}
  before = {name: x.detach().clone() for name, x in network.named_parameters()}
  for i in range(2):
    losses = step()
    assert float(losses["loss"]) == pytest.approx(oracle["train/total_loss"][i], rel=1e-9)
    found = [10 * float(losses[k]) for k in ("edges", "intensity", "structure", "colour")]
    expected = oracle["train/parts_gradient_intensity_ssim_colour"][i]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    for name, x in network.named_parameters():
      change, norm = x.detach() - before[name], oracle[f"train/delta_norm_after_step{i + 1}"]
      assert float(change.norm()) == pytest.approx(norm[names[name]], rel=1e-7), name


# What the release has not.
VARIANTS = [
  dict(
    mask=False,
    gate=False,
    masked_by="infrared",
    prior="none",
    fold=1,
    blocks=(1, 2),
    heads=(1, 4),
    refinement=2,
  ),
  dict(blocks=(1,), heads=(2,), refinement=1),
]


@pytest.mark.parametrize("change", VARIANTS)
def test_it_is_ours_whatever_the_architecture(change, options, random, x64):
  from cfi_jax.benchmark.rivals.torch_amgfuse import from_state

  architecture = options[0] | dict(width=16) | change
  wide = {"dtype": "float64", "param_dtype": "float64"}
  module = model_lib.make_model({**architecture, **ways.PLAIN, **wide})
  shapes = jax.eval_shape(lambda: model_lib.init(module, jax.random.key(0)))
  variables = jax.tree.map(lambda s: 0.1 * random.normal(size=s.shape), shapes)
  images = random.uniform(size=(2, 6, 10, 3)), random.uniform(size=(2, 6, 10, 1))
  ours = jax.jit(module.apply)(variables, *images)
  state = torch_names.to_torch(variables, len(architecture["blocks"]))
  with torch.inference_mode():
    theirs = from_state(state, architecture)(
      *(torch.tensor(image).permute(0, 3, 1, 2) for image in images)
    )
  for name in ("fused", "visible", "infrared", "masked"):
    found = getattr(theirs, name).permute(0, 2, 3, 1)
    np.testing.assert_allclose(found, getattr(ours, name), rtol=0, atol=1e-9, err_msg=name)
