"""Bytes and FLOPs against counts made by hand, and the floor they give."""

import dataclasses
from collections import Counter

import jax
import pytest

from cfi_jax.benchmark.harness import amgfuse_floors, dfcnet_floors, floors
from cfi_jax.benchmark.harness.floors import Cost, Counts, Network
from cfi_jax.benchmark.harness.roofline import Roofline
from cfi_jax.benchmark.subjects import isfuse
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.systems import files
from cfi_jax.systems.dfcnet import model as dfcnet
from cfi_jax.systems.dfcnet import recipes
from cfi_jax.systems.dfcnet.config import Config
from cfi_jax.systems.dfcnet.discriminator import Discriminator
from cfi_jax.systems.isfuse import recipes as isfuse_recipes
from cfi_jax.systems.isfuse.config import Config as IsfuseConfig

VIEWS = ("complementary", "shared", "without_visible", "without_infrared")
WHOLE = 1 + 1 / 4 + 1 / 16  # pixels of all levels
DECODED = 1 + 1 / 4  # of the levels with a decoder


def test_views_share_encodings():
  # Per modality: original, complementary and shared of every sample, and one blank image.
  assert floors.count(VIEWS, 16) == Counts(
    image=2 * (3 * 16 + 1), feature=2 * (4 * 16 + 1), view=80
  )
  assert floors.count((), 4) == Counts(image=8, feature=8, view=4)
  assert floors.count(("without_visible",), 4) == Counts(image=9, feature=2 * 4 + 5, view=8)


def test_fusing_needs_what_the_method_says():
  cost = floors.fuse_cost(Network(), 1, 256, 256, "float32")
  pixels = 256 * 256
  # 11.2 GFLOP with pooled keys and values; the folded queries save two 1x1 convolutions.
  assert cost.flops + 2 * 2 * 32 * 32 * pixels * WHOLE == pytest.approx(11.2e9, rel=2e-3)
  encoders = 2 * ((1 / 32 + 1 + 2) + (4 + 1 + 2) / 4 + (4 + 1 + 2) / 16)
  # Read two features, write complementary; read it and the features, write mixed; read, refine.
  cfi = (3 + 4 + 2) * WHOLE
  decoder = (1.25 + 1 + 2) * DECODED + 1 + 1 / 32
  assert cost.bytes == pytest.approx((encoders + cfi + decoder) * pixels * 32 * 4)


def test_a_prior_needs_a_second_head():
  one, two = Network(), dataclasses.replace(Network(), heads=2)
  pixels, c = 64 * 96, 32
  before, after = (floors.fuse_cost(network, 1, 64, 96, "float32") for network in (one, two))
  assert after.flops - before.flops == pytest.approx(2 * 9 * c * pixels)
  assert after.bytes - before.bytes == pytest.approx(4 * pixels)
  # Backward: twice the arithmetic, and the gradient of the head's map is read.
  before, after = (floors.train_cost(network, (), 1, 64, 96, "float32") for network in (one, two))
  assert after.flops - before.flops == pytest.approx(3 * 2 * 9 * c * pixels)
  assert after.bytes - before.bytes == pytest.approx(2 * 4 * pixels)


def test_networks_are_counted_by_their_architecture():
  medical = files.load("medical")[1].architecture
  assert isfuse.network(medical) == Network(features=16, hidden=8, heads=2)
  assert isfuse.network(medical | {"prior": "none"}).heads == 1
  config = config_lib.build(IsfuseConfig, isfuse_recipes.trusting().to_dict())
  with pytest.raises(InputError, match="model.prior is 'wavelet.*; benchmarks of steps know"):
    isfuse.step_cost(config)


def test_costs_scale():
  one = floors.fuse_cost(Network(), 1, 64, 96, "float32")
  half = floors.fuse_cost(Network(), 3, 64, 96, "bfloat16")
  assert half == Cost(flops=3 * one.flops, bytes=1.5 * one.bytes)
  odd = floors.fuse_cost(Network(), 1, 65, 97, "float32")
  assert one.flops < odd.flops < one.flops * 65 * 97 / (64 * 96)


