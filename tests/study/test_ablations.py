"""The study of ablations: rows of any system, trained, measured and compared."""

import copy
import csv
import json

import jax
import numpy as np
import pytest
import toys
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import validation
from cfi_jax.report.crossed import Tally
from cfi_jax.study import __main__ as command
from cfi_jax.study import models
from cfi_jax.study import rows as rows_lib
from cfi_jax.study.ablations import report
from cfi_jax.study.ablations.settings import Study

toys.install()


@pytest.fixture(scope="module")
def root(tmp_path_factory, write_pairs):
  root = tmp_path_factory.mktemp("ablations")
  write_pairs(root, 8)
  return root


def values(root, **changes):
  """A study of two rows of a toy, one with longer validation and one of fewer steps."""
  row = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:one").to_dict()
  row["data"]["root"] = str(root)
  row |= dict(steps=4, validate_every=4, validation_pairs=2)
  row["checkpoint"]["every"] = 4
  rows = {"full": row, "short": copy.deepcopy(row) | dict(steps=2, validate_every=2)}
  rows["short"]["checkpoint"]["every"] = 2
  return dict(
    study="ablations", rows=rows, order=("full", "short"), seeds=(0, 1), reference="full",
    scores=("loss",), paths={},
  ) | changes  # fmt: skip


def test_rows_are_trained_and_compared_on_the_same_samples(root, tmp_path, capsys):
  assert command.run(values(root, seeds=(0,)), tmp_path)
  assert command.run(values(root), tmp_path)
  kept = {p.stem: json.loads(p.read_text()) for p in (tmp_path / "measured").glob("*.json")}
  assert set(kept) == {"full-0", "short-0", "full-1", "short-1"}
  assert all(each["names"] == kept["full-0"]["names"] for each in kept.values())
  losses = {name: np.array(each["scores"]["loss"]) for name, each in kept.items()}
  assert losses["full-0"].shape == (2,) and (losses["full-0"] != losses["full-1"]).all()
  with open(tmp_path / "findings.csv", newline="") as file:
    found = {(line["model"], line["condition"]): line for line in csv.DictReader(file)}
  mean = {row: np.mean([losses[f"{row}-0"], losses[f"{row}-1"]]) for row in ("full", "short")}
  assert float(found["full", report.VALUE]["mean"]) == pytest.approx(mean["full"])
  difference = float(found["short", report.DIFFERENCE]["mean"])
  assert difference == pytest.approx(mean["short"] - mean["full"], abs=1e-7)
  text = (tmp_path / "summary.md").read_text()
  assert "full 4 steps, short 2 steps" in text and "- `full`: as it is\n" in text
  assert "- `short`: `full`, but steps 2, checkpoint.every 2, validate_every 2" in text
  # The last line of the run's own log has the means of these samples.
  metrics = (tmp_path / "runs" / "full-1" / "metrics.jsonl").read_text().splitlines()
  logged = [json.loads(line) for line in metrics if '"validation"' in line]
  assert logged[-1]["loss"] == pytest.approx(losses["full-1"].mean(), rel=1e-5)
  _, config = systems.configure(values(root)["rows"]["full"])
  folder = tmp_path / "runs" / "full-0"
  at = dict(models.variables_at(config, folder, (0, 4)))
  last, _ = models.trained(folder, 4)
  jax.tree.map(np.testing.assert_array_equal, at[4], last)
  assert any(jax.tree.leaves(jax.tree.map(lambda a, b: (a != b).any(), at[0], at[4])))
  with pytest.raises(InputError, match="no checkpoint of step 3; there are"):
    dict(models.variables_at(config, folder, (3,)))
  before = (tmp_path / "measured" / "full-1.json").stat().st_mtime_ns
  assert command.run(values(root), tmp_path)
  assert (tmp_path / "measured" / "full-1.json").stat().st_mtime_ns == before
  (tmp_path / "measured" / "full-1.json").write_text('{"scores": {"other": [1.0, 2.0]}}')
  with pytest.raises(InputError, match="full-1.json: damaged or of other scores .'loss'"):
    command.run(values(root), tmp_path)
  changed = values(root)
  changed["rows"]["full"]["batch_size"] = 2
  with pytest.raises(InputError, match="full-0 holds another run; .*config.batch_size: 4, 2"):
    command.run(changed, tmp_path)
  (tmp_path / "runs" / "short-0" / "run.json").unlink()
  for path in (tmp_path / "runs" / "short-0" / "checkpoints").rglob("_CHECKPOINT_METADATA"):
    path.unlink()
  with pytest.raises(InputError, match="short-0.json is there, and .*run.json is not, which says"):
    command.run(values(root), tmp_path)


