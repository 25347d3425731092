"""The training step against the reference's three steps, and against five plain forward passes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from full import FULL, only_full
from random_weights import random_state

from cfi_jax import metrics
from cfi_jax.core import config as config_lib
from cfi_jax.fusion import interventions, losses
from cfi_jax.fusion.types import MODALITIES, Fusion, Pair
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse import step as step_lib
from cfi_jax.systems.isfuse import views as views_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.procedure import make_parts
from cfi_jax.systems.isfuse.statistics import update_running
from cfi_jax.systems.isfuse.torch_names import from_torch, to_torch

STEPS = 3 if FULL else 2  # of the reference's three, seconds each
DOUBLE = {"dtype": "float64", "param_dtype": "float64"}


def tiny_parts(recipe="released", fold_views=False, **model):
  values = recipes.get(recipe).to_dict() | {"fold_views": fold_views}
  values["model"] |= model
  return make_parts(config_lib.build(Config, values), 3)


def reference_state(parts, inference_reference):
  state = random_state(parts)
  items = inference_reference.items()
  torch = {k.removeprefix("state/"): v for k, v in items if k.startswith("state/")}
  variables = from_torch(torch, state.variables)
  return state.replace(**jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables))


def reference_views(parts, train_reference):
  """The batch and the views with the masks that the reference used."""
  batch = Pair(*(jnp.asarray(train_reference[m] / 255) for m in MODALITIES))
  masks = Pair(*(jnp.asarray(train_reference[f"mask_{m}"], bool) for m in MODALITIES))
  both = jnp.asarray(train_reference["mask_shared"], bool)
  views = views_lib.make_views(parts, jax.random.key(0), batch)
  for name, mask in (("complementary", masks), ("shared", Pair(visible=both, infrared=both))):
    pair = interventions.apply_masks(batch, mask, 0.0)
    views[name] = dataclasses.replace(views[name], pair=pair)
  return batch, views


def columns(metrics):
  """A step's metrics in the order of the reference's `losses_columns`."""
  views = ("complementary", "shared")
  parts = [[metrics[f"{t}/{v}"] for t in ("consistency", "area", "entropy")] for v in views]
  invariance = sum(c + a - e for c, a, e in parts) / 2
  necessity = metrics["necessity/without_visible"] + metrics["necessity/without_infrared"]
  fusion = [metrics["loss"], metrics["intensity"], metrics["gradient"]]
  return [float(x) for x in (*fusion, invariance, necessity, *parts[0], *parts[1])]


@pytest.fixture(scope="module")
def reference_run(inference_reference, train_reference):
  """Metrics of the steps, running statistics after the first, gradients and views of it."""
  with jax.enable_x64(True):
    parts = tiny_parts(fold_views=True, **DOUBLE)  # compiles in half the time, see test_ways.py
    # What is logged, not what Adam takes: another value at each step tells which step's it is.
    parts = dataclasses.replace(parts, learning_rate=lambda step: 1e-4 * (1 + step))
    batch, views = reference_views(parts, train_reference)

    @jax.jit
    def run(state):
      new, metrics = step_lib.update(parts, state, views)
      # Adam's first moment after one step from zero is (1 - b1) times the gradient.
      gradient = jax.tree.map(lambda m: m / (1 - 0.9), new.opt_state[0].mu)
      fusions, _ = views_lib.fuse_views(parts, state.variables, views, train=True)
      return new, metrics, gradient, {name: fusion.fused for name, fusion in fusions.items()}

    state = reference_state(parts, inference_reference)
    steps = []
    for _ in range(STEPS):
      state, *rest = run(state)
      steps.append((jax.device_get(state), *jax.device_get(rest)))
  return steps


def test_losses_equal_the_reference(reference_run, train_reference):
  for step, tolerance in enumerate((1e-8, 1e-6, 1e-6)[:STEPS]):
    ours = columns(reference_run[step][1])
    np.testing.assert_allclose(ours, train_reference["losses"][step], rtol=tolerance)


def test_gradients_equal_the_reference(reference_run, train_reference):
  ours = to_torch({"params": reference_run[0][2]})
  names = [k for k in train_reference if k.startswith("step0/grad/")]
  assert len(names) == len(ours) == 132
  vanishing = 0
  for name in names:
    expected, gradient = train_reference[name], ours[name.removeprefix("step0/grad/")]
    if np.abs(expected).max() < 1e-10:
      vanishing += 1
      assert np.abs(gradient).max() < 1e-10
    else:
      np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
  assert vanishing == 28


def test_running_statistics_equal_the_reference(reference_run, train_reference):
  ours = to_torch({"batch_stats": reference_run[0][0].batch_stats})
  names = [k for k in train_reference if k.startswith("after1/")]
  assert len(names) == len(ours)
  for name in names:
    expected = train_reference[name]
    atol = 1e-6 * np.abs(expected).max()
    np.testing.assert_allclose(ours[name.removeprefix("after1/")], expected, rtol=0, atol=atol)


def test_views_equal_the_reference(reference_run, train_reference):
  fused = reference_run[0][3]
  for name in fused:
    suffix = "" if name == "original" else f"_{name}"
    np.testing.assert_allclose(fused[name], train_reference[f"step0/fused{suffix}"], atol=1e-9)


def test_step_counts_and_reports_the_learning_rate(reference_run):
  assert [int(s[0].step) for s in reference_run] == [1, 2, 3][:STEPS]
  rates = [metrics["learning_rate"] for _, metrics, *_ in reference_run]
  assert rates == pytest.approx([1e-4, 2e-4, 3e-4][:STEPS])  # the rate that the step itself took
  assert {rate.dtype for rate in rates} == {np.dtype("float32")}  # in a step of float64, too


@pytest.mark.parametrize(
  ("recipe", "counting", "normalise"),
  [
    pytest.param("released", "all", "own", marks=only_full),  # the reference's are its default
    ("paper", "original", "original"),
  ],
)
def test_shared_encodings_equal_five_plain_passes(x64, recipe, counting, normalise):
  """Fusions and running statistics are those of five separate forward passes."""
  parts = tiny_parts(recipe, features=4, levels=2, **DOUBLE)
  statistics = dataclasses.replace(parts.statistics, views=counting, normalise=normalise)
  parts = dataclasses.replace(parts, statistics=statistics)
  batch = Pair(*jax.random.uniform(jax.random.key(1), (2, 3, 24, 24, 1), jnp.float64))
  state = random_state(parts)
  views = views_lib.make_views(parts, jax.random.key(2), batch)
  fusions, batch_stats = jax.jit(
    lambda v: views_lib.fuse_views(parts, v, views, train=True)
  )(state.variables)  # fmt: skip

  @functools.partial(jax.jit, static_argnames=("modality", "method"))
  def apply(images, modality=(), moments=None, *, method):
    """With the batch's own moments, or as after training with those that are given."""
    arguments = (images, modality) if modality else images
    variables = state.variables if moments is None else state.variables | {"batch_stats": moments}
    out, new = parts.model.apply(
      variables, *arguments, train=moments is None, method=method, mutable=["moments"]
    )
    return out, new["moments"] if moments is None else {}

  expected, kept = state.batch_stats, {}

  def given(part):
    return kept.get(part) if normalise == "original" else None

  def fold(part, moments):
    kept.setdefault(part, moments)
    if name == "original" or counting == "all":
      return update_running(expected, moments, 3, statistics.momentum)
    return expected

  for name, view in views.items():
    full = {m: jnp.broadcast_to(getattr(view.pair, m), (3, 24, 24, 1)) for m in MODALITIES}
    features = {}
    for m in MODALITIES:
      features[m], moments = apply(full[m], m, given(m), method="encode")
      expected = fold(m, moments)
    fusion, moments = apply((features, Pair(**full)), moments=given("all"), method="integrate")
    expected = fold("all", moments)
    np.testing.assert_allclose(fusions[name].fused, fusion.fused, atol=1e-12)
  alone = dataclasses.replace(parts, share_encodings=False)
  apart = views_lib.make_views(alone, jax.random.key(2), batch)
  for name, view in views.items():
    assert apart[name].sources == dict.fromkeys(MODALITIES, name)
    for m in MODALITIES:
      full = jnp.broadcast_to(getattr(view.pair, m), (3, 24, 24, 1))
      np.testing.assert_array_equal(getattr(apart[name].pair, m), full)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-12), batch_stats, expected)


