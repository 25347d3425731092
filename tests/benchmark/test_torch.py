"""The PyTorch network and training step of the benchmarks are the network and the step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util
from random_weights import random_state, random_variables

from cfi_jax.benchmark.harness import torch_state
from cfi_jax.benchmark.harness.images import make_images
from cfi_jax.benchmark.subjects import isfuse as subject
from cfi_jax.core import config as config_lib
from cfi_jax.fusion import losses
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.systems import files
from cfi_jax.systems.isfuse import recipes, torch_names
from cfi_jax.systems.isfuse import step as step_lib
from cfi_jax.systems.isfuse import views as views_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.model import from_architecture
from cfi_jax.systems.isfuse.procedure import make_parts, shapes
from cfi_jax.systems.isfuse.release import RELEASED

torch = pytest.importorskip("torch", reason="PyTorch, the extra `torch`, is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")

HOLED = ("complementary", "shared")
# A variant of the architecture in every way that the release has not.
OTHER = RELEASED | {"features": 6, "grid": 3, "shared_encoder": True, "gate": "paper", "levels": 2}
OTHER["padding"] = "replicate"


@pytest.fixture(scope="module")
def names():
  """The names of the release, and PyTorch's here, of the same tensors."""
  paths = [path[1:] for path in traverse_util.flatten_dict(shapes(RELEASED))]
  return {
    torch_names.torch_name(path): ".".join([*path[:-1], torch_state.LEAVES[path[-1]]])
    for path in paths
  }


@pytest.fixture(scope="module")
def reference_state(inference_reference, names):
  return {own: inference_reference[f"state/{name}"] for name, own in names.items()}


def to_torch(image):
  """[B, H, W, 1] as [B, 1, H, W]."""
  return torch.tensor(np.asarray(image)).permute(0, 3, 1, 2)


def settings_of(config, steps=3):
  """The settings that the benchmark writes for PyTorch."""
  parts = {k: dataclasses.asdict(getattr(config, k)) for k in ("loss", "optim", "statistics")}
  return parts | {"steps": steps}


def test_it_gives_the_reference_outputs(inference_reference, reference_state):
  from cfi_jax.benchmark.rivals.torch_isfuse import from_state

  network = from_state(reference_state, RELEASED).float()
  for size in ("53x67", "8x8"):
    pictures = [inference_reference[f"{size}/{m}"] for m in MODALITIES]
    tensors = [torch.tensor(i, dtype=torch.float32).permute(0, 3, 1, 2) / 255 for i in pictures]
    with torch.inference_mode():
      fused, gates, _ = network(*tensors)
    fused = fused.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(fused, inference_reference[f"{size}/fused"], atol=1e-5)
    gate = gates[0].permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(gate, inference_reference[f"{size}/gate1"], atol=1e-4)


@pytest.mark.parametrize("weights", ["visible-infrared", "medical", "other"])
def test_it_knows_every_architecture(weights):
  from cfi_jax.benchmark.rivals.torch_isfuse import from_state

  if weights == "other":
    architecture, variables = OTHER, random_variables(from_architecture(OTHER, "float32"))
  else:
    variables, card = files.load(weights)
    architecture = card.architecture
  images = [image[..., None] for image in make_images(2, 29, 37).values()]
  module = from_architecture(architecture, "float32")
  ours_ = module.apply(variables, Pair(*images))
  network = from_state(torch_state.to_state(variables), architecture)
  with torch.inference_mode():
    fused, gates, _ = network(*map(to_torch, images))
  np.testing.assert_allclose(fused.permute(0, 2, 3, 1), ours_.fused, atol=1e-5)
  for gate, own in zip(gates, ours_.gates, strict=True):
    np.testing.assert_allclose(gate.permute(0, 2, 3, 1), own, atol=1e-5)


