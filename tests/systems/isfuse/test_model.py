"""The network against the reference's outputs, and its variants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from random_weights import random_variables

from cfi_jax.core.types import InputError
from cfi_jax.fusion import rules
from cfi_jax.fusion.rule_options import parse
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.model import init, make_model
from cfi_jax.systems.isfuse.torch_names import from_torch

OPTIONS = recipes.released().model.to_dict() | dict(dtype="float64", param_dtype="float64")
OPTIONS32 = OPTIONS | {"dtype": "float32", "param_dtype": "float32"}
SIZES = ("64x96", "53x67", "8x8", "130x41")


def shapes(model, size=16):
  blank = jnp.zeros((1, size, size, 1))
  return jax.eval_shape(model.init, jax.random.key(0), Pair(visible=blank, infrared=blank))


def fuse(reference, size, dtype):
  model = make_model(OPTIONS | {"dtype": dtype, "param_dtype": dtype})
  state = {k.removeprefix("state/"): v for k, v in reference.items() if k.startswith("state/")}
  variables = from_torch(state, shapes(model))
  variables = jax.tree.map(lambda x: jnp.asarray(x, dtype), variables)
  images = (reference[f"{size}/{m}"] / 255 for m in ("visible", "infrared"))
  return jax.jit(model.apply)(variables, Pair(*(jnp.asarray(x, dtype) for x in images)))


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_reference_in_float64(x64, inference_reference, size):
  fusion = fuse(inference_reference, size, "float64")
  np.testing.assert_allclose(fusion.fused, inference_reference[f"{size}/fused"], atol=1e-9, rtol=0)
  for level in (1, 2, 3):
    gate = inference_reference[f"{size}/gate{level}"]
    np.testing.assert_allclose(fusion.gates[level - 1], gate, atol=1e-9, rtol=0)
    if f"{size}/level{level}" in inference_reference:
      x = inference_reference[f"{size}/level{level}"]
      np.testing.assert_allclose(fusion.levels[level - 1], x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_reference_in_float32(inference_reference, size):
  fusion = fuse(inference_reference, size, "float32")
  np.testing.assert_allclose(fusion.fused, inference_reference[f"{size}/fused"], atol=2e-5, rtol=0)
  for level in (1, 2, 3):
    gate = inference_reference[f"{size}/gate{level}"]
    np.testing.assert_allclose(fusion.gates[level - 1], gate, atol=2e-5, rtol=0)


def test_bfloat16_stays_close_and_keeps_statistics_in_float32(inference_reference):
  model = make_model(OPTIONS | {"dtype": "bfloat16", "param_dtype": "float32"})
  variables = shapes(model)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  state = {
    k.removeprefix("state/"): v for k, v in inference_reference.items() if k.startswith("state/")
  }
  variables = jax.tree.map(jnp.asarray, from_torch(state, variables))
  images = (jnp.asarray(inference_reference[f"64x96/{m}"] / 255) for m in ("visible", "infrared"))
  fusion = jax.jit(model.apply)(variables, Pair(*images))
  assert fusion.fused.dtype == jnp.float32
  assert fusion.features["visible"][0].dtype == jnp.bfloat16
  error = np.abs(fusion.fused - inference_reference["64x96/fused"])
  assert 1e-5 < error.max() < 0.05


def test_size_and_variants():
  count = lambda **options: sum(  # noqa: E731
    x.size for x in jax.tree.leaves(shapes(make_model(OPTIONS32 | options))["params"])
  )
  assert count() == 192388
  encoder = 1 * 9 * 32 + 5 * 32 * 9 * 32 + 6 * 3 * 32
  assert count(shared_encoder=True) == 192388 - encoder
  gate = 32 * 9 * 16 + 3 * 16 + 17
  assert count(gate="paper") == 192388 - 3 * gate + 3 * (32 * 9 + 1)


def test_a_shared_encoder_encodes_both_modalities_alike_and_two_do_not():
  image = jax.random.uniform(jax.random.key(1), (1, 16, 16, 1))
  for is_shared in (True, False):
    model = make_model(OPTIONS32 | {"shared_encoder": is_shared, "features": 4})
    variables = random_variables(model)
    features = jax.jit(model.apply)(variables, Pair(visible=image, infrared=image)).features
    same = np.array_equal(features["visible"][0], features["infrared"][0])
    assert same == is_shared


@pytest.mark.parametrize("padding", ["reflect", "replicate"])
def test_padding_only_changes_what_the_border_reaches(padding):
  pair = Pair(*jax.random.uniform(jax.random.key(1), (2, 1, 24, 24, 1)))
  models = [make_model(OPTIONS32 | {"padding": p, "features": 4}) for p in ("zeros", padding)]
  variables = random_variables(models[0])
  zeros, other = (jax.jit(m.apply)(variables, pair).features["visible"][0] for m in models)
  np.testing.assert_allclose(zeros[:, 2:-2, 2:-2], other[:, 2:-2, 2:-2], atol=1e-6)
  assert np.abs(zeros[:, 0] - other[:, 0]).max() > 1e-3


def test_one_blank_image_stands_for_a_batch():
  model = make_model(OPTIONS32 | {"features": 4})
  visible = jax.random.uniform(jax.random.key(1), (3, 16, 16, 1))
  blank = jnp.zeros((3, 16, 16, 1))
  variables = random_variables(model)
  full = jax.jit(model.apply)(variables, Pair(visible=visible, infrared=blank)).fused

  @jax.jit
  def fuse(visible, blank):
    features = {
      "visible": model.apply(variables, visible, "visible", method="encode"),
      "infrared": model.apply(variables, blank, "infrared", method="encode"),
    }
    return model.apply(variables, features, Pair(visible, blank), method="integrate").fused

  one = fuse(visible, blank[:1])
  np.testing.assert_allclose(one, full, atol=1e-6)


PRIOR = OPTIONS32 | {"features": 4, "levels": 1, "prior": "wavelet:planes=2,gain=1.3"}
RULE = parse(PRIOR["prior"])


def test_before_training_a_network_with_a_prior_is_its_rule():
  pair = Pair(*jax.random.uniform(jax.random.key(1), (2, 2, 24, 20, 1)))
  model = make_model(PRIOR)
  fusion = jax.jit(lambda pair: model.apply(init(model, jax.random.key(0)), pair))(pair)
  expected = np.clip(rules.fuse(pair, RULE), 0, 1)
  np.testing.assert_allclose(fusion.fused, expected, atol=1e-5)
  for trust in (fusion.trust.visible, fusion.trust.infrared):
    assert np.ptp(trust) == 0 and 0.95 < float(trust.min()) < 1


def test_a_prior_fuses_as_far_as_the_network_trusts():
  pair = Pair(*jax.random.uniform(jax.random.key(1), (2, 2, 24, 20, 1)))
  model = make_model(PRIOR)
  variables = random_variables(model)
  for m in MODALITIES:
    variables["params"][f"trust_{m}"]["kernel"] *= 30
  fusion = jax.jit(model.apply)(variables, pair)
  assert float(np.ptp(fusion.trust.visible)) > 0.1 < float(np.ptp(fusion.trust.infrared))
  assert float(fusion.trust.visible.min()) >= 1e-3
  expected = np.clip(rules.fuse(pair, RULE, fusion.trust), 0, 1)
  np.testing.assert_allclose(fusion.fused, expected, atol=1e-6)
  black = jax.jit(model.apply)(variables, jax.tree.map(jnp.zeros_like, pair))
  assert float(jnp.abs(black.fused).max()) < 1e-6
  # A blank image stands for a batch, in the rule, too.
  blank = pair.replace(infrared=jnp.zeros_like(pair.infrared))
  features = {
    "visible": model.apply(variables, blank.visible, "visible", method="encode"),
    "infrared": model.apply(variables, blank.infrared[:1], "infrared", method="encode"),
  }
  one = Pair(blank.visible, blank.infrared[:1])
  found = model.apply(variables, features, one, method="integrate").fused
  np.testing.assert_allclose(found, jax.jit(model.apply)(variables, blank).fused, atol=1e-6)


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"gate": "soft"}, "'soft'; valid: released, paper"),
    ({"padding": "wrap"}, "valid: zeros, reflect, replicate"),
    ({"name": "unet"}, "valid: isfuse"),
    ({"dtype": "int8"}, "valid: bfloat16, float32, float64"),
    ({"dtype": "float64"}, "JAX_ENABLE_X64"),
    ({"grid": 0}, "model.grid=0"),
    ({"attention": "flash"}, "valid: auto, matmul, pallas"),
    ({"kernels": "fast"}, "model.kernels is .fast.; valid: auto, plain, fused"),
    ({"prior": "laplacian"}, "model.prior='laplacian'; valid: none, wavelet, wavelet:OPTION"),
    ({"prior": "wavelet:gain=-1"}, "gain is -1"),
    ({"width": 3}, "unknown: width=3; its fields: features, grid"),
  ],
)
def test_bad_options_name_the_valid_ones(options, message):
  with pytest.raises(InputError, match=message):
    make_model(OPTIONS32 | options)
