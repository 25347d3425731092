"""The training step: three learners, what each changes, and what is measured."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.datasets.figures import joints
from cfi_jax.systems.dfcnet import objective, recipes, samples, step
from cfi_jax.systems.dfcnet.model import MOST_CHANGED
from cfi_jax.systems.dfcnet.networks import signed
from cfi_jax.systems.dfcnet.warp import warp

ROOT = pathlib.Path(__file__).parents[3]


def changed(before, after):
  leaves = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
  return any(not np.array_equal(a, b) for a, b in leaves)


@pytest.fixture(scope="module")
def course(toy):
  """States and metrics of eight steps on one batch; consistency begins with the fourth."""
  states, metrics = [toy.state], []
  for _ in range(8):
    state, found = toy.step(states[-1], toy.batch)
    states.append(state)
    metrics.append({name: float(value) for name, value in found.items()})
  return states, metrics


def test_every_learner_learns(course):
  states, metrics = course
  for name in ("estimator", "generator", "discriminator", "average"):
    assert changed(getattr(states[0], name), getattr(states[1], name)), name
  assert [int(state.step) for state in states] == list(range(9))
  for term in ("estimation", "reconstruction", "proportions", "discriminator"):
    assert metrics[7][term] < metrics[0][term], term
  # The first picture is the skeleton warp's, which changes the target; no network has drawn yet.
  assert metrics[0]["redrawn"] == 0 < metrics[7]["redrawn"] and metrics[0]["changed"] > 0.2
  assert 0 < metrics[0]["region"] < 1
  first, last = (row["judged_real"] - row["judged_made"] for row in (metrics[0], metrics[7]))
  assert last > first
  for row in metrics:
    assert row["gradient_norm"] > 0 and row["parameter_norm"] > 0 and row["learning_rate"] > 0


def test_the_loss_is_the_weighed_sum_of_its_terms(course):
  _, metrics = course
  for i, row in enumerate(metrics):
    early, late = (min(1, max(0, (i - begin + 1) / 2)) for begin in (0, 3))
    expected = 10 * row["reconstruction"] + 10 * row["proportions"]
    expected += 0.1 * early * row["adversary"] + late * (row["pose"] + 0.3 * row["static"])
    assert row["loss"] == pytest.approx(expected, rel=1e-4), i


def test_the_average_is_that_of_branches_and_generator(course):
  states, _ = course
  decay = 2 / 11  # (1 + t) / (10 + t) in the second step
  expected = jax.tree.map(
    lambda a, p: decay * a + (1 - decay) * p, states[1].average, states[2].generator.params
  )
  for ours, other in zip(
    jax.tree.leaves(states[2].average), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_allclose(ours, other, atol=1e-6)


def test_the_discriminator_is_updated_before_the_generator(toy, course, prepared):
  """The adversary's term is that of the new discriminator."""
  states, metrics = course
  batch, inputs = prepared
  made = inputs.warped.base  # which an untrained network leaves as it is
  judged = [
    toy.parts.discriminator.apply({"params": state.discriminator.params}, made, inputs.pose)
    for state in states[:2]
  ]
  before, after = (float(objective.adversary(each, 1.0).mean()) for each in judged)
  assert metrics[0]["adversary"] == pytest.approx(after, rel=1e-3)
  assert before != pytest.approx(after, rel=1e-2)


@pytest.fixture(scope="module")
def prepared(toy):
  """The joined batch, and the network's arguments."""
  batch = step.join(toy.batch)
  program = jax.jit(lambda params, batch: step.prepare(toy.parts, params, batch))
  return batch, program(toy.state.variables, batch)


def test_unpaired_samples_have_no_reconstruction(toy, prepared):
  batch, inputs = prepared
  assert batch.paired.tolist() == [True] * 4 + [False] * 4
  # Without an answer the source stands in: a real picture in that pose.
  np.testing.assert_array_equal(batch.truth[4:], batch.source[4:])
  terms = jax.jit(lambda *given: step.measure(toy.parts, *given))(
    toy.state.variables, batch, inputs, inputs.warped.base
  )
  assert (terms["reconstruction"][:4] > 0).all() and (terms["reconstruction"][4:] == 0).all()
  assert (terms["pose"] > 0).all() and (terms["static"] > 0).all() and "adversary" not in terms
  total = step.weigh(toy.parts.loss, terms, batch.paired, jnp.array(100))
  assert (terms["proportions"][:4] > 0).all() and (terms["proportions"][4:] == 0).all()
  expected = 10 * (terms["reconstruction"] + terms["proportions"])[:4].mean()
  expected += (terms["pose"] + 0.3 * terms["static"]).mean()
  assert float(total.mean()) == pytest.approx(float(expected), rel=1e-5)