def test_its_step_equals_the_reference_and_so_ours(reference_state, train_reference, names):
  """Losses, gradients and running statistics in float64, as test_step.py has them of ours."""
  from cfi_jax.benchmark.rivals import torch_isfuse, torch_train

  config = config_lib.build(Config, recipes.released().to_dict())
  pair = {m: to_torch(train_reference[m] / 255) for m in MODALITIES}
  kept = {f"complementary/{m}": train_reference[f"mask_{m}"] for m in MODALITIES}
  kept |= {f"shared/{m}": train_reference["mask_shared"] for m in MODALITIES}
  views = {"original": tuple(pair.values())}
  for name in HOLED:
    views[name] = tuple(pair[m] * to_torch(kept[f"{name}/{m}"].astype(bool)) for m in MODALITIES)
  views["without_visible"] = (torch.zeros_like(pair["visible"]), pair["infrared"])
  views["without_infrared"] = (pair["visible"], torch.zeros_like(pair["infrared"]))
  network = torch_isfuse.from_state(reference_state, RELEASED).double().train()
  step = torch_train.Step(network, settings_of(config), views)

  found = {k: float(v) for k, v in step().items()}
  columns = [found[k] for k in ("loss", "intensity", "gradient")]
  parts = [[found[f"{k}/{v}"] for k in ("consistency", "area", "entropy")] for v in HOLED]
  columns.append(sum(c + a - e for c, a, e in parts) / 2)
  columns.append(found["necessity/without_visible"] + found["necessity/without_infrared"])
  columns += parts[0] + parts[1]
  np.testing.assert_allclose(columns, train_reference["losses"][0], rtol=1e-8)

  own = dict(network.named_parameters()) | dict(network.named_buffers())
  for name, tensor in ((name, own[renamed]) for name, renamed in names.items()):
    if name.endswith(("mean", "var")):
      expected, found = train_reference[f"after1/{name}"], tensor.numpy()
    else:
      expected, found = train_reference[f"step0/grad/{name}"], tensor.grad.numpy()
    scale = np.abs(expected).max()
    atol = 1e-10 if scale < 1e-10 else 1e-7 * scale  # stored in float32; some are zero but for it
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)
  # The next step's losses come out of the update.
  assert float(step()["loss"]) == pytest.approx(train_reference["losses"][1][0], rel=1e-6)


# What no recipe has, beside what the architecture `OTHER` has.
EVERYTHING = {
  "loss.fusion": {"maximum": 1.0, "structure": 0.7, "correlation": 0.5, "edges": 0.3},
  "loss.invariance.views": ("one_sided",),
  "loss.invariance.filling": 0.2,
  "loss.necessity.views": ("without_visible",),
  "masks.fill": 0.4,
  "statistics.views": "original",
  "statistics.momentum": 0.8,
  "optim.schedule": "cosine",
  "optim.warmup_steps": 2,
  "optim.clip_norm": 0.01,
  "optim.ema_decay": 0.9,
}
CASES = {name: (name, {}) for name in ("paper", "filling", "medical")}
CASES["everything"] = ("released", EVERYTHING)


def small(recipe, changes, case):
  """A recipe at a size that compiles in seconds, in float64."""
  settings = recipes.get(recipe)
  sizes = {"batch_size": 2, "input.crop": 20, "masks.size": (3, 6), "masks.holes": (1, 2)}
  model = OTHER if case == "everything" else {"features": 4, "grid": 2, "levels": 2}
  sizes |= {f"model.{name}": value for name, value in model.items()}
  sizes |= {"model.dtype": "float64", "model.param_dtype": "float64"}
  sizes |= {k: v for k, v in changes.items() if k != "loss.fusion"}
  settings.update_from_flattened_dict(sizes)
  values = settings.to_dict()
  values["loss"]["fusion"] = changes.get("loss.fusion", values["loss"]["fusion"])
  return config_lib.build(Config, values)


