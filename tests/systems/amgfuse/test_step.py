"""Two training steps of the authors' code, the learning rates of their epochs, and the clip."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from command_line import ROOT
from full import FULL, only_full

from cfi_jax import datasets, systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine.state import TrainState
from cfi_jax.systems import files
from cfi_jax.systems.amgfuse import model as model_lib
from cfi_jax.systems.amgfuse import optimizer, recipes, torch_names
from cfi_jax.systems.amgfuse.procedure import make_parts
from cfi_jax.systems.amgfuse.samples import Scene
from cfi_jax.systems.amgfuse.step import train_step
from cfi_jax.systems.amgfuse.untrained import UntrainedWarning

PARTS = ("edges", "intensity", "structure", "colour")  # in the fixture's order
IMAGES = dict(
  visible="vi", infrared="ir", clean_visible="gt_vi", clean_infrared="gt_ir", pseudo="pseudo"
)


def configure(change=None):
  """The authors' training as a config, with a restoration network that nothing opens."""
  config = recipes.released()
  config.restoration.weights = "restoration.safetensors"
  if change:
    change(config)
  return systems.configure(config.to_dict())[1]


def of_the_oracle(config):
  """The reduced networks in float64, at the rate of the fixture's steps."""
  size = dict(width=24, blocks=(1, 2, 1, 2), refinement=1)
  config.model.update(size, dtype="float64", param_dtype="float64")
  config.restoration.update(size, width=8, blocks=(1, 1, 1, 1))
  config.epochs = 1.0
  config.optim.update(warmup_epochs=0, final_learning_rate=1e-4)


@only_full
def test_two_steps_are_those_of_the_authors(reduced, oracle, rule, pixels, x64):
  uniform, _ = rule
  _, variables, _, frozen = reduced()
  parts = make_parts(configure(of_the_oracle), 2)
  scene = Scene(**{ours: pixels(oracle[f"train/in_{name}"]) for ours, name in IMAGES.items()})
  params = jax.tree.map(jnp.asarray, variables["params"])
  state = TrainState(jnp.int32(0), params, {}, parts.optimizer.init(params))
  step = jax.jit(lambda *arguments: train_step(parts, *arguments, jax.random.key(0)))
  names = {name.decode(): i for i, name in enumerate(oracle["train/names"])}
  full = [key.split("/")[2] for key in oracle if key.startswith("train/grad/")]

  def compare(tree, kind, suffix, single):
    tensors = torch_names.to_torch({"params": tree}, 4)
    assert set(full) <= set(tensors) <= set(names)
    for name, found in tensors.items():
      norm, size = oracle[f"train/{kind}_norm{suffix}"][names[name]], np.linalg.norm(found)
      np.testing.assert_allclose(size, norm, rtol=1e-7, err_msg=name)
      shadow = (found * uniform(f"proj/{name}", found.shape)).sum()
      expected = oracle[f"train/{kind}_proj{suffix}"][names[name]]
      np.testing.assert_allclose(shadow, expected, rtol=0, atol=1e-7 * norm, err_msg=name)
      if name in full:
        expected = oracle[f"train/{single}/{name}"]
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7 * norm, err_msg=name)

  for i in range(2):
    state, metrics = step(state, scene, frozen)
    np.testing.assert_allclose(metrics["loss"], oracle["train/total_loss"][i], rtol=1e-9)
    weighted = [10 * metrics[name] for name in PARTS]
    expected = oracle["train/parts_gradient_intensity_ssim_colour"][i]
    np.testing.assert_allclose(weighted, expected, rtol=1e-9)
    of_visible, of_infrared, tdas = oracle["train/l1_mgls_vi_mgls_ir_tdas_unweighted"][i]
    np.testing.assert_allclose(metrics["mgls"], of_visible + of_infrared, rtol=1e-9)
    np.testing.assert_allclose(metrics["tdas"], tdas, rtol=1e-9)
    norm = oracle["train/grad_total_norm"][i]
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-7)
    if i == 0:
      # Adam's first moment is a tenth of the clipped gradient.
      scale = 10 / min(1, 1e-4 / (norm + 1e-6))
      moments = optax.tree.get(state.opt_state, "mu")
      gradients = jax.tree.map(functools.partial(jnp.multiply, scale), moments)
      compare(gradients, "grad", "", "grad")
    change = jax.tree.map(jnp.subtract, state.params, params)
    compare(change, "delta", f"_after_step{i + 1}", f"delta_step{i + 1}")


def test_learning_rates_are_those_of_the_authors(oracle, x64):
  options = configure().optim
  expected = oracle["train/lr_epoch_1_to_201"]
  found = optimizer.learning_rates(options, 200)
  np.testing.assert_allclose(found, expected[:200], rtol=1e-9)
  # Their 201st is one step past the end, where a cosine would rise again.
  past = 1e-6 + (1e-4 - 1e-6) * 0.5 * (1 + np.cos(np.pi * 196 / 195))
  assert expected[200] == pytest.approx(past, rel=1e-9)
  # 7 steps an epoch, and one more for what is left over at the end.
  rate = optimizer.schedule(options, 200.0, 1401)
  steps = np.arange(1401)
  epochs = np.minimum(199, np.floor(steps * 200 / 1401)).astype(int)
  np.testing.assert_allclose(jax.vmap(rate)(steps), found[epochs], rtol=1e-12)


