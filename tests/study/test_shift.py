"""The study of distribution shift: known rules, refusals, and a tiny one through its command."""

import csv
import importlib.util
import re
import types

import numpy as np
import pytest
from command_line import ROOT, run

from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Pair
from cfi_jax.report.crossed import Tally
from cfi_jax.report.estimates import Estimate
from cfi_jax.report.findings import Finding
from cfi_jax.study import grid, models, shift
from cfi_jax.study.shift import measure, report, results
from cfi_jax.study.shift.settings import CORRELATION, TRIVIAL, Study, conditions
from cfi_jax.systems.baselines import BASELINES

CONFIG = ROOT / "configs" / "shift.py"
# The second recipe is made the first one again: one program to compile, and differences of zero;
# the paper's network is smaller.
TINY = {
  "order": "('fusion_only','complementary')",
  "train.steps": 2, "train.checkpoint.every": 1, "train.log_every": 1,
  "train.input.crop": 16, "train.batch_size": 2, "train.masks.size": (4, 4),
  "train.model.features": 4, "train.model.grid": 2, "train.model.levels": 1,
  "train.data.size": 32, "train.data.scenes": 4, "recipes.complementary.loss.invariance.views": (),
  "tests.scenes": 4, "tests.metrics": "('EN',)", "tests.correlations": (0.9, -0.9),
  "tests.objects.width": 3, "tests.corruptions.noise": (), "tests.corruptions.blur": (),
  "tests.corruptions.misregistration": (), "tests.corruptions.rain": (),
  "tests.corruptions.snow": (),
  "tests.corruptions.missing_visible": (), "tests.corruptions.haze": "(1.0,)",
  "tests.corruptions.missing_infrared": "(1.0,)",
}  # fmt: skip
for _name in ("fusion_only", "complementary"):
  TINY |= {f"recipes.{_name}.model.shared_encoder": True, f"recipes.{_name}.model.gate": "paper"}


def arguments(changes):
  """The command line of the tiny study; changes: KEY=VALUE."""
  tiny = TINY | dict(change.split("=", 1) for change in changes)
  return [f"--config={CONFIG}", *(f"--config.{key}={value}" for key, value in tiny.items())]


def values(size="cpu"):
  return config_lib.load(f"{CONFIG}:{size}").to_dict()


def typed(values):
  """The study of a config's values, `study` aside."""
  assert values.pop("study") == "shift"
  return config_lib.build(Study, values)


def build(changes=()):
  """The tiny study; see `arguments`."""
  return typed(cli.read(arguments(changes)))


@pytest.mark.parametrize("size", ["cpu", "small", "full"])
def test_every_size_builds_and_its_recipes_differ_as_they_say(size):
  study = typed(values(size))
  views = {name: study.recipes[name].loss.views for name in study.recipes}
  assert views["fusion_only"] == ()
  assert views["complementary"] == ("complementary",) and views["shared"] == ("shared",)
  assert views["dropout"] == ("without_visible", "without_infrared")
  assert len(views["released"]) == len(views["paper"]) == 4
  paper, released = study.config("paper", 5), study.config("released", 5)
  assert paper.model["shared_encoder"] and paper.loss.necessity.weight < 0
  assert not released.model["shared_encoder"] and released.loss.necessity.weight > 0
  assert released.seed == 5 and released.optim == study.train.optim
  if size != "small":
    assert len(study.order) == 6 and len(study.seeds) >= 3


@pytest.mark.parametrize(
  ("change", "message"),
  [
    ("order=('fusion_only','papre')", "config.order: there is no 'papre'; valid: complementary"),
    ("reference=papre", "config.reference is 'papre', which is not tested; tested: fusion_only"),
    ("order=('paper',)", "config.reference is 'fusion_only', which is not tested; tested: paper,"),
    ("reference=shipped", "config.reference is 'shipped', which is not tested"),
    ("seeds=(0,0)", r"config.seeds is \(0, 0\); allowed: one or more, each once"),
    ("seeds=()", r"config.seeds is \(\)"),
    ("tests.correlations=(2.0,)", r"tests.correlations is \(2.0,\)"),
    ("tests.correlations=(0.5,-1.1)", r"tests.correlations is \(0.5, -1.1\); allowed: one or more"),
    ("tests.correlations=()", r"tests.correlations is \(\)"),
    ("tests.corruptions.haze=(-1.0,)", "corruption haze: strength -1.0; allowed: 0 to 20"),
    ("tests.scenes=1", "tests.scenes is 1; allowed: 2 or more"),
    ("tests.metrics=('SIM',)", "unknown metric 'SIM'"),
    ("tests.metrics=('VIF',)", "VIF needs images of 41 pixels or more, and train.data.size is 32"),
    ("train.masks.size=(4,40)", "masks.size goes up to 40 pixels"),
    ("tests.objects.gap=-1", "objects.gap is -1"),
  ],
)
def test_bad_values_are_named(change, message):
  with pytest.raises(InputError, match=message):
    build([change])


