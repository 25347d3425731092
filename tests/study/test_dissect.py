"""The study that dissects networks of perception, on networks whose answers are known."""

import csv
import dataclasses
import functools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.datasets.synthetic import SyntheticLabels
from cfi_jax.datasets.world.scenes import BOTH, INFRARED, VISIBLE
from cfi_jax.engine.workdir import record
from cfi_jax.metrics import segmentation
from cfi_jax.study import __main__ as command
from cfi_jax.study import models
from cfi_jax.study.dissect import dissection, measure, plots, results, sentences
from cfi_jax.study.dissect.dissection import APART, Dissection
from cfi_jax.study.dissect.measure import Scenes
from cfi_jax.study.dissect.results import minus
from cfi_jax.study.dissect.settings import ROWS, Study
from cfi_jax.systems.perception import model as model_lib
from cfi_jax.systems.perception.model import Perceived
from cfi_jax.systems.perception.samples import Labelled

SIDE, IMAGES = 8, 24
CLASSES = SyntheticLabels.classes.names


@pytest.fixture(autouse=True)
def fast(monkeypatch):
  monkeypatch.setattr(dissection, "RESAMPLES", 60)
  monkeypatch.setattr(dissection, "PERMUTATIONS", 10)


def values(**changes):
  """A study of three rows of one seed, of two steps."""
  config = config_lib.load(str(ROOT / "configs" / "dissect.py")).to_dict()
  config["train"]["data"] |= dict(size=32, scenes=4, validation_scenes=2, test_scenes=8)
  config["train"]["input"]["crop"] = 16
  config["train"] |= dict(steps=10)
  config["train"]["checkpoint"] |= dict(every=5, keep=2)
  config["train"]["model"]["width"] = 4
  config["tests"] |= dict(steps=(0, 10), places=12)
  return config | dict(order=("visible", "infrared", "special"), seeds=(0, 1)) | changes


def make_study(**changes):
  found = values(**changes)
  del found["study"]
  return config_lib.build(Study, found)


def make_scenes(places=12):
  """Objects of the classes 1 and 2 that a bright square shows in one image, or in both.

  Their class is the level of the square; noise is of each image's own.
  """
  rng = np.random.default_rng(0)
  labels = np.zeros((IMAGES, SIDE, SIDE), np.int32)
  carrier = np.zeros_like(labels)
  both = rng.uniform(-0.05, 0.05, (2, IMAGES, SIDE, SIDE))
  for i in range(IMAGES):
    for rows, shown in ((slice(0, 3), VISIBLE), (slice(3, 6), INFRARED), (slice(6, 8), BOTH)):
      kind = rng.integers(1, 3)
      where = (i, rows, slice(*sorted(rng.choice(SIDE + 1, 2, replace=False))))
      labels[where], carrier[where] = kind, shown
      for m, value in enumerate((VISIBLE, INFRARED)):
        if shown & value:
          both[m][where] += kind / 3
  visible, infrared = (x[..., None].astype(np.float32) for x in both)
  samples = Labelled(visible=visible, infrared=infrared, labels=labels, carrier=carrier)
  points = rng.random((places, 2))
  return Scenes(samples, {"visible": 0.0, "infrared": 0.0}, points)


@dataclasses.dataclass(frozen=True)
class Rule:
  """A network that takes the class off the brighter of the images that it looks at.

  features: f(visible, infrared) -> maps by modality of the only level.
  """

  fusion: str
  features: str = "own"

  @property
  def architecture(self):
    return types.SimpleNamespace(classes=CLASSES, fusion=self.fusion)

  def apply(self, variables, visible, infrared):
    shown = {"visible": visible, "infrared": infrared}
    x = shown[self.fusion] if self.fusion in shown else jnp.maximum(visible, infrared)
    levels = jnp.arange(len(CLASSES)).reshape(1, 1, 1, -1) / 3  # brightness of each class
    logits = -90 * jnp.abs(x - levels)
    powers = {m: jnp.concatenate([x, x**2], -1) for m, x in shown.items()}
    if self.features == "twins":
      powers["infrared"] = powers["visible"]
    own = {m: (powers[m],) for m in shown if self.fusion == m or self.fusion not in shown}
    return Perceived(logits, None, own, (powers["visible"] + powers["infrared"],), (), None)


def dissect_rules(rules, seeds=(0, 1), order=("visible", "infrared", "late"), scenes=None):
  """A dissection of rules by row, which are the same from every seed."""
  scenes = scenes or make_scenes()
  looks = {row: measure.look(rule, {}, scenes) for row, rule in rules.items()}
  study = make_study(order=order, seeds=seeds)
  return Dissection.of(study, scenes, lambda run: dict.fromkeys((0, 10), looks[run[0]]))