def test_a_step_without_interventions_by_hand():
  """One view of one sample, no attention grid worth counting: every pass written out."""
  network = Network(features=32, grid=0, hidden=16)
  cost = floors.train_cost(network, (), 1, 64, 64, "float32")
  pixels, c = 64 * 64, 32
  conv = 9 * c * c
  # Multiply-adds of the forward pass; the backward pass takes twice, but for the images' gradients.
  first, others = 2 * 9 * c, 2 * (conv + 2 * conv / 4 + 2 * conv / 16)
  queries, gate, refine = 2 * c * c * WHOLE, (9 * c * 16 + 16) * WHOLE, conv * WHOLE
  decoder = 2 * conv * DECODED + 9 * c
  forward = first + others + queries + gate + refine + decoder
  assert cost.flops == pytest.approx(2 * pixels * (3 * forward - first))
  # Forward: encoders; features for attention and mix; complementary; gate; mix; refine; decoder.
  maps = 2 * ((1 / c + 3) + 7 / 4 + 7 / 16)
  maps += (2 + 2 + 1 + 1.5 + 2.5 + 2) * WHOLE + (2.25 + 2) * DECODED + 1 + 1 / c
  # Backward: head; decoder with the finer gradient read at its size; refine likewise.
  maps += (
    2 + 1 / c + (3 + 1) + (6 + 1) / 4 + (3.25 + 1) * DECODED + (3 + 1) * DECODED + (6 + 1) / 16
  )
  # Mix reads mixed's gradient, complementary, hidden and features and writes hidden's; gate reads
  # hidden and its gradient and complementary; attention reads two gradients and the features and
  # writes those of the features, which the encoders read.
  maps += ((2.5 + 0.5 + 2) + (2 + 1) + (2 + 2 + 2) + 2) * WHOLE
  # Encoders: second convolutions with the gradient through pooling; first ones.
  maps += 2 * ((3.25 + 3.25 / 4 + 3 / 16) + (2 + 1 / c) + (6 + 1) / 4 + (6 + 1) / 16)
  assert cost.bytes == pytest.approx(maps * pixels * c * 4)


def test_the_floor_is_the_slower_of_memory_and_arithmetic():
  rates = Roofline(bandwidth=100.0, rate=1000.0, dtype="float32", devices=2)
  assert rates.seconds(Cost(flops=1000, bytes=400)) == 2.0
  assert rates.bound(Cost(flops=1000, bytes=400)) == "memory"
  assert rates.seconds(Cost(flops=8000, bytes=400)) == 4.0
  assert rates.bound(Cost(flops=8000, bytes=400)) == "arithmetic"


AMGFUSE = dict(name="amgfuse", width=48, blocks=(4, 6, 6, 8), heads=(2, 4, 6, 8), refinement=2)


@pytest.mark.parametrize(
  ("height", "width", "fusion", "both"), [(256, 320, 880.0, 1457.8), (480, 640, 3300, 5467)]
)
def test_the_counting_of_amgfuse_is_that_of_the_authors_network(height, width, fusion, both):
  """GFLOP by torch's FlopCounterMode, with attended maps of every coupling: ours has matrices."""
  passes = list(amgfuse_floors.fusion(AMGFUSE))
  found = amgfuse_floors.total(passes, 1, height, width, "float32", 1, 1, 1).flops
  for level, heads in ((1, 2), (2, 4), (3, 6), (4, 8), (3, 6), (2, 4)):
    found += 4 * (48 * 2 ** (level - 1)) ** 2 / heads * height * width / 4 ** (level - 1)
  found += 4 * 96**2 / 2 * height * width
  assert found == pytest.approx(fusion * 1e9, rel=1e-4)
  passes = list(amgfuse_floors.restoration(AMGFUSE))
  found += amgfuse_floors.total(passes, 1, height, width, "float32", 1, 1, 1).flops
  assert found == pytest.approx(both * 1e9, rel=1e-4)


def test_a_step_of_amgfuse_costs_thrice_its_forward_pass():
  tiny = dict(name="amgfuse", width=16, blocks=(1, 1), heads=(1, 2), refinement=1)
  passes = list(amgfuse_floors.fusion(tiny))
  forward = amgfuse_floors.total(passes, 2, 16, 16, "bfloat16", 1, 1, 1)
  step = amgfuse_floors.train_cost(tiny, None, 2, 16, "bfloat16")
  assert step.flops == 3 * forward.flops and 2 < step.bytes / forward.bytes < 3
  frozen = tiny | {"name": "restoration"}
  with_frozen = amgfuse_floors.train_cost(tiny, frozen, 2, 16, "bfloat16")
  alone = amgfuse_floors.train_cost(frozen, None, 2, 16, "bfloat16")
  assert with_frozen.flops - step.flops == pytest.approx(alone.flops * 2 / 3)
  # The coarse pass by hand: one block of 32 channels at half the size, h = 85.
  (coarse,) = (p for p in amgfuse_floors.block(2, 32) if p.macs > 15_000)
  assert coarse.macs == 4 * 32 * 85 + 4 * 34 * 85 and coarse.reads == coarse.writes == 32
  assert amgfuse_floors.fuse_cost(tiny, 1, 16, 16, "float32").flops < forward.flops