def test_unknown_corruptions_fields_and_data_are_named(tmp_path):
  broken = values()
  broken["tests"]["corruptions"] |= {"hail": (1.0,)}
  with pytest.raises(InputError, match="no corruption 'hail'; valid: noise"):
    typed(broken)
  broken = values()
  broken["recipes"]["paper"]["model"] |= {"gates": "paper"}
  with pytest.raises(InputError, match=r"recipes.paper.model has \['gates'\]; valid: "):
    typed(broken)
  broken = values()
  broken["published"] = {"average": "mine.safetensors"}
  with pytest.raises(InputError, match="config.published: 'average' is taken; taken: complementar"):
    typed(broken)
  broken = values()
  broken["train"]["data"] = dict(name="roadscene", root=str(tmp_path), validation_fraction=0.1)
  with pytest.raises(InputError, match="'roadscene'; only synthetic"):
    typed(broken)


def test_without_matplotlib_nothing_begins(tmp_path, monkeypatch):
  found = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
  )
  with pytest.raises(InputError, match=r"pip install -e '\.\[analyze\]'"):
    shift.run(build(), tmp_path / "study")
  assert not (tmp_path / "study").exists()


@pytest.fixture(scope="module")
def world():
  """A study that trains nothing here, and its trials."""
  study = build(["tests.scenes=16"])
  return study, measure.trials(study)


def shares(study, rule, trials):
  """Per condition the shares of visible objects by carrier."""
  measured = measure.measure_all(study, trials, "rule", rule)
  found = {}
  for condition in conditions(study.tests):
    for carrier in measure.CARRIERS:
      quantity = f"visible objects, {carrier}"
      counted = results.tally(study, [measured], quantity, condition)
      found[condition.sweep, condition.x, carrier] = counted.mean
  return found


def test_copying_one_source_shows_what_that_source_shows(world):
  study, trials = world
  found = shares(study, lambda pair: pair.infrared, trials)
  for correlation in study.tests.correlations:
    shown = [found[CORRELATION, correlation, carrier] for carrier in measure.CARRIERS[1:]]
    assert shown == [0, 1, 1]
    counts = next(t for t in trials if t.condition.x == correlation).carriers
    assert counts["all"].sum() == sum(counts[c].sum() for c in measure.CARRIERS[1:]) > 10
    expected = (counts["only infrared"].sum() + counts["both"].sum()) / counts["all"].sum()
    assert found[CORRELATION, correlation, "all"] == pytest.approx(expected)
  # Without the infrared image nothing is left of it; what is lost still counts.
  assert found["missing_infrared", 1.0, "all"] == 0
  visible = shares(study, lambda pair: pair.visible, trials)
  assert visible["missing_infrared", 1.0, "only visible"] == 1
  assert visible["missing_infrared", 1.0, "only infrared"] == 0


def test_the_better_source_is_what_either_shows(world):
  study, trials = world
  measured = measure.measure_all(study, trials, measure.EITHER, None)
  quantity = "visible objects, all"
  clean, lost = (
    results.tally(study, [measured], quantity, c).mean
    for c in conditions(study.tests)
    if c.x in (0.9, 1.0) and c.sweep != "haze"
  )
  assert clean == 1 and 0 < lost < 1
  loss = results.tally(study, [measured], measure.LOSS, conditions(study.tests)[0])
  assert not loss.counts.any()


def test_fusion_loss_and_scores_compare_with_the_undisturbed_pair(world):
  study, trials = world
  trial = next(t for t in trials if t.condition.sweep == "haze")
  assert (trial.given.visible != trial.clean.visible).any()
  row = measure.quantities(study).index(measure.LOSS)
  clean = trial.clean

  def loss(rule):
    return measure.measure(study, "rule", rule, trial)[0][row]

  gap = np.abs(clean.visible.astype(float) - clean.infrared).mean((1, 2, 3)) / 255
  # Copying costs the whole distance to the other image, and details that only that one has.
  assert (loss(lambda pair: clean.visible) >= gap - 1e-6).all()
  assert loss(lambda pair: clean.visible).mean() < loss(lambda pair: pair.visible).mean()