def test_a_run_without_held_out_samples_or_steps_cannot_be_measured(root, tmp_path):
  study = config_lib.build(Study, {k: v for k, v in values(root).items() if k != "study"})
  config = study.config("full", 0)
  with pytest.raises(InputError, match="holds no checkpoint"):
    validation.measure_run(systems.find("one"), config, tmp_path)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"order": ("short",)}, "config.order lacks the reference 'full'"),
    ({"order": ("full", "long")}, "config.order: there is no 'long'; valid: full, short"),
    ({"scores": ()}, r"config.scores is \(\); allowed: one or more, each once"),
    ({"scores": ("VIF",)}, "config.scores: row full has no score 'VIF'; it has loss"),
    ({"rows": {"full": 3}}, "config.rows.full is 3; it must be the values of a training config"),
    ({"rows": {"full": {"system": "two"}}}, "config.rows.full: config.system is 'two'; valid: "),
    ({"rows": {"full": {}}}, "config.rows.full: missing 'system'"),
  ],
)
def test_bad_values_are_named(root, tmp_path, changes, message):
  with pytest.raises(InputError, match=message):
    command.run(values(root, **changes), tmp_path / "study")
  assert not (tmp_path / "study").exists()


def test_sentences_say_what_differs_by_more_than_chance(root):
  given = {k: v for k, v in values(root).items() if k != "study"}
  given["rows"] |= {name: given["rows"]["short"] for name in ("same", "worse")}
  study = config_lib.build(Study, given | {"order": ("full", "short", "same", "worse")})
  random = np.random.default_rng(0)
  full = random.normal(size=(3, 30))
  noise = 0.01 * random.normal(size=(3, 30))
  rows = {"full": full, "short": full - 0.2 + noise, "same": full + noise - noise.mean()}
  rows["worse"] = full + 0.5
  found = report.find(study, {row: {"loss": Tally.of(x)} for row, x in rows.items()})
  short, same, worse = report.findings(study, found)
  assert short.startswith("short is better in loss (-0.2") and short.endswith("than full.")
  assert same == "same differs from full in no score by more than chance."
  assert worse.startswith("worse is worse in loss (0.5000 [0.5000, 0.5000])")
  text = report.write_summary(study, found, (0, 1, 2))
  assert "| full | " in text.split("## Scores")[1] and "**0.5000 [0.5000, 0.5000]**" in text


def test_the_ablations_of_amgfuse_differ_in_one_part_each():
  made = config_lib.load(f"{ROOT / 'configs' / 'amgfuse_ablations.py'}").to_dict()
  for row in made["rows"].values():
    row["restoration"]["weights"] = "some.safetensors"
  del made["study"]
  study = config_lib.build(Study, made)
  assert study.rows["full"].steps == 200 and study.direction("restored_psnr") == "higher"
  lines = rows_lib.describe(study).splitlines()
  assert lines[0].startswith("- `full`: the recipe released, but input.crop 64, ")
  assert lines[1:] == [
    "- `no_masks`: `full`, but model.mask False",
    "- `no_gate`: `full`, but model.gate False",
    "- `masked_by_infrared`: `full`, but model.masked_by infrared",
    "- `no_mgls`: `full`, but loss.mgls 0.0",
    "- `no_tdas`: `full`, but loss.tdas 0.0",
    "- `no_clip`: `full`, but optim.clip_norm 0.0",
  ]
  assert {row.steps for row in study.rows.values()} == {200} and len(study.seeds) == 3