@pytest.mark.parametrize(("epochs", "steps", "changes"), [(0.0, 5, 5), (0.5, 4, 1), (2.0, 6, 2)])
def test_steps_are_divided_into_epochs(epochs, steps, changes):
  def constant(config):
    config.optim.warmup_epochs = 0

  rate = optimizer.schedule(configure(constant).optim, epochs, steps)
  values = [float(rate(step)) for step in range(steps)]
  assert len(set(values)) == changes and values == sorted(values, reverse=True)
  assert values[-1] == pytest.approx(1e-6)


def test_the_gradient_is_clipped_by_its_norm_and_a_millionth():
  gradients = {"a": jnp.array([3.0]), "b": jnp.array([4.0])}
  clipped, _ = optimizer.clip(0.5).update(gradients, None)
  np.testing.assert_allclose(clipped["b"], 4 * 0.5 / (5 + 1e-6), rtol=1e-6)
  small, _ = optimizer.clip(6.0).update(gradients, None)
  np.testing.assert_array_equal(small["b"], gradients["b"])


def test_the_restoration_network_is_read_and_is_part_of_a_runs_identity(tmp_path, random):
  path = tmp_path / "restoration.safetensors"

  def small(config):
    config.restoration = dict(weights=str(path), width=2, blocks=(1, 1), heads=(1, 1), refinement=1)

  config = configure(small)
  system = systems.find("amgfuse")
  with pytest.raises(InputError, match="restoration.safetensors: does not exist"):
    system.constants(config)
  card = files.Card("amgfuse", config.restoration.architecture, "", "", "2026-11-28", "")
  shapes = system.shapes(card.architecture)
  variables = jax.tree.map(lambda s: np.float32(random.normal(size=s.shape)), shapes)
  files.save(path, variables, card)
  found, identity = system.constants(config)
  jax.tree.map(np.testing.assert_array_equal, found, variables)
  assert len(identity["restoration"]) == 64
  other = dataclasses.replace(config.restoration, width=4)
  with pytest.raises(InputError, match="holds width=2; config.restoration says width=4"):
    system.constants(dataclasses.replace(config, restoration=other))
  none = dataclasses.replace(config.restoration, weights="")
  alone = dataclasses.replace(config, restoration=none, loss=config.loss | {"tdas": 0.0})
  assert system.constants(alone) == ((), {})
  untrained = jax.tree_util.tree_map_with_path(
    lambda path, x: np.ones_like(x) * (path[-1].key != "bias"), variables
  )
  files.save(path, untrained, card)
  with pytest.warns(UntrainedWarning, match="config.restoration.weights="):
    system.constants(config)


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_every_recipe_is_a_config(recipe):
  values = config_lib.load(f"{ROOT / 'configs' / 'amgfuse.py'}:{recipe}").to_dict()
  values["restoration"]["weights"] = "restoration.safetensors"
  system, config = systems.configure(values)
  datasets.load(config.data)
  procedure = system.procedure(config, 10)
  if recipe == "restoration":  # the size that fusion takes for granted
    assert model_lib.architecture(config.model) == configure().restoration.architecture
  sizes = {"all": 60_073_492 - 302_102, "restoration": 36_680_594}  # without the dead tensors
  if recipe in sizes and FULL:  # seconds of tracing
    state = jax.eval_shape(procedure.init, jax.random.key(0))
    variables, _ = system.product(config, state)
    assert sum(x.size for x in jax.tree.leaves(variables)) == sizes[recipe]


@pytest.mark.parametrize(
  ("path", "value", "words"),
  [
    ("restoration.weights", "", "loss.tdas is 5.0, which needs --config.restoration.weights=FILE"),
    ("loss.fog", 1.0, "no term 'fog' for amgfuse; valid: intensity, edges"),
    ("loss.colour", -1.0, "loss.colour is -1.0"),
    ("model.name", "unet", "no model 'unet'"),
    ("input.crop", 30, "input.crop is 30; the network needs a multiple of 8"),
    ("pseudo.planes", 8, "pseudo.planes is 8"),
    ("optim.clip_norm", -1.0, "optim.clip_norm is -1.0"),
    ("checkpoint.best", "SSIM", "restored_psnr .higher."),
  ],
)
def test_configs_that_cannot_be_are_refused(path, value, words):
  def change(config):
    *parents, key = path.split(".")
    for parent in parents:
      config = config[parent]
    with config.unlocked():
      config[key] = value

  with pytest.raises(InputError, match=words):
    systems.find("amgfuse").procedure(configure(change), 1)