def test_scenes_are_the_same_draws_in_every_world(world):
  _, trials = world
  worlds = [t for t in trials if t.condition.sweep == CORRELATION]
  assert (worlds[0].objects == worlds[1].objects).all()
  assert (worlds[0].clean.visible != worlds[1].clean.visible).any()


def test_findings_have_paired_differences_of_all_but_the_reference(world):
  study, _ = world
  shape = (len(conditions(study.tests)), len(measure.quantities(study)), 16)
  ones = np.ones(shape)
  runs = {
    "fusion_only": [measure.Measured(ones * k, ones) for k in (1, 3)],
    "complementary": [measure.Measured(ones * (k + 0.5), ones) for k in (1, 3)],
    "average": [measure.Measured(ones * 2, ones)],
  }
  found = results.find(study, runs)
  place = ("CNR, all", CORRELATION, -0.9)
  own = found["complementary", *place]
  assert own.estimate.mean == 2.5 and own.samples == 32
  name = results.difference_name("CNR, all", "fusion_only")
  difference = found["complementary", name, *place[1:]].estimate
  assert (difference.mean, difference.low, difference.high) == (0.5, 0.5, 0.5)
  assert difference.excludes_zero
  average = found["average", name, *place[1:]].estimate
  # Resamples are -1, 0 or 1; two seeds: stretched by the quotient of Student's t and the normal.
  end = 12.706 / 1.960 * 2**0.5
  assert (average.mean, average.low, average.high) == pytest.approx((0, -end, end), rel=1e-3)
  assert not average.excludes_zero
  assert ("fusion_only", name, *place[1:]) not in found
  tally = results.tally(study, runs["fusion_only"], "CNR, all", conditions(study.tests)[0])
  assert isinstance(tally, Tally) and tally.sums.shape == (2, 16)


def finding(quantity, x, mean, low, high, model="average", sweep=CORRELATION):
  estimate = Estimate(mean, low, high)
  return (model, quantity, sweep, x), Finding(model, "shift", quantity, sweep, estimate, 16, x)


def comparison(study, loss, share, contrast):
  """Findings of average and reference in the training world; given: the average's minus, ends."""
  found, x = {}, study.world.correlation
  for quantity, ends in ((measure.LOSS, loss), (report.SHARE, share), (report.CONTRAST, contrast)):
    name = results.difference_name(quantity, study.reference)
    found |= [
      finding(quantity, x, 0.5, 0.4, 0.6, study.reference),
      finding(quantity, x, 0.75, 0.7, 0.8),
      finding(name, x, sum(ends) / 2, *ends),
    ]
  return found


def test_a_training_that_helps_beats_the_average():
  """Less of the loss and more of the others is better."""
  study = build(["reference=fusion_only", "tests.correlations=(0.0,0.9)"])
  assert study.world.correlation in study.tests.correlations
  first = report._first_check(
    study, comparison(study, (0.1, 0.3), (-0.3, -0.1), (-0.1, 0.1))
  ).splitlines()
  verdicts = [line.split(". fusion_only ")[1] for line in first]
  assert verdicts == [f"{verb} the average." for verb in ("beats", "beats", "cannot be told from")]
  assert (
    "fusion loss (lower is better): fusion_only 0.5000, average 0.7500; average minus" in first[0]
  )
  second = report._first_check(study, comparison(study, (-0.3, -0.1), (0.1, 0.3), (0.0, 0.1)))
  assert second.count("is worse than") == 2 and second.count("cannot be told from") == 1


def test_without_the_training_world_nothing_is_compared():
  study = build()
  x = study.world.correlation
  found = {k: v for k, v in comparison(study, (1, 2), (1, 2), (1, 2)).items() if x not in k}
  said = report._first_check(study, found)
  assert said == "The training world is not among the worlds tested on."