@pytest.fixture(scope="module")
def found():
  """Findings of networks of one image each, and of one that sees both."""
  rules = {"visible": Rule("visible"), "infrared": Rule("infrared"), "late": Rule("late")}
  monkey = pytest.MonkeyPatch()
  with monkey.context() as patch:
    patch.setattr(dissection, "RESAMPLES", 60)
    patch.setattr(dissection, "PERMUTATIONS", 10)
    own = dissect_rules(rules)
    return own, results.find(own, (0, 1))


def mean(found, *key):
  return found[(*key, None)].estimate.mean


def test_an_ignored_image_contributes_nothing_and_its_loss_changes_nothing(found):
  _, numbers = found
  for m, other in (("visible", "infrared"), ("infrared", "visible")):
    for (row, quantity, condition, _), finding in numbers.items():
      if row == m and quantity in (results.SHARE, results.LOST):
        own, ignored = finding.estimate, condition.removeprefix("without ").startswith(other)
        assert not ignored or np.isnan(own.mean) or own.mean == own.low == own.high == 0
    assert mean(numbers, m, results.LOST, f"without {m}, {m} alone") > 0.9
    assert mean(numbers, m, results.MIOU, "both") == mean(numbers, m, results.MIOU, m)


def test_contributions_are_shapley_values_of_the_right_class(found):
  own, numbers = found
  where = results.places(own)["visible alone"]
  both, none = (
    own._share(own.look("late", 0, 10).chance[:, k], own.look("late", 0, 10), where)[0]
    for k in (0, 3)
  )
  shares = [mean(numbers, "late", results.SHARE, f"{m}, visible alone") for m in measure.MODALITIES]
  assert sum(shares) == pytest.approx(both - none, abs=1e-6)
  assert shares[0] > 0.9 and abs(shares[1]) < 0.1
  # Either image is enough where both show an object: each is owed a half.
  halves = [mean(numbers, "late", results.SHARE, f"{m}, both") for m in measure.MODALITIES]
  assert halves == pytest.approx([0.5, 0.5], abs=0.05)
  assert {results.SHARE} < {quantity for _, quantity, _, _ in numbers}


def test_scores_are_those_of_the_matrix_and_of_the_pixels(found):
  own, numbers = found
  for row in ("visible", "late"):
    matrices = own.look(row, 0, 10).confusions[:, 0]
    assert mean(numbers, row, results.MIOU, "both") == pytest.approx(
      segmentation.mean_iou(matrices)
    )
  # Classes that nothing shows are in no mean.
  assert mean(numbers, "late", results.MIOU, "both") > 0.9
  assert mean(numbers, "visible", results.FOUND, "visible alone") > 0.9
  assert mean(numbers, "visible", results.FOUND, "infrared alone") < 0.1


def test_both_images_beat_each_where_only_the_other_shows_an_object(found):
  own, numbers = found
  for m, other in (("visible", "infrared"), ("infrared", "visible")):
    gain = numbers["late", minus(results.RIGHT, m), f"{other} alone", None].estimate
    assert gain.low > 0.9
    same = numbers["late", minus(results.RIGHT, m), "both", None].estimate
    assert same.mean == pytest.approx(0, abs=0.05)
  text = "\n".join(sentences.findings(own, numbers)[
    "Does a network of both images see what only the other image shows?"
  ])  # fmt: skip
  assert "`late` finds" in text and ": ahead of both." in text


def test_twins_are_alike_and_tell_all_of_each_other():
  rules = {m: Rule(m) for m in measure.MODALITIES} | {"late": Rule("late", "twins")}
  own = dissect_rules(rules, seeds=(0,))
  assert own.cka("late", 0, 10)[1][0] == pytest.approx(1, abs=1e-6)
  specific = own.specificity("late", 0, 10)
  assert max(values[0] for values in specific.values()) < 1e-6
  # The visible encoder is that of the network of one image; the infrared one is not.
  twins = own.twins("late", 0, 0, 10)
  assert twins["visible", 1][0] == pytest.approx(1, abs=1e-6) and twins["infrared", 1][0] < 0.9


