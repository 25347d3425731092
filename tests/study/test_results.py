"""Tables of results: what a study refuses, and a tiny one through its command."""

import csv
import dataclasses
import hashlib
import math
import shutil

import jax
import numpy as np
import pytest
from command_line import ROOT, run
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.metrics import Row, Scores, read_scores
from cfi_jax.study import models, results, rows
from cfi_jax.study.results import report
from cfi_jax.study.results.settings import Study
from cfi_jax.systems import files as weights
from cfi_jax.systems import isfuse
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.isfuse import recipes
from cfi_jax.weights import shipped

CONFIG = ROOT / "configs" / "results.py"
TINY = {
  "published.shipped": "",
  "seeds": (0, 1),
  "order": "('fusion_only',)",
  "metrics": "('EN','SSIM')",
}
TINY |= {
  f"rows.fusion_only.{key}": value
  for key, value in {
    "steps": 2, "batch_size": 2, "input.crop": 16, "model.features": 4, "model.grid": 2,
    "model.levels": 1, "model.shared_encoder": True, "model.gate": "paper",
    "checkpoint.every": 2, "validate_every": 2, "log_every": 1,
  }.items()
}  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
  """RoadScene with four training and two test pairs, TNO and MSRS with one pair each."""
  root = tmp_path_factory.mktemp("roots")
  rng = np.random.default_rng(0)

  def draw(path, channels):
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), np.uint8))
    coarse.convert("RGB" if channels == 3 else "L").resize((28, 24)).save(path)

  names = [f"FLIR_{k}" for k in range(6)]
  for name in names:
    draw(root / "roadscene" / "crop_LR_visible" / f"{name}.jpg", 3)
    draw(root / "roadscene" / "cropinfrared" / f"{name}.jpg", 1)
  for part, chosen in (("train", names[:4]), ("test", names[4:])):
    (root / "roadscene" / f"{part}.txt").write_text("\n".join(chosen))
  for modality in ("vi", "ir"):
    draw(root / "tno" / modality / "01.png", 1)
    draw(root / "msrs" / modality / "00001D.png", 3 if modality == "vi" else 1)
  return root


def arguments(roots, **changes):
  tiny = TINY | {f"roots.{name}": roots / name for name in ("roadscene", "tno", "msrs")} | changes
  return [f"--config={CONFIG}", *(f"--config.{key}={value}" for key, value in tiny.items())]


def typed(values):
  """The study of a config's values, `study` aside."""
  assert values.pop("study") == "results"
  return config_lib.build(Study, values)


def build(roots, **changes):
  return typed(cli.read(arguments(roots, **changes)))


@pytest.mark.parametrize("size", ["cpu", "full"])
def test_every_row_is_a_training_config(size):
  study = typed(config_lib.load(f"{CONFIG}:{size}").to_dict())
  assert len(study.seeds) >= 3 and set(study.order) == set(study.rows)
  assert study.rows["released"].loss.views and not study.rows["fusion_only"].loss.views
  assert study.config("paper", 7).seed == 7 and study.rows["paper"].loss.necessity.weight < 0
  assert study.rows["filling"].loss.invariance.filling > 0
  assert {row.batch_size for row in study.rows.values()} == {4 if size == "cpu" else 16}
  lengths = ("steps 2400", "steps 3000") if size == "cpu" else ("epochs 400.0", "epochs 500.0")
  others = ["loss.target.gain 1.18", "optim.ema_decay 0.99"]
  assert longer(study, "multiscale") == [lengths[0], *others]
  target = ["loss.target.gain 1.19", "loss.target.spread 0.6"]
  others = ["statistics.momentum 0.98", *target, "optim.ema_decay 0.99"]
  assert longer(study, "filling") == [lengths[1], *others]


@pytest.mark.parametrize("size", ["cpu", "full", "shipped_split", "full_shipped_split"])
def test_medical_rows_train_and_test_on_one_split(size):
  study = typed(config_lib.load(f"{ROOT}/configs/medical_results.py:{size}").to_dict())
  assert study.published["shipped"] == ("" if "split" in size else "medical")
  settings = [row.data for row in study.rows.values()] + list(study.tests.values())
  assert {s["split_by"] for s in settings} == {"shipped" if "split" in size else "case"}
  assert len({s["test_fraction"] for s in settings}) == 1
  assert study.rows["medical_long"].loss.target.brighter == 1
  assert longer(study, "medical") == (["epochs 150.0"] if "full" in size else ["steps 900"])