def test_a_fold_of_amgfuse_leaves_a_quarter_of_the_pixels_and_a_prior_has_six_outputs():
  tiny = dict(name="amgfuse", width=16, blocks=(1, 1), heads=(1, 2), refinement=1)
  plain, folded, prior = (
    amgfuse_floors.train_cost(tiny | own, None, 2, 16, "float32").flops
    for own in ({}, {"fold": 2}, {"prior": "wavelet"})
  )
  # By hand: four times the channels of both embeddings and of three outputs, at 8x8.
  wider = 9 * 3 * 16 * (3 + 1) + 3 * 9 * 3 * 32 * 3
  assert folded == pytest.approx(plain / 4 + 6 * 2 * 64 * wider)
  assert prior == plain + 6 * 2 * 256 * 3 * 9 * 32 * 3
  fused = [
    amgfuse_floors.fuse_cost(tiny | own, 1, 16, 16, "float32").flops
    for own in ({}, {"prior": "wavelet"})
  ]
  assert fused[1] == prior / 6


def config_of(**changes):
  """The config of the recipe `small` with changes by path."""
  values = recipes.small()
  values.update_from_flattened_dict(changes)
  return config_lib.build(Config, values.to_dict())


@pytest.mark.parametrize(
  "changes",
  [
    {},
    {"model.width": 2, "model.estimator_width": 3},
    {"model.blend": "fixed"},
    {"model.blend": "fixed", "model.transport": "concat"},
    {"model.blend": "fixed", "model.transport": "attend"},
  ],
)
def test_the_counting_of_dfcnet_knows_every_convolution(changes):
  """By the kernels [k, k, inputs, outputs] of the networks; the target's pose is read twice."""
  config = config_of(**changes)
  own, width = config.model, config.model.width
  shapes = jax.eval_shape(lambda: dfcnet.init(own, jax.random.key(0)))
  maps, _, picture, _ = dfcnet.blank(own)
  judge = jax.eval_shape(lambda: Discriminator(width, 2).init(jax.random.key(0), picture, maps))
  given = {name: value for name, value in shapes["network"].items() if name != "proportions"}
  kernels = Counter(
    leaf.shape for leaf in jax.tree.leaves((given, shapes["estimator"], judge)) if leaf.ndim == 4
  )
  counted = [
    *dfcnet_floors.estimator(own.estimator_width),
    *dfcnet_floors.encoder(18, 3, 1, width), *dfcnet_floors.encoder(3, 5, 2, width),
    *dfcnet_floors.generator(own), *dfcnet_floors.discriminator(width, 2),
  ]  # fmt: skip
  assert kernels == Counter((c.kernel, c.kernel, c.inputs, c.outputs) for c in counted)


def test_a_step_of_dfcnet_by_hand():
  # Without losses that look at made pictures: the generator and the estimator learn.
  none = {"loss.adversary": 0.0, "loss.pose": 0.0, "loss.static": 0.0}
  config = config_of(**none, batch_size=3, support_rows=1)
  parts = [
    *dfcnet_floors.encoder(18, 3, 1, 1), *dfcnet_floors.encoder(3, 5, 2, 1),
    *dfcnet_floors.generator(config.model), *dfcnet_floors.estimator(1),
  ]  # fmt: skip
  once = sum(c.kernel**2 * c.inputs * c.outputs * (64 / c.scale) ** 2 for c in parts)
  alone = dfcnet_floors.train_cost(config)
  assert alone.flops == 4 * 3 * 2 * once
  moved = (
    sum((64 / c.scale) ** 2 * (3 * c.inputs * c.stride**2 + 2 * c.outputs) for c in parts)
    + 12 * 14 * 64**2
  )
  assert alone.bytes == 4 * 4 * moved
  # The estimator looked through for one term or two; with the static one a layer of its branch.
  pose, static, both = (
    dfcnet_floors.train_cost(dataclasses.replace(config, loss=dataclasses.replace(
      config.loss, **{"pose": 0.0, "static": 0.0} | terms)))
    for terms in ({"pose": 1.0}, {"static": 1.0}, {"pose": 1.0, "static": 1.0})
  )  # fmt: skip
  looked = (
    4
    * 2
    * 2
    * sum(
      c.kernel**2 * c.inputs * c.outputs * (64 / c.scale) ** 2 for c in dfcnet_floors.estimator(1)
    )
  )
  assert pose.flops - alone.flops == looked
  assert static.flops - pose.flops == 4 * 2 * 2 * 25 * 3 * 32 * 32**2 and both == static
  # One more example costs as much as each other.
  assert dfcnet_floors.train_cost(config_of(**none, batch_size=6, support_rows=2)).flops == (
    2 * alone.flops
  )