@pytest.mark.parametrize("case", CASES)
def test_its_step_equals_ours_whatever_the_recipe(case, x64):
  """Three steps in float64: losses, gradients, running statistics, average of the parameters.

  `released`, and so `wide`, is compared with the reference; `fusion_only` and `multiscale` are
  parts of others.
  """
  from cfi_jax.benchmark.rivals import torch_isfuse, torch_train

  config = small(*CASES[case], case)
  parts = make_parts(config, 3)
  images = {k: v.astype(np.float64) for k, v in make_images(2, 20, 20).items()}
  batch = Pair(**{m: jnp.asarray(image)[..., None] for m, image in images.items()})
  views = views_lib.make_views(parts, jax.random.fold_in(jax.random.key(0), 0), batch)
  state = random_state(parts)
  network = torch_isfuse.from_state(
    torch_state.to_state(state.variables), config.model, config.statistics.momentum
  )
  shown = subject.first_views(config, images)
  pairs = {v: tuple(to_torch(shown[f"{v}/{m}"][..., None]) for m in MODALITIES) for v in views}
  step = torch_train.Step(network.train(), settings_of(config), pairs)

  if config.optim.ema:
    state = state.replace(ema_params=state.params)
  update = jax.jit(lambda state: step_lib.update(parts, state, views))
  for i in range(3):
    state, metrics = update(state)
    expected = {k: float(v) for k, v in step().items()}
    for name, value in expected.items():
      assert float(metrics[name]) == pytest.approx(value, rel=1e-7), name
    if i == 0:
      check_gradients(config, state, network)
  # PyTorch's clipping adds 1e-6 to the norm; a step changes parameters by up to 1e-4.
  atol = 1e-6 if config.optim.clip_norm else 1e-8
  found = network.state_dict()
  last = {"params": state.params, "batch_stats": state.batch_stats}
  for name, value in torch_state.to_state(last).items():
    np.testing.assert_allclose(found[name], value, rtol=0, atol=atol, err_msg=name)
  average = dict(zip(dict(network.named_parameters()), step.update.average, strict=False))
  for name, value in torch_state.to_state({"params": state.ema_params}).items():
    np.testing.assert_allclose(average[name], value, rtol=0, atol=atol, err_msg=name)


def test_a_compiled_network_takes_the_same_step():
  from cfi_jax.benchmark.rivals import torch_isfuse, torch_train

  config = small("released", {"model.dtype": "float32", "model.param_dtype": "float32"}, "compiled")
  images = make_images(2, 20, 20)
  shown = subject.first_views(config, images)
  views = ("original", *config.loss.views)
  pairs = {v: tuple(to_torch(shown[f"{v}/{m}"][..., None]) for m in MODALITIES) for v in views}
  state, losses_ = torch_state.to_state(random_state(make_parts(config, 3)).variables), []
  for compile_ in (lambda network: None, lambda network: torch.compile(network, backend="eager")):
    network = torch_isfuse.from_state(state, config.model, config.statistics.momentum).train()
    step = torch_train.Step(network, settings_of(config), pairs, forward=compile_(network))
    losses_.append([float(step()["loss"]) for _ in range(2)])
  assert losses_[1] == pytest.approx(losses_[0], rel=1e-6)
  assert losses_[0][1] != losses_[0][0]


def check_gradients(config, state, network):
  """Adam's first moment after one step from zero is (1 - b1) times the gradient."""
  adam = next(s for s in jax.tree.leaves(state.opt_state, is_leaf=is_adam) if is_adam(s))
  gradients = jax.tree.map(lambda m: m / (1 - config.optim.b1), adam.mu)
  for name, expected in torch_state.to_state({"params": gradients}).items():
    found = dict(network.named_parameters())[name].grad.numpy()
    atol = 1e-10 + 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=name)


def is_adam(state):
  return isinstance(state, optax.ScaleByAdamState)


def test_it_knows_every_term():
  from cfi_jax.benchmark.rivals import torch_losses

  assert set(torch_losses.TERMS) == {*losses.FUSION_TERMS, *losses.TARGET_TERMS}


def test_the_counting_takes_the_gate_of_the_recipe():
  for recipe, hidden in (("released", 16), ("paper", 1)):
    config = config_lib.build(Config, recipes.get(recipe).to_dict())
    assert subject.network(config.model).hidden == hidden