def test_every_lever_is_a_small_change_of_an_earlier_row():
  study = typed(config_lib.load(f"{ROOT}/configs/levers.py").to_dict())
  flat = {row: rows.flatten(dataclasses.asdict(study.rows[row])) for row in study.order}
  for place, row in enumerate(study.order[1:], 1):
    earlier = [flat[name] for name in study.order[:place]]
    fewest = min(len(rows.differences(other, flat[row])) for other in earlier)
    assert 1 <= fewest <= (9 if row == "filling_in_both" else 4), row
  added = {k for k in flat["filling"] if flat["filling"][k] != flat["filling_in_any"][k]}
  assert added == {"loss.robustness.weight", "loss.robustness.views"}
  # The last ones are our recipes, as they are.
  for row, recipe in (("planes_detail", "multiscale"), ("filling", "filling")):
    values = recipes.small(recipes.get(recipe), study.rows[row].steps).to_dict()
    assert flat[row] == rows.flatten(values)


def test_rows_are_described_by_what_differs_from_the_nearest():
  study = typed(config_lib.load(f"{ROOT}/configs/levers.py").to_dict())
  text = rows.describe(study)
  assert "- `released`: the recipe released, but input.crop 64, batch_size 4, steps 150, " in text
  assert "- `gain`: `spread`, but loss.target.gain 1.15\n" in text
  assert "- `detail`: `reflect`, but loss.fusion.detail 1.0, no loss.fusion.gradient\n" in text


def test_no_row_has_the_name_of_a_baseline():
  values = config_lib.load(f"{ROOT}/configs/levers.py").to_dict()
  values["rows"]["average"] = values["rows"]["released"]
  with pytest.raises(InputError, match="config.rows: 'average' is taken; taken: visible, infrared"):
    typed(values)


def longer(study, row):
  """Fields that distinguish the long run of a recipe."""
  base, long = (rows.flatten(dataclasses.asdict(study.rows[r])) for r in (row, f"{row}_long"))
  return rows.differences(base, long)