@pytest.mark.parametrize("normalise", [pytest.param("own", marks=only_full), "original"])
def test_rematerialising_keeps_less_and_changes_nothing(x64, normalise):
  """Gradients of fusions' sums, and what lies between the two passes.

  The gradients are those of plain passes, also through what normalises a treated view.
  """
  # A third of the network compiles in a third of the time.
  parts = tiny_parts(features=4, grid=2, levels=1, **DOUBLE)
  statistics = dataclasses.replace(parts.statistics, normalise=normalise, views="original")
  parts = dataclasses.replace(parts, statistics=statistics)
  state = random_state(parts)
  batch, other = (
    Pair(*jax.random.uniform(jax.random.key(k), (2, 2, 32, 32, 1), jnp.float64)) for k in (1, 2)
  )
  treated = interventions.View(other, dict.fromkeys(MODALITIES, "other"))
  views = {"original": interventions.original_view(batch), "other": treated}
  gradients, kept = [], []
  for rematerialise in (False, True):
    own = dataclasses.replace(parts, rematerialise=rematerialise)

    def total(params, own=own):
      variables = {"params": params, "batch_stats": state.batch_stats}
      fusions, _ = views_lib.fuse_views(own, variables, views, train=True)
      return sum(fusion.fused.sum() for fusion in fusions.values())

    gradients.append(jax.jit(jax.grad(total))(state.params))
    _, saved = jax.eval_shape(lambda params, f=total: jax.vjp(f, params), state.params)
    kept.append(sum(x.size for x in jax.tree.leaves(saved)))

  def plain(params):
    def fuse(pair, batch_stats, train):
      variables = {"params": params, "batch_stats": batch_stats}
      fusion, new = parts.model.apply(variables, pair, train=train, mutable=["moments"])
      return fusion.fused.sum(), new.get("moments", {})

    first, moments = fuse(batch, state.batch_stats, train=True)
    own = normalise == "own"
    return first + fuse(other, state.batch_stats if own else moments, train=own)[0]

  gradients.append(jax.jit(jax.grad(plain))(state.params))
  for other_gradient in gradients[1:]:
    jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=1e-9), gradients[0], other_gradient
    )
  assert kept[1] < 0.3 * kept[0]


