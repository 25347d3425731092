import jax
import jax.numpy as jnp
import numpy as np

from cfi_jax.systems.perception import model as model_lib
from cfi_jax.systems.perception import recipes
from cfi_jax.systems.perception.layers import Concatenation, Special, SqueezeExcitation
from cfi_jax.systems.perception.model import FUSIONS, JOINS, Architecture

RNG = np.random.default_rng(0)
VISIBLE, INFRARED = jnp.asarray(RNG.normal(size=(2, 2, 3, 3, 4)), jnp.float32)


def begin(module, seed):
  return jax.jit(module.init)(jax.random.key(seed), VISIBLE, INFRARED)["params"]


def special():
  module = Special(jnp.float32)
  return module, begin(module, 0)


def count(params):
  return sum(np.prod(x.shape) for x in jax.tree.leaves(params))


def test_the_special_strategy_is_its_formula():
  module, params = special()
  params["biases"], params["scale"] = RNG.normal(size=(2, 4)), RNG.normal(size=4)
  fused, error = jax.jit(module.apply)({"params": params}, VISIBLE, INFRARED)
  own, other = np.float64(VISIBLE), np.float64(INFRARED)
  kernels, biases = np.float64(params["predictors"]), params["biases"]
  told = [other @ kernels[0] + biases[0], own @ kernels[1] + biases[1]]
  rests = [own - told[0], other - told[1]]
  gate = params["Dense_0"]
  gate = np.concatenate(rests, -1) @ np.float64(gate["kernel"]) + np.float64(gate["bias"])
  gate = 1 / (1 + np.exp(-gate))
  rest = gate * rests[0] + (1 - gate) * rests[1]
  expected = (told[0] + told[1]) / 2 + params["scale"] * rest
  np.testing.assert_allclose(fused, expected, rtol=1e-4, atol=1e-5)
  shares = [
    np.square(r).mean((1, 2, 3)) / (x.var((1, 2)).mean(-1) + 1e-3)
    for r, x in zip(rests, (own, other), strict=True)
  ]
  np.testing.assert_allclose(error, (shares[0] + shares[1]) / 2, rtol=1e-4)


def test_twins_are_averaged_and_their_prediction_is_exact():
  module, params = special()
  params["predictors"] = jnp.stack([jnp.eye(4)] * 2)
  fused, error = jax.jit(module.apply)({"params": params}, VISIBLE, VISIBLE)
  np.testing.assert_allclose(fused, VISIBLE, atol=1e-5)
  np.testing.assert_allclose(error, 0, atol=1e-6)


def test_predictors_learn_to_predict_alone():
  module, params = special()

  def outputs(params, visible):
    fused, error = module.apply({"params": params}, visible, INFRARED)
    return jnp.stack([jnp.square(fused).sum(), error.sum()])

  by_params, by_input = jax.jit(jax.jacobian(outputs, argnums=(0, 1)))(params, VISIBLE)
  task = {name: np.abs(jax.tree.leaves(g)[0][0]).max() for name, g in by_params.items()}
  told = {name: np.abs(jax.tree.leaves(g)[0][1]).max() for name, g in by_params.items()}
  assert task["predictors"] == task["biases"] == 0 < min(task["Dense_0"], task["scale"])
  assert told["Dense_0"] == told["scale"] == 0 < min(told["predictors"], told["biases"])
  assert np.abs(by_input[0]).max() > 0 and np.abs(by_input[1]).max() == 0


def test_concatenation_is_a_perceptron_of_both_features():
  module = Concatenation(jnp.float32)
  params = begin(module, 1)
  params["scale"] = RNG.normal(size=4)
  fused, error = jax.jit(module.apply)({"params": params}, VISIBLE, INFRARED)
  x = np.concatenate([VISIBLE, INFRARED], -1).astype(np.float64)
  for k in range(3):
    layer = params[f"Dense_{k}"]
    x = x @ np.float64(layer["kernel"]) + np.float64(layer["bias"])
    x = np.maximum(x, 0) if k < 2 else x
  np.testing.assert_allclose(fused, params["scale"] * x, rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(error, [0, 0])


def test_gates_of_squeeze_and_excitation_are_those_of_the_whole_image():
  module = SqueezeExcitation(jnp.float32)
  params = begin(module, 2)
  fused, error = jax.jit(module.apply)({"params": params}, VISIBLE, INFRARED)
  both = np.concatenate([VISIBLE, INFRARED], -1).astype(np.float64)
  hidden, gates = (
    (np.float64(params[name]["kernel"]), np.float64(params[name]["bias"]))
    for name in ("Dense_0", "Dense_1")
  )
  x = np.maximum(both.mean((1, 2)) @ hidden[0] + hidden[1], 0)
  opened = both / (1 + np.exp(-(x @ gates[0] + gates[1])))[:, None, None]
  np.testing.assert_allclose(fused, opened[..., :4] + opened[..., 4:], rtol=1e-4, atol=1e-5)
  np.testing.assert_array_equal(error, [0, 0])


def test_strategies_have_equal_parameters():
  for kind in JOINS.values():
    own = jax.eval_shape(lambda kind=kind: begin(kind(jnp.float32), 0))
    assert count(own) == 4 * 4**2 + 4 * 4, kind
  sizes = {}
  for fusion in FUSIONS:
    options = recipes.get(fusion).model.to_dict() | dict(width=4)
    fields = Architecture(**options, classes=("none", "car"))
    shapes = jax.eval_shape(lambda fields=fields: model_lib.init(fields, jax.random.key(0)))
    sizes[fusion] = count(shapes)
  assert len({sizes[name] for name in JOINS}) == 1 and sizes["visible"] == sizes["infrared"]
  assert sizes["visible"] < sizes["early"] < sizes["middle"] < sizes["all_levels"] < sizes["late"]


def test_a_network_of_one_image_does_not_see_the_other():
  fields = dict(recipes.get("visible").model, width=4, classes=("none", "car"))
  network = model_lib.Perception(Architecture(**fields))
  params = model_lib.init(network.architecture, jax.random.key(0))
  images = jnp.asarray(RNG.random((3, 1, 8, 8, 1)), jnp.float32)
  see = jax.jit(lambda v, i: network.apply({"params": params}, v, i))
  first, other, changed = see(images[0], images[1]), see(images[0], images[2]), see(*images[1:])
  jax.tree.map(np.testing.assert_array_equal, first, other)
  assert np.abs(first.logits - changed.logits).max() > 0
  assert first.logits.shape == (1, 8, 8, 2) and first.detection.heat.shape == (1, 4, 4, 2)
  assert [x.shape for x in first.features["visible"]] == [
    (1, 8, 8, 4), (1, 4, 4, 8), (1, 2, 2, 16), (1, 1, 1, 32)
  ]  # fmt: skip