def test_no_gradient_reaches_what_a_term_only_looks_at(toy, prepared):
  """The terms move the picture alone: the static one could else shrink its own features."""
  batch, inputs = prepared

  def total(params, made):
    inputs = step.prepare(toy.parts, params, batch)
    return sum(x.mean() for x in step.measure(toy.parts, params, batch, inputs, made).values())

  of_params, of_picture = jax.jit(jax.grad(total, argnums=(0, 1)))(
    toy.state.variables, 0.9 * inputs.warped.base
  )
  assert not any(np.asarray(leaf).any() for leaf in jax.tree.leaves(of_params))
  assert np.abs(of_picture).max() > 0


def test_a_learned_blend_copies_and_keeps_the_room(toy, prepared):
  """Whatever the generator corrects, the room is the target's and colours stay near its own."""
  batch, inputs = prepared
  params = toy.state.generator.params
  generator, layerless = params["generator"], jnp.zeros(0)
  (last,) = (name for name, own in generator.items() if own.get("bias", layerless).shape == (20,))
  draw = jax.jit(toy.parts.networks.draw)

  def drawn(**bias):
    """The pictures with biases of the corrections by their channel, `c4=9` for the fifth."""
    layer = generator[last]
    bias = layer["bias"].at[jnp.array([int(n[1:]) for n in bias])].set(jnp.array([*bias.values()]))
    changed = generator | {last: layer | {"bias": bias}}
    return np.asarray(draw(params | {"generator": changed}, inputs))

  warped = inputs.warped
  base, region = np.asarray(warped.base), np.broadcast_to(warped.region > 0, warped.base.shape)
  np.testing.assert_allclose(drawn(c0=0.0), base, atol=1e-6)
  wild = drawn(c0=-99.0, c3=99.0, c4=-99.0, c5=99.0, c9=99.0)
  np.testing.assert_array_equal(wild[~region], np.asarray(warped.target)[~region])
  assert np.abs(wild - base)[region].max() > 0.1
  # Without cover and without the person before, the target itself is left.
  np.testing.assert_allclose(drawn(c3=-99.0, c4=-99.0), warped.target, atol=1e-5)
  # With the cover everywhere and one limb before all others, the picture is what that limb reads.
  covered = np.broadcast_to(warped.here > -1e3, base.shape)
  alone = drawn(c3=99.0, c8=1e9)
  np.testing.assert_allclose(alone[covered], np.asarray(warped.colours[:, 2])[covered], atol=1e-4)
  # The change of colours is bounded.
  shift = (drawn(c1=99.0) - base)[..., 1] / np.maximum(np.asarray(warped.region)[..., 0], 1e-6)
  assert shift[region[..., 0]].max() == pytest.approx(MOST_CHANGED, rel=1e-3)


def test_validation_begins_with_the_skeleton_warp(toy):
  program = jax.jit(lambda state, samples: step.eval_step(toy.parts, state, samples))
  found = program(toy.state, toy.held_out)
  sample = toy.held_out
  warped = jax.jit(jax.vmap(warp))(
    signed(sample.target), sample.target_keypoints, sample.source_keypoints
  )
  expected = objective.reconstruction(warped.base, signed(sample.truth), warped.region)
  np.testing.assert_allclose(found.values["loss"], expected, rtol=1e-4)
  assert found.pictures.shape == (4, 16, 4 * 16, 3)
  # target | source | made | truth
  columns = np.split(np.asarray(found.pictures), 4, axis=2)
  for column, name in ((0, "target"), (1, "source"), (3, "truth")):
    picture = np.asarray(getattr(toy.held_out, name))
    np.testing.assert_allclose(columns[column], 255 * picture, atol=0.51)
  scored = {"psnr", "ssim", "foreground_psnr", "identity_error", "pck"}
  assert set(found.scores) == scored
  assert set(found.scores) | {"loss"} == set(toy.config.judges)
  assert np.isfinite(found.scores["foreground_psnr"]).all()
  # Photographs have no part maps, and then nothing of the person is measured.
  bare = sample.replace(truth_parts=None, source_parts=None)
  own = step._of_person(sample.truth, bare)
  assert set(own) < scored and all(np.isnan(x).all() and x.shape == (4,) for x in own.values())