BAD = {
  "unknown row": ({"order": "('papre',)"}, "config.order: there is no 'papre'; valid: filling"),
  "unknown test": ({"score": "('tnno',)"}, "config.score: there is no 'tnno'; valid: msrs"),
  "seed twice": ({"seeds": "(1,1)"}, r"config.seeds is \(1, 1\); allowed: one or more, each once"),
  "row twice": (
    {"order": "('paper','paper')"},
    r"config.order is \('paper', 'paper'\); allowed: any, each once",
  ),
  "part of a folder": (
    {"tests.msrs.validation_fraction": 0.5},
    "config.tests.msrs.validation_fraction is 0.5; allowed: 0, as all pairs",
  ),
  "no seed": ({"seeds": "()"}, r"config.seeds is \(\); allowed: one or more"),
  "bad seed": ({"seeds": "(0,-1)"}, "config.seed is -1"),
  "unknown metric": ({"metrics": "('SIM',)"}, "unknown metric 'SIM'"),
  "nothing to score": ({"tests.tno.name": "m3fd"}, "config.tests.tno: M3fd has no test pairs"),
  "no root": ({"roots.tno": ""}, "config.tests.tno.root is empty; give its folder by --config.roo"),
  "no pictures": ({"roots.tno": "/nowhere"}, "/nowhere"),
  "no weights": ({"published.authors": "/no.safetensors"}, "/no.safetensors"),
  "bad network": ({"rows.fusion_only.model.gate": "papr"}, "model.gate='papr'"),
  "small crop": (
    {
      f"rows.fusion_only.{k}": v
      for k, v in {"input.crop": 7, "model.levels": 3, "masks.size": (4, 4)}.items()
    },
    "crop is 7",
  ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_studies_leave_nothing(roots, tmp_path, case):
  changes, text = BAD[case]
  with pytest.raises(InputError, match=text):
    results.run(build(roots, **changes), tmp_path / "study")
  assert not (tmp_path / "study").exists()


def scores(method, values):
  return Scores(tuple(Row(method, str(k), "EN", "tang", v, False) for k, v in enumerate(values)))


def test_the_spread_is_over_seeds_not_over_images():
  seeds = [
    scores(f"row-{seed}", values)
    for seed, values in enumerate([(1.0, 3.0), (2.0, 6.0), (0.0, 0.0)])
  ]
  found = report.cell(seeds, "EN")
  assert (found.mean, found.images) == (2.0, 2)
  assert found.deviation == pytest.approx(2.0)  # of 2, 4 and 0
  assert str(found._replace(deviation=0.0234)) == "2.000 ± 0.023"
  alone = report.cell([scores("average", (1.0, math.nan, 2.0))], "EN")
  assert alone.mean == 1.5 and alone.images == 2 and math.isnan(alone.deviation)
  assert str(alone) == "1.5000"


def test_the_command_trains_scores_and_goes_on(roots, tmp_path):
  workdir = tmp_path / "study"
  command = ["cfi_jax.study", *arguments(roots, seeds="(0,)"), f"--workdir={workdir}"]
  process = run(*command)
  assert process.returncode == 0, process.stdout + process.stderr
  file = workdir / "weights" / "fusion_only-0.safetensors"
  _, card = weights.load(file)
  published = tmp_path / "theirs.safetensors"
  published.write_bytes(file.read_bytes())
  trained = file.stat().st_mtime_ns
  # A seed and published weights are added to the same study; what is there stays.
  assert results.run(build(roots, **{"published.authors": published}), workdir)
  assert file.stat().st_mtime_ns == trained and card.architecture["features"] == 4
  with open(workdir / "results.csv", newline="") as table:
    rows = list(csv.DictReader(table))
  assert {row["test"] for row in rows} == {"roadscene", "tno", "msrs"}
  found = {(row["test"], row["row"], row["metric"]): row for row in rows}
  assert found["roadscene", "fusion_only", "EN"]["seeds"] == "2"
  assert found["roadscene", "fusion_only", "EN"]["images"] == "2"
  folder = workdir / "scores" / "roadscene"

  def digest(seed):
    file = workdir / "weights" / f"fusion_only-{seed}.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest()

  seeds = [
    read_scores(next(folder.glob(f"{digest(seed)[:16]}.csv"))).mean("SSIM", digest(seed)[:16])
    for seed in (0, 1)
  ]
  line = found["roadscene", "fusion_only", "SSIM"]
  assert float(line["mean"]) == pytest.approx(np.mean(seeds))
  assert float(line["standard deviation"]) == pytest.approx(np.std(seeds, ddof=1))
  # The same weights have the same scores, however they came here.
  theirs = float(found["roadscene", "authors", "SSIM"]["mean"])
  assert theirs == pytest.approx(seeds[0]) and found["tno", "average", "EN"]["seeds"] == "0"
  with open(workdir / "curves.csv", newline="") as table:
    curve = [(line["row"], line["seed"], line["step"]) for line in csv.DictReader(table)]
  assert curve == [("fusion_only", str(seed), str(step)) for seed in (0, 1) for step in (1, 2)]
  text = (workdir / "results.md").read_text()
  assert "## roadscene: 2 pairs" in text and "| fusion_only (2) | " in text and " ± " in text
  before = (workdir / "results.csv").read_bytes()
  changed = {
    "metrics": {"metrics": "('EN',)"},
    "recipe": {"rows.fusion_only.optim.learning_rate": 1e-2},
    "pairs": {"roots.tno": roots / "more"},
  }
  shutil.copytree(roots / "tno", roots / "more", dirs_exist_ok=True)
  for modality in ("vi", "ir"):
    shutil.copy(roots / "tno" / modality / "01.png", roots / "more" / modality / "02.png")
  for changes in changed.values():
    with pytest.raises(InputError, match="holds another run"):
      results.run(build(roots, **changes), workdir)
  shutil.rmtree(workdir / "runs" / "fusion_only-1")
  with pytest.raises(InputError, match="fusion_only-1.safetensors is there, and .*run.json is not"):
    results.run(build(roots), workdir)
  assert (workdir / "results.csv").read_bytes() == before


def test_without_rows_the_tables_are_of_weights_and_rules(roots, tmp_path, monkeypatch):
  """Nothing is trained; mean ranks leave out the sources, which have no SCD."""
  study = build(roots, order="()", metrics="('EN','SCD')", **{"published.shipped": "tiny"})
  choice = shipped.Choice("RoadScene's pairs", ("roadscene",))
  monkeypatch.setitem(shipped.CHOSEN, "tiny", choice)
  monkeypatch.setattr(models, "published", lambda weights: {"shipped": tmp_path / "none"})
  monkeypatch.setattr(
    results, "_network", lambda path, sizes: ("tiny", lambda visible, infrared, _: visible)
  )
  workdir = tmp_path / "study"
  assert results.run(study, workdir)
  assert not (workdir / "runs").exists() and not (workdir / "weights").exists()
  with open(workdir / "results.csv", newline="") as table:
    lines = [line for line in csv.DictReader(table) if line["metric"] == "mean rank"]
  assert len(lines) == 3 * (len(BASELINES) + 1)
  for test in ("roadscene", "tno", "msrs"):
    found = {line["row"]: float(line["mean"]) for line in lines if line["test"] == test}
    ranked = [rank for rank in found.values() if not math.isnan(rank)]
    assert math.isnan(found["visible"]) and math.isnan(found["infrared"])
    n = len(BASELINES) - 2
    assert len(ranked) >= n and sum(ranked) == pytest.approx(len(ranked) * (len(ranked) + 1) / 2)
  text = (workdir / "results.md").read_text()
  assert "|  | mean rank ↓ | EN ↑ | SCD ↑ |" in text and "e-0" not in text
  assert f"- `shipped` (tiny): {choice}; tno, msrs: only reported on\n" in text
  assert "Mean rank: the mean of a row's ranks on EN, SCD among" in text


def test_what_weights_were_chosen_by_is_said_of_each(roots):
  values = {"published.authors": "isfuse_best.pth", "published.shipped": shipped.DEFAULT}
  choice = shipped.CHOSEN[shipped.DEFAULT]
  lines = report.describe_choices(build(roots, **values)).splitlines()
  others = ", ".join(t for t in ("roadscene", "tno", "msrs") if t not in choice.tests)
  assert lines == [
    "- `authors`: by which pairs these weights were chosen is not recorded here",
    f"- `shipped` ({shipped.DEFAULT}): {choice}; {others}: only reported on",
    report.TRAINED,
  ]


def test_the_mean_rank_of_a_row_is_that_of_its_mean_over_seeds():
  study = typed(config_lib.load(f"{ROOT}/configs/levers.py").to_dict())
  study = dataclasses.replace(study, metrics=("EN",))
  rows = {
    "released": [scores("0", (1.0, 3.0)), scores("1", (5.0, 7.0))],  # 4
    "average": [scores("average", (3.5, 3.5))],
    "maximum": [scores("maximum", (4.0, 4.0))],
  }
  found = report.cells(study, rows)
  assert {row: own["mean rank"].mean for row, own in found.items()} == {
    "released": 1.5, "average": 3.0, "maximum": 1.5,
  }  # fmt: skip
  assert list(found["released"]) == ["mean rank", "EN"]


def test_replaced_weights_are_scored_again(roots, tmp_path):
  study, file = build(roots), tmp_path / "theirs.safetensors"
  found = []
  for value in (0.5, -0.5):
    architecture = {
      "name": "isfuse", "features": 4, "grid": 2, "shared_encoder": True, "gate": "paper",
      "padding": "zeros", "levels": 3,
    }  # fmt: skip
    shapes = isfuse.shapes(architecture)
    drawn = jax.tree_util.tree_map_with_path(
      lambda path, x, value=value: np.full(x.shape, 1.0 if path[-1].key == "var" else value), shapes
    )
    weights.save(
      file, drawn, weights.Card("isfuse", architecture, "none", "none", "2026-01-01", "none")
    )
    key, method = results._network(file, [(24, 28)])
    scores = results._scores(study, tmp_path / f"{key}.csv", study.sources()["tno"], method)
    found.append(scores.mean("SSIM", key))
  assert np.isfinite(found).all() and found[0] != found[1]


def test_sixteen_bits_are_refused_and_alpha_is_dropped(roots, tmp_path):
  for modality in ("vi", "ir"):
    (tmp_path / modality).mkdir()
    picture = Image.new("RGBA", (28, 24), (90, 10, 200, 7))
    picture.putpixel((3, 4), (255, 255, 255, 255))
    picture.save(tmp_path / modality / "a.png")
  study = build(roots, **{"roots.tno": tmp_path})
  method, file = results._baseline(study, "average"), tmp_path / "average.csv"
  found = results._scores(study, file, study.sources()["tno"], method)
  assert np.isfinite(found.mean("EN", "average"))
  Image.new("I;16", (28, 24)).save(tmp_path / "ir" / "a.png")
  with pytest.raises(InputError, match="config.tests.tno: a has 16 bits"):
    results.run(study, tmp_path / "study")
