"""The networks against the authors' code in float64, and what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full import only_full

from cfi_jax.core.types import InputError
from cfi_jax.fusion import rule_options
from cfi_jax.systems.amgfuse import model as model_lib
from cfi_jax.systems.amgfuse import ways
from cfi_jax.systems.amgfuse.samples import fuse_by_rule

# Both sizes: at 40x56 no level but the finest is a multiple of its number of bins.
SIZES = [pytest.param("reduced/a_24x32/", marks=only_full), "reduced/b_40x56/"]
STATISTICS = {
  "raw_mask": lambda f, j: f.raw_masks[j],
  "mask": lambda f, j: f.masks[j],
  "vi_out": lambda f, j: f.after[j].visible,
  "ir_out": lambda f, j: f.after[j].infrared,
  "f_out": lambda f, j: f.after[j].fused,
}


def compare(oracle, pixels, prefix, fusions, restored):
  for name, value in (
    ("vi", fusions.visible),
    ("fused", fusions.fused),
    ("ir", fusions.infrared),
    ("masked", fusions.masked),
    ("restored", restored),
  ):
    expected = pixels(oracle[prefix + name])
    np.testing.assert_allclose(value, expected, rtol=0, atol=1e-9, err_msg=name)


def run(networks, oracle, pixels, prefix):
  network, variables, restoration, frozen = networks

  @jax.jit
  def both(variables, frozen, *images):
    def one(images):
      fusions = network.apply(variables, *(image[None] for image in images))
      return jax.tree.map(lambda x: x[0], (fusions, restoration.apply(frozen, fusions.masked)))

    # XLA's convolutions of batches take ten times as long on a CPU.
    return jax.lax.map(one, images)

  images = (pixels(oracle[f"{prefix}in_{name}"]) for name in ("vi", "ir"))
  return both(variables, frozen, *images)


# The way of `local` that takes 15 s to compile, "shifted", is compared block by block.
@pytest.mark.parametrize("prefix", SIZES)
def test_the_reduced_network_is_that_of_the_authors(prefix, reduced, oracle, pixels, x64):
  networks = reduced(coupling="matrices", histogram="gram")
  fusions, restored = run(networks, oracle, pixels, prefix)
  compare(oracle, pixels, prefix, fusions, restored)
  assert len(fusions.masks) == 7
  for j in range(7):
    for name, get in STATISTICS.items():
      if (key := f"{prefix}tap{j}/{name}_stats") in oracle:
        found = np.asarray(get(fusions, j))
        moments = [found.mean((1, 2)), found.std((1, 2))]
        np.testing.assert_allclose(moments, oracle[key], rtol=0, atol=1e-9, err_msg=key)


@only_full  # in the ways that are taken by default: the plain ones need 48 GB for it on a CPU
def test_the_full_network_is_that_of_the_authors(reduced, oracle, pixels, x64):
  fusions, restored = run(reduced(whole=True, **ways.FAST), oracle, pixels, "full/24/")
  compare(oracle, pixels, "full/24/", fusions, restored)


def test_only_the_fused_image_is_the_same_fused_image(random, x64):
  tiny = dict(name="amgfuse", width=16, blocks=(1, 1), heads=(1, 2), refinement=1, mask=True)
  tiny |= dict(
    gate=True, masked_by="visible", prior="none", fold=1, dtype="float64", param_dtype="float64"
  )
  network = model_lib.make_model({**tiny, **ways.PLAIN})
  shapes = jax.eval_shape(lambda: model_lib.init(network, jax.random.key(0)))
  variables = jax.tree.map(lambda s: 0.3 * random.normal(size=s.shape), shapes)
  images = random.uniform(size=(1, 6, 4, 3)), random.uniform(size=(1, 6, 4, 1))
  both = jax.jit(lambda v, *i: (network.apply(v, *i), network.apply(v, *i, only_fused=True)))
  whole, alone = both(variables, *images)
  np.testing.assert_allclose(alone.fused, whole.fused, rtol=1e-12)
  assert (alone.visible, alone.infrared, alone.masked) == (None, None, None)


SMALLEST = dict(name="amgfuse", width=16, blocks=(1, 1), heads=(1, 2), refinement=1, mask=True)
SMALLEST |= dict(
  gate=True, masked_by="visible", prior="none", fold=1, dtype="float32", param_dtype="float32"
)
SMALLEST |= ways.PLAIN


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"name": "isfuse"}, "no model 'isfuse'; valid: amgfuse, restoration"),
    ({"width": 8}, "model.width=8; allowed: whole numbers from 16"),
    ({"blocks": ()}, r"model.blocks=\(\); allowed: 1 to 6 whole numbers"),
    ({"blocks": (1,) * 7}, "model.blocks=.*allowed: 1 to 6 whole numbers"),
    ({"blocks": (1, 0)}, "model.blocks"),
    ({"heads": (1, 2, 2)}, "3 levels and model.blocks 2"),
    ({"heads": (3, 2)}, "16 channels at level 1.*multiple of its 3 heads"),
    ({"refinement": 0}, "model.refinement=0"),
    ({"mask": 1}, "model.mask=1; allowed: True, False"),
    ({"masked_by": "both"}, "model.masked_by='both'; valid: visible, infrared"),
    ({"fold": 3}, "model.fold=3; valid: 1, 2, 4"),
    ({"fold": True}, "model.fold=True; valid"),
    ({"prior": "average"}, "model.prior='average'; valid: none, wavelet"),
    ({"coupling": "fast"}, "model.coupling is 'fast'; valid: auto, maps, matrices"),
    ({"dtype": "float16"}, "model.dtype is 'float16'"),
    ({"param_dtype": "float64"}, "needs JAX_ENABLE_X64=1"),
    ({"depth": 3}, "missing or unknown: depth=3; its fields: width"),
  ],
)
def test_networks_that_cannot_be_are_refused(change, words):
  model_lib.make_model(SMALLEST)
  with pytest.raises(InputError, match=words):
    model_lib.make_model(SMALLEST | change)


@pytest.mark.parametrize("kinds", [ways.PLAIN, ways.FAST])
def test_maps_may_have_16_bits(kinds):
  network = model_lib.make_model(SMALLEST | kinds | {"dtype": "bfloat16"})
  shapes = [jax.ShapeDtypeStruct((1, 4, 6, channels), jnp.float32) for channels in (3, 1)]

  def run(*images):
    fusions, variables = network.init_with_output(jax.random.key(0), *images)
    return fusions, variables

  fusions, variables = jax.eval_shape(run, *shapes)
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
  outputs = (fusions.visible, fusions.fused, fusions.infrared, fusions.masked, *fusions.masks)
  assert {x.dtype for x in outputs} == {jnp.dtype("float32")}
  assert {x.dtype for x in jax.tree.leaves(fusions.after)} == {jnp.dtype("bfloat16")}


def test_networks_begin_as_pytorch_initialises():
  network = model_lib.make_model(SMALLEST)
  begin = jax.jit(lambda key: model_lib.init(network, key)["params"])
  params, others = (begin(jax.random.key(i)) for i in (0, 1))
  block = params["encoder2_fused"]["block0"]
  fans = [  # of a kernel: inputs of one output
    (params["embed_visible"]["kernel"], 27),
    (params["encoder1_visible"]["residual"]["conv1"]["kernel"], 9 * 16),
    (params["encoder1_visible"]["residual"]["conv1"]["bias"], 9 * 16),
    (block["attention"]["expand"]["kernel"], 32),
    (block["attention"]["local"]["kernel"], 9),
    (block["feedforward"]["pairs5"], 50),
    (params["coupling0"]["attention"]["excite"], 1),
  ]
  for kernel, fan in fans:
    limit = fan**-0.5
    assert np.abs(kernel).max() <= limit
    if kernel.size > 100:
      np.testing.assert_allclose(np.std(kernel), limit / 3**0.5, rtol=0.1)
  assert np.all(block["norm1"]["scale"] == 1) and not np.any(block["norm1"]["bias"])
  assert np.all(block["attention"]["temperature"] == 1)
  assert not np.array_equal(
    params["up1_fused"]["conv"]["kernel"], params["up1_visible"]["conv"]["kernel"]
  )
  assert not np.array_equal(fans[0][0], others["embed_visible"]["kernel"])


def test_images_of_odd_sizes_are_refused():
  network = model_lib.make_model(SMALLEST)
  sizes = ((1, 7, 8, 3), (1, 7, 8, 1)), ((1, 8, 8, 3), (1, 8, 8, 3)), ((1, 8, 8, 3), (1, 8, 6, 1))
  for shapes in sizes:
    with pytest.raises(AssertionError):
      jax.eval_shape(network.init, jax.random.key(0), *map(jnp.zeros, shapes))


PRIOR = "wavelet:planes=2,gain=1.2"


def test_a_folded_network_computes_on_fewer_pixels_and_gives_all(random):
  network = model_lib.make_model(SMALLEST | {"fold": 2})
  assert network.step == 4
  variables = model_lib.init(network, jax.random.key(0))
  assert variables["params"]["embed_visible"]["kernel"].shape == (3, 3, 12, 16)
  images = random.uniform(size=(1, 8, 12, 3)), random.uniform(size=(1, 8, 12, 1))
  found = jax.jit(network.apply)(variables, *images)
  assert {x.shape for x in (found.visible, found.infrared, found.fused)} == {(1, 8, 12, 3)}
  assert found.masks[0].shape == (1, 4, 6, 16)
  # Every pixel of a square has channels of its own: they differ.
  assert np.ptp(np.asarray(found.visible).reshape(4, 2, 6, 2, 3), axis=(1, 3)).min() > 0
  with pytest.raises(AssertionError, match="images of 6x8; allowed: multiples of 4"):
    jax.eval_shape(network.apply, variables, *(x[:, :6, :8] for x in images))


@pytest.mark.parametrize("fold", [1, 2])
def test_a_prior_alone_fuses_by_its_rule_before_training(random, fold):
  network = model_lib.make_model(SMALLEST | {"prior": PRIOR, "fold": fold})
  variables = model_lib.init(network, jax.random.key(0))
  visible, infrared = random.uniform(size=(1, 12, 8, 3)), random.uniform(size=(1, 12, 8, 1))
  fusions = jax.jit(network.apply)(variables, visible, infrared)
  np.testing.assert_array_equal(fusions.visible, visible.astype(np.float32))
  np.testing.assert_array_equal(fusions.infrared[..., :1], infrared.astype(np.float32))
  rule = fuse_by_rule(visible, infrared, rule_options.prior_of(PRIOR))
  np.testing.assert_allclose(fusions.fused, rule, atol=1e-6)


def test_with_a_prior_the_outputs_are_gains_and_offsets(random, x64):
  options = SMALLEST | {"dtype": "float64", "param_dtype": "float64"}
  plain, own = (model_lib.make_model(options | {"prior": p}) for p in ("none", PRIOR))
  shapes = jax.eval_shape(lambda: model_lib.init(own, jax.random.key(0)))
  variables = jax.tree.map(lambda s: 0.1 * random.normal(size=s.shape), shapes)
  images = random.uniform(size=(1, 8, 12, 3)), random.uniform(size=(1, 8, 12, 1))

  def half(name, kernel, start):  # the network without a prior that gives gains, or offsets
    return kernel[..., start : start + 3] if name.startswith("output") else kernel

  @jax.jit
  def all_of_them(variables, *images):
    halves = [
      jax.tree.map_with_path(lambda path, x, s=s: half(path[1].key, x, s), variables)
      for s in (0, 3)
    ]
    parts = [plain.apply(variables, *images) for variables in halves]
    whole = own.apply(variables, *images)
    return *parts, whole, own.apply(variables, *images, only_fused=True)

  gains, offsets, found, alone = all_of_them(variables, *images)
  restored = images[0] * (1 + gains.visible) + offsets.visible
  of_infrared = images[1] * (1 + gains.infrared) + offsets.infrared
  np.testing.assert_allclose(found.visible, restored, rtol=1e-12)
  np.testing.assert_allclose(found.infrared, of_infrared, rtol=1e-12)
  sources = np.clip(restored, 0, 1), np.clip(of_infrared.mean(-1, keepdims=True), 0, 1)
  rule = fuse_by_rule(*sources, rule_options.prior_of(PRIOR))
  np.testing.assert_allclose(found.fused, rule * (1 + gains.fused) + offsets.fused, rtol=1e-9)
  np.testing.assert_allclose(alone.fused, found.fused, rtol=1e-12)
  assert (alone.visible, alone.infrared, alone.masked) == (None, None, None)