def test_tables_have_a_row_per_condition_and_models_that_have_a_number():
  rows = conditions(build().tests)
  assert [row.name for row in rows] == [
    "correlation +0.9", "correlation -0.9", "haze 1", "missing_infrared 1",
  ]  # fmt: skip
  found = dict(
    [
      finding("CNR, all", 0.9, 0.5, 0.25, 0.75),
      finding("CNR, all", -0.9, np.nan, np.nan, np.nan),
      finding("CNR, all", 1.0, -0.5, -0.75, 0.75, sweep="haze"),
      finding("CNR, all", 0.9, np.nan, np.nan, np.nan, "no number"),
    ]
  )
  plain, bold = (report._table(found, "CNR, all", rows[:3], b).splitlines() for b in (False, True))
  assert "no number" not in plain[0] and "average" in plain[0]
  assert [line.count("**") for line in plain] == [0] * 5
  assert [line.count("**") for line in bold] == [0, 0, 2, 0, 0]
  assert bold[3].replace(" ", "") == "|correlation-0.9|-|"
  assert "-0.5" in plain[4] and plain[4].startswith("| haze 1")


def test_the_summary_names_worlds_and_corruptions(world):
  study, trials = world
  shape = (len(conditions(study.tests)), len(measure.quantities(study)), 16)
  runs = {row: [measure.Measured(np.ones(shape), np.ones(shape))] for row in study.order}
  summary = report.write_summary(study, results.find(study, runs), trials, (0, 3))
  assert "trained from seeds 0, 3 in the world" in summary
  titles = re.findall(r"^## (.*)$", summary, re.MULTILINE)
  assert titles[0] == "Does training help at all?"
  assert titles[1 : 1 + shape[1]] == [f"{q}: worlds" for q in measure.quantities(study)]
  assert [title.split(": corruptions")[0] for title in titles[1 + shape[1] :]] == [
    "visible objects, all", "CNR, all", *measure.SHARES[1:], measure.LOSS,
  ]  # fmt: skip
  for trial in trials[:2]:
    counts = (f"{trial.carriers[c].sum()} {c}" for c in measure.CARRIERS[1:])
    assert f"{trial.condition.x:+g}: {', '.join(counts)}" in summary


def test_the_baselines_of_a_study_are_those_of_their_names(world):
  study, trials = world
  pair = trials[0].given
  for name in TRIVIAL:
    expected = BASELINES[name](pair.visible, pair.infrared, "")
    np.testing.assert_array_equal(measure.trivial(name)(pair), expected)


@pytest.mark.parametrize("count", [1, models.CHUNK, models.CHUNK + 3])
def test_scenes_are_fused_in_chunks_of_one_shape(monkeypatch, count):
  asked = []

  def fuse(module, variables, pair):
    asked.append(pair.visible.shape)
    return np.maximum(pair.visible, pair.infrared)

  monkeypatch.setattr(
    models, "from_architecture", lambda architecture, dtype: (architecture, dtype)
  )
  monkeypatch.setattr(models, "_fuse", fuse)
  visible, infrared = np.random.default_rng(0).integers(0, 256, (2, count, 4, 4, 1), np.uint8)
  card = types.SimpleNamespace(architecture="any")
  found = models.batch_fuser({}, card)(Pair(visible, infrared))
  np.testing.assert_array_equal(found, np.maximum(visible, infrared))
  assert asked == [(models.CHUNK, 4, 4, 1)] * -(-count // models.CHUNK)


def test_what_was_measured_comes_back_or_is_refused(world, tmp_path):
  study, _ = world
  path = tmp_path / "run.npz"
  shape = (len(conditions(study.tests)), len(measure.quantities(study)), 16)
  measure.save(path, measure.Measured(np.full(shape, 2.0), np.ones(shape)))
  assert (measure.load(path, study).sums == 2).all()
  measure.save(path, measure.Measured(np.ones((1, 2, 3)), np.ones((1, 2, 3))))
  with pytest.raises(InputError, match=r"run.npz: shape \(1, 2, 3\), expected \(4, 10, 16\)"):
    measure.load(path, study)
  for damaged in (b"", b"no archive", path.read_bytes()[:200]):
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="run.npz: cannot be read .*remove it to measure again"):
      measure.load(path, study)