def test_recipes_differ_in_signs_gate_and_sharing_only():
  released, paper = (recipes.get(name).to_dict() for name in ("released", "paper"))
  assert paper["model"] == released["model"] | {"shared_encoder": True, "gate": "paper"}
  assert paper["loss"]["invariance"] == released["loss"]["invariance"] | {"entropy": 1.0}
  assert paper["loss"]["necessity"] == released["loss"]["necessity"] | {"weight": -0.05}
  for recipe in (released, paper):
    del recipe["model"], recipe["loss"]
  assert released == paper


def tiny_run(**model):
  """The parts of a step of three views, a state and a batch of ones, on which masks show."""
  parts = tiny_parts(features=4, grid=2, levels=1, **model)
  invariance = dataclasses.replace(parts.loss.invariance, views=("shared",))
  necessity = dataclasses.replace(parts.loss.necessity, views=("without_visible",))
  loss = dataclasses.replace(parts.loss, invariance=invariance, necessity=necessity)
  parts = dataclasses.replace(parts, loss=loss)
  return parts, random_state(parts), Pair(*jnp.ones((2, 2, 32, 32, 1)))


def test_masks_of_a_step_depend_on_its_key(monkeypatch):
  monkeypatch.setattr(step_lib, "update", lambda p, s, views: (s, views["shared"].pair.visible))
  drawn = []
  for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0)):
    parts, state, batch = tiny_run()
    train_step = jax.jit(functools.partial(step_lib.train_step, parts))
    key = jax.random.fold_in(jax.random.key(seed), step)
    drawn.append(train_step(state.replace(step=jnp.asarray(step)), batch, key)[1])
  np.testing.assert_array_equal(drawn[0], drawn[1])
  assert np.any(drawn[0] != drawn[2]) and np.any(drawn[0] != drawn[3])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_step_keeps_every_shape_and_dtype(dtype):
  parts, state, batch = tiny_run(dtype=dtype)
  new, metrics = jax.eval_shape(
    functools.partial(step_lib.train_step, parts), state, batch, jax.random.key(0)
  )
  same = jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), new, state)
  assert all(jax.tree.leaves(same))
  assert {metric.shape for metric in metrics.values()} == {()}


def test_what_a_metric_cannot_measure_is_nan():
  parts, state, batch = tiny_run()
  eval_step = step_lib.make_eval_step(parts, ("CC",), "strict")
  found = jax.jit(eval_step)(state, batch, jax.random.key(0))  # constant images
  assert np.isnan(found.scores["CC"]).all() and np.isfinite(found.values["loss"]).all()


def test_eval_step_returns_parts_and_pictures_per_example():
  parts, state, batch = tiny_run()
  batch = Pair(*jax.random.uniform(jax.random.key(3), (2, 3, 32, 32, 1)))
  eval_step = step_lib.make_eval_step(parts, ("SSIM", "CC"), "strict")
  found = jax.jit(eval_step)(state, batch, jax.random.key(0))
  terms, pictures = found.values | found.scores, found.pictures
  expected = jax.jit(parts.model.apply)(state.variables, batch)
  ssim = jax.jit(functools.partial(metrics.METRICS["SSIM"], convention="strict"))
  np.testing.assert_allclose(terms["intensity"], losses.intensity(expected.fused, batch), atol=1e-6)
  assert terms["loss"].shape == (3,)
  for i in range(3):
    levels = [metrics.quantise(x[i]) for x in (batch.visible, batch.infrared, expected.fused)]
    score = ssim(*levels).value
    # A level may round the other way where the two programs differ in the last bit.
    np.testing.assert_allclose(terms["SSIM"][i], score, atol=1e-4)
  fused = np.asarray(pictures[:, :, 64:96], np.float64) / 255
  np.testing.assert_allclose(fused, expected.fused[..., 0], atol=0.51 / 255)


def test_panels_show_visible_infrared_fused_gate_side_by_side():
  full = [jnp.full((2, 4, 6, 1), v) for v in (0.0, 0.25, 1.0)]
  gates = (jnp.full((2, 4, 6, 1), 0.5), jnp.full((2, 2, 3, 1), 0.7))
  fusion = Fusion(fused=full[2], gates=gates, features={}, levels=())
  pictures = step_lib.panels(Pair(visible=full[0], infrared=full[1]), fusion)
  assert pictures.shape == (2, 4, 24)
  np.testing.assert_array_equal(pictures[1][0], np.repeat([0, 64, 255, 153], 6))