@pytest.mark.parametrize(
  "changes",
  [
    {
      "model__pose_input": "estimator",
      "model__amplifier": "learned",
      "discriminator_scales": 2,
      "loss__pose_reference": "source",
    },
    {"model__transport": "attend", "model__blend": "fixed", "model__proportions": "source"},
    {
      "model__transport": "concat",
      "model__blend": "fixed",
      "model__keep_background": False,
      "support_rows": 0,
    },
    {"loss__adversary": 0.0, "loss__pose": 0.0, "loss__static": 0.0},
  ],
)
def test_every_variant_keeps_shapes(changes, values, toy):
  system, config = systems.configure(values(**changes))
  procedure = system.procedure(config, config.steps)
  state = jax.eval_shape(procedure.init, jax.random.key(0))
  batch = {n: b for n, b in toy.batch.items() if n == "pairs" or config.support_rows}
  new, metrics = jax.eval_shape(lambda s: procedure.train_step(s, batch, (), None), state)
  assert jax.tree.map(lambda x: (x.shape, x.dtype), state) == jax.tree.map(
    lambda x: (x.shape, x.dtype), new
  )
  judged = {"discriminator", "judged_real", "judged_made", "adversary"} <= set(metrics)
  assert judged == (config.loss.adversary > 0)
  assert {"pose", "static"} <= set(metrics) or not config.loss.pose
  assert ("proportions" in metrics) == (config.model.proportions == "learned")
  variables, architecture = system.product(config, state)
  assert jax.tree.structure(variables) == jax.tree.structure(system.shapes(architecture))
  with_theta = any("theta" in str(path) for path, _ in jax.tree.leaves_with_path(variables))
  assert with_theta == (config.model.amplifier == "learned")


@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_every_recipe_builds(recipe):
  config = config_lib.load(f"{ROOT / 'configs' / 'figures.py'}:{recipe}").to_dict()
  _, built = systems.configure(config)
  assert built.model.side == config["data"]["size"] == built.input.crop


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"input__flip": True}, "input.flip is True.*a mirrored person's right hand is the left one"),
    ({"input__crop": 24}, "input.crop is 24 and model.side 16; allowed: the same"),
    ({"support_rows": -1}, "config.support_rows is -1; allowed: 0 or more"),
    ({"discriminator_scales": 9}, "config.discriminator_scales is 9; allowed: 1 to 3"),
    ({"model__transport": "flow"}, "model.transport is 'flow'; valid: warp, attend, concat"),
    ({"model__transport": "concat"}, "model.transport 'concat', which blends no limbs"),
    ({"model__temperature": 0.0}, "model.temperature is 0.0; allowed: more than 0"),
    ({"model__side": 20}, "model.side is 20; allowed: multiples of 8"),
    ({"model__width": 0}, "model.width is 0; allowed: 1 or more"),
    ({"model__name": "gan"}, "no model 'gan'; valid: dfcnet"),
    ({"optim__estimator_learning_rate": 0.0}, "optim.estimator_learning_rate is 0.0"),
    ({"optim__discriminator_learning_rate": 0.0}, "optim.discriminator_learning_rate is 0.0"),
    ({"optim__proportions_steps": -1}, "optim.proportions_steps is -1; allowed: 0 or more"),
    (
      {"optim__proportions_steps": 9, "model__proportions": "source"},
      "optim.proportions_steps is 9; allowed for data.name='figures' with .*='source': 0",
    ),
    ({"optim__constant_share": 2.0}, "optim.constant_share is 2.0; allowed: 0 to 1"),
  ],
)
def test_settings_that_do_not_go_together_are_named(changes, message, values):
  with pytest.raises(InputError, match=message):
    systems.configure(values(**changes))


def test_data_sets_without_people_are_refused(values):
  data = dict(name="synthetic", **{k: v for k, v in street_options().items() if k != "name"})
  system, config = systems.configure(values() | {"data": data})
  with pytest.raises(InputError, match="'synthetic' has no images source, target, .*figures"):
    system.streams(config)


def street_options():
  config = config_lib.load(str(ROOT / "configs" / "synthetic.py")).data
  config.update(scenes=1, validation_scenes=1, test_scenes=1, size=32)
  return config.to_dict()


def test_the_learning_rate_is_flat_and_then_falls(values):
  _, config = systems.configure(values(optim__constant_share=0.5))
  rate = config.optim.schedule(100)
  top = config.optim.learning_rate
  assert float(rate(0)) == float(rate(50)) == pytest.approx(top)
  assert float(rate(100)) == pytest.approx(0.03 * top) and float(rate(75)) < top
  estimator = config.optim.estimator_schedule(100)
  assert float(estimator(100)) == pytest.approx(0.1 * float(estimator(0)))
  assert "falls until the last step" in config.fixed_length


def test_a_sample_is_made_of_pictures_of_joints(toy):
  size = toy.config.model.side
  keypoints = np.array([[3.25, 9.5, 2]] * 18)
  drawn = joints.encode(keypoints, size) / 255.0
  picture = np.zeros((size, size, 3))
  images = {"source": picture, "target": picture, "source_joints": drawn, "target_joints": drawn}
  made = samples.make_transfer(images, jax.random.key(0))
  assert not made.paired and made.truth_parts is None
  np.testing.assert_allclose(made.truth_keypoints, keypoints, atol=0.01)