def test_independent_features_are_specific_and_random_labels_mean_nothing():
  scenes = make_scenes(places=40)
  rng = np.random.default_rng(1)
  noise = [rng.normal(size=x.shape).astype(np.float32) for x in scenes.given("both")]
  samples = scenes.samples.replace(
    visible=noise[0], infrared=noise[1], labels=rng.integers(0, 3, scenes.samples.labels.shape)
  )
  rules = {m: Rule(m) for m in measure.MODALITIES} | {"late": Rule("late")}
  scenes = dataclasses.replace(scenes, samples=samples)
  numbers = results.find(own := dissect_rules(rules, scenes=scenes), (0, 1))
  for row in (APART, "late"):
    assert abs(mean(numbers, row, results.CKA, "level 1")) < 0.1
    for space in ("visible 1", "infrared 1"):
      assert mean(numbers, row, results.SPECIFIC, space) == pytest.approx(1, abs=0.05)
  for space in ("visible 1", "infrared 1"):
    null = numbers["late", results.SEMANTIC, space, None].estimate
    assert null.low < 0 < null.high and abs(null.mean) < 0.01
  assert own.scenes.has_carriers


@pytest.fixture(scope="module")
def of_features():
  """Findings of networks of which only the features are known.

  Of "late" the visible encoder is that of the visible network of its seed, and the infrared one
  has the first of its three channels. Seeds have nothing in common but the infrared network.
  """
  rng = np.random.default_rng(2)
  scenes = make_scenes(places=40)
  visible = {seed: rng.normal(size=(IMAGES, 40, 3)) for seed in (0, 1)}
  infrared = rng.normal(size=(IMAGES, 40, 3))
  looks = {}
  for seed, own in visible.items():
    for row, shown in (
      ("visible", {"visible": own}), ("infrared", {"infrared": infrared}),
      ("late", {"visible": own, "infrared": own[..., :1]}),
    ):  # fmt: skip
      given = measure.look(Rule(row), {}, scenes)
      features = {(name, 1): x.astype(np.float32) for name, x in shown.items()}
      looks[row, seed] = dict.fromkeys((0, 10), dataclasses.replace(given, features=features))
  study = make_study(order=("visible", "infrared", "late"), seeds=(0, 1))
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(dissection, "RESAMPLES", 60)
    return results.find(Dissection.of(study, scenes, looks.__getitem__), (0, 1))


@pytest.mark.parametrize(
  ("row", "quantity", "condition", "expected"),
  [
    ("late", results.CKA, "level 1", 3**-0.5),
    ("late", results.FLOOR, "level 1", 0),  # features of each image are its own
    (APART, results.CKA, "level 1", 0),
    ("late", minus(results.CKA, APART), "level 1", 3**-0.5),
    ("late", results.SPECIFIC, "visible 1", 2 / 3),
    ("late", results.SPECIFIC, "infrared 1", 0),
    ("late", minus(results.SPECIFIC, APART), "infrared 1", -1),
    (APART, results.CEILING, "visible 1", 0),
    (APART, results.CEILING, "infrared 1", 1),
    ("late", results.TWIN, "visible 1", 1),
    ("late", results.TWIN, "infrared 1", 0),
    ("late", results.OTHER_TWIN, "visible 1", 0),
    ("late", minus(results.OTHER_TWIN, results.CEILING), "infrared 1", -1),
  ],
)
def test_features_of_seeds_and_twins_have_known_answers(
  of_features, row, quantity, condition, expected
):
  assert mean(of_features, row, quantity, condition) == pytest.approx(expected, abs=0.08)


def test_consistency_is_undefined_where_seeds_have_nothing_in_common(of_features, found):
  assert np.isnan(mean(of_features, APART, results.CONSISTENT, "level 1"))
  _, numbers = found  # equal from every seed: ceilings of 1
  similar = mean(numbers, "late", results.CKA, "level 1")
  assert mean(numbers, "late", results.CONSISTENT, "level 1") == pytest.approx(similar, rel=1e-3)


def test_classes_are_in_features_that_show_them(found):
  _, numbers = found
  assert mean(numbers, "late", results.SEMANTIC, "visible 1") > 0.1
  assert numbers["late", results.SEMANTIC, "visible 1", None].estimate.low > 0


@pytest.fixture
def rules(monkeypatch):
  """Networks become rules, scenes those of this file, and trainings are counted."""
  trained = []
  monkeypatch.setattr(models, "count_steps", lambda config, folder: config.steps)

  def train(config, folder, steps):
    if None in trained:
      return False
    trained.append((config.model.fusion, config.seed))
    return True

  monkeypatch.setattr(models, "train", train)
  monkeypatch.setattr(
    models, "variables_at", lambda config, folder, steps: ((s, {"params": {}}) for s in steps)
  )
  monkeypatch.setattr(measure, "open_scenes", lambda study: make_scenes())
  monkeypatch.setattr(Study, "network", lambda self, row: Rule(row))
  return trained