def test_weights_alone_are_tested_without_any_training(tmp_path, monkeypatch):
  asked = []

  def maximum(path, sizes):
    asked.append((path, list(sizes)))
    return np.maximum

  monkeypatch.setattr(models, "published", lambda weights: {"shipped": weights["shipped"]})
  monkeypatch.setattr(models, "file_fuser", maximum)
  study = build(["order=()", "published.shipped=mine.safetensors", "reference=average"])
  assert shift.run(study, tmp_path / "study")
  assert asked == [("mine.safetensors", [(32, 32)])]
  rows = list(csv.DictReader((tmp_path / "study" / "findings.csv").read_text().splitlines()))
  found = {(r["model"], r["quantity"], r["condition"], r["x"]): r["mean"] for r in rows}
  assert {model for model, *_ in found} == {*TRIVIAL, measure.EITHER, "shipped"}
  own = {key[1:]: value for key, value in found.items() if key[0] == "shipped"}
  assert len(own) > 50
  assert own == {key[1:]: value for key, value in found.items() if key[0] == "maximum"}
  summary = (tmp_path / "study" / "summary.md").read_text()
  assert "Nothing was trained here." in summary and "Minus average" in summary
  assert "trained from seeds" not in summary and "Does training help" not in summary


def command(workdir, *changes):
  return run("cfi_jax.study", f"--workdir={workdir}", *arguments(changes))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """A study of one seed, then the reference alone from two; both with what they left and printed.

  Gives the workdir, the files of the first by path with their time and content, and both commands.
  """
  workdir = tmp_path_factory.mktemp("shift") / "study"
  first = command(workdir, "seeds=(0,)")
  assert first.returncode == 0, first.stdout + first.stderr
  paths = [*workdir.glob("*.*"), *(workdir / shift.MEASURED).iterdir()]
  left = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in paths}
  second = command(workdir, "seeds=(0,1)", "order=('fusion_only',)")
  assert second.returncode == 0, second.stdout + second.stderr
  return workdir, left, first, second


def test_the_command_writes_findings_summary_and_plots(finished):
  workdir, left, _, _ = finished
  for name in ("worlds", "corruptions"):
    assert left[workdir / f"{name}.png"][1].startswith(b"\x89PNG")
    assert b"</svg>" in left[workdir / f"{name}.svg"][1]
  rows = list(csv.DictReader(left[workdir / "findings.csv"][1].decode().splitlines()))
  models = {"fusion_only", "complementary", *TRIVIAL, measure.EITHER}
  assert {row["model"] for row in rows} == models
  assert {(row["condition"], float(row["x"])) for row in rows} == {
    (CORRELATION, 0.9), (CORRELATION, -0.9), ("haze", 1.0), ("missing_infrared", 1.0),
  }  # fmt: skip
  null = [r for r in rows if r["model"] == "complementary" and "minus" in r["quantity"]]
  assert len(null) > 20
  assert all(abs(float(r[end])) < 1e-6 for r in null for end in ("low", "mean", "high"))
  for row in rows:
    assert float(row["low"]) <= float(row["mean"]) + 1e-9 <= float(row["high"]) + 2e-9
  summary = left[workdir / "summary.md"][1].decode()
  assert "trained from seeds 0 in the world" in summary
  assert "Minus fusion_only" in summary and "Does training help at all?" in summary
  assert re.search(r"fusion_only (beats|is worse than|cannot be told from) the average", summary)


def test_a_study_goes_on_where_it_stopped_and_seeds_share_programs(finished):
  workdir, left, first, second = finished
  for path in (workdir / shift.MEASURED).glob("*-0.npz"):
    assert path.stat().st_mtime_ns == left[path][0]
  assert "fusion_only-0:" in first.stdout and "fusion_only-0:" not in second.stdout
  names = {"fusion_only-0", "complementary-0", "fusion_only-1"}
  assert {path.name for path in (workdir / grid.RUNS).iterdir()} == names
  assert "trained from seeds 0, 1 in the world" in (workdir / "summary.md").read_text()
  # The step of the first seed serves the second, and no seed is the other.
  ((read, made),) = re.findall(r"compiled in \d+ s, (\d+) of (\d+) programs", second.stdout)
  assert read == made
  sums = [
    measure.load(workdir / shift.MEASURED / f"fusion_only-{k}.npz", build()).sums for k in (0, 1)
  ]
  assert (sums[0] != sums[1]).any()


def test_another_protocol_is_refused(finished):
  workdir, *_ = finished
  refused = command(workdir, "seeds=(0,)", "train.optim.learning_rate=0.5")
  assert refused.returncode == 2
  assert "holds another run; differences" in refused.stderr
  assert "config.train.optim.learning_rate: 0.002, 0.5" in refused.stderr