def test_the_study_trains_looks_and_writes(rules, tmp_path, monkeypatch):
  monkeypatch.setattr(plots, "FIGURES", {"cka": plots.FIGURES["cka"]})  # each takes a second
  given = values(order=("visible", "infrared", "all_levels", "special"))
  rules.append(None)
  assert not command.run(given, tmp_path)
  rules.clear()
  assert command.run(given, tmp_path)
  assert rules == [(row, seed) for seed in (0, 1) for row in given["order"]]
  with open(tmp_path / "findings.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  assert {row["analysis"] for row in rows} == {"dissect"} and len(rows) > 100
  summary = (tmp_path / "summary.md").read_text()
  assert (
    "ahead of both" in summary
    and "## Scores" in summary
    and "from seeds 0, 1, looked at on 24 images" in summary
  )
  page = (tmp_path / "report.html").read_text()
  assert page.count("data:image/svg+xml") == len(list((tmp_path / "plots").glob("*.svg"))) == 1
  rules.clear()
  assert command.run(given, tmp_path) and not rules  # nothing is trained or looked at again
  with pytest.raises(InputError, match="holds another run; differences .*places: 12, 13"):
    command.run(values(order=given["order"], tests=dict(places=13, steps=(0, 10))), tmp_path)
  (tmp_path / "looks" / "special-1.npz").write_bytes(b"PK")
  with pytest.raises(
    InputError, match="special-1.npz: cannot be read .*remove it to measure again"
  ):
    command.run(given, tmp_path)
  assert (tmp_path / record.FILE).is_file()


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"order": ("visible", "late")}, "config.order lacks infrared, which networks of both"),
    ({"order": ("sum",)}, "config.order: there is no 'sum'; valid: visible, infrared, early"),
    ({"tests": dict(places=0, steps=(0, 10))}, "tests.places is 0; allowed: 1 or more"),
    ({"tests": dict(places=4, steps=(5, 0))}, r"tests.steps is \(5, 0\); allowed: whole numbers"),
    ({"tests": dict(places=4, steps=(0, 5))}, "tests.steps ends at 5 and train.steps is 10"),
    ({"tests": dict(places=4, steps=(3, 10))}, "keeps 2 checkpoints, one every 5 steps"),
  ],
)
def test_bad_settings_are_named_with_what_is_allowed(changes, message):
  with pytest.raises(InputError, match=message):
    make_study(**changes)


@pytest.mark.parametrize("fusion", ["early", "middle", "special"])
def test_every_network_is_looked_at_in_its_own_spaces(fusion):
  """Shapes alone; nothing is compiled."""
  network = make_study(order=ROWS).network(fusion)
  params = jax.eval_shape(lambda: model_lib.init(network.architecture, jax.random.key(0)))
  images, labels = (jax.ShapeDtypeStruct((2, 16, 16, *more), jnp.float32) for more in ((1,), ()))
  whole = jax.ShapeDtypeStruct(labels.shape, jnp.int32)
  points = jax.ShapeDtypeStruct((7, 2), jnp.float32)
  seen = jax.eval_shape(
    functools.partial(measure._see, network), params, images, images, whole, whole, points
  )
  depths = dict(
    early=dict(joint=4), middle=dict(visible=2, infrared=2, fused=4),
    special=dict(visible=4, infrared=4, fused=4),
  )[fusion]  # fmt: skip
  assert {space: x.shape for space, x in seen["features"].items()} == {
    (name, k): (2, 7, 4 * 2 ** (k - 1)) for name, n in depths.items() for k in range(1, 1 + n)
  }
  assert seen["right"].shape == (2, len(CLASSES), 4)
  assert seen["confusions"].shape == (2, len(CLASSES), len(CLASSES))


def test_scenes_are_those_of_the_split_with_places_in_them():
  """Real networks of one image, untrained, on the world."""
  study = make_study()
  scenes = measure.open_scenes(study)
  assert scenes.samples.labels.shape == (8, 16, 16) and scenes.has_carriers
  assert scenes.labels((16, 16)).shape == scenes.labels((2, 2)).shape == (8, 12)
  visible, infrared = scenes.given("visible")
  np.testing.assert_array_equal(visible, scenes.samples.visible)
  assert np.unique(infrared).size == 1
  assert infrared.mean() == pytest.approx(scenes.samples.infrared.mean(), rel=1e-5)
