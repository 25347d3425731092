"""Tables of results: what a study refuses, and a tiny one through its command."""

import csv
import math
import pathlib

import numpy as np
import pytest
from command_line import run
from PIL import Image

from cfi_jax import config as config_lib
from cfi_jax import reproduce, weights
from cfi_jax.metrics import Row, Scores, read_scores
from cfi_jax.reproduce import report
from cfi_jax.reproduce.report import Result
from cfi_jax.reproduce.study import Study
from cfi_jax.types import InputError

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = ROOT / "configs" / "results.py"
TINY = {"seeds": (0, 1), "order": "('fusion_only',)", "metrics": "('EN','SSIM')"}
TINY |= {
  f"rows.fusion_only.{key}": value
  for key, value in {
    "steps": 2, "batch_size": 2, "input.crop": 16, "model.features": 4, "model.grid": 2,
    "model.shared_encoder": True, "model.gate": "paper", "checkpoint.every": 2,
    "validate_every": 2, "log_every": 1,
  }.items()
}  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
  """RoadScene with four training and two test pairs, TNO with one pair."""
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
  return root


def arguments(roots, **changes):
  tiny = TINY | {f"roots.{name}": roots / name for name in ("roadscene", "tno")} | changes
  return [f"--config={CONFIG}", *(f"--config.{key}={value}" for key, value in tiny.items())]


def build(roots, **changes):
  return config_lib.build(Study, config_lib.read(arguments(roots, **changes)))


@pytest.mark.parametrize("size", ["cpu", "full"])
def test_every_row_is_a_training_config(size):
  values = config_lib._load(f"{CONFIG}:{size}").to_dict()
  study = config_lib.build(Study, values)
  assert len(study.seeds) >= 3 and set(study.order) == set(study.rows)
  assert study.rows["released"].loss.views and not study.rows["fusion_only"].loss.views
  assert study.run("paper", 7).seed == 7 and study.rows["paper"].loss.necessity.weight < 0
  assert study.rows["filling"].loss.invariance.filling > 0
  assert {row.batch_size for row in study.rows.values()} == {4 if size == "cpu" else 16}


BAD = {
  "unknown row": ({"order": "('papre',)"}, "no row 'papre'; valid: filling"),
  "seed twice": ({"seeds": "(1,1)"}, r"config.seeds is \(1, 1\); allowed: each once"),
  "no seed": ({"seeds": "()"}, "must not be empty"),
  "unknown metric": ({"metrics": "('SIM',)"}, "unknown metric 'SIM'"),
  "nothing to score": ({"tests.tno.name": "m3fd"}, "config.tests.tno: 'm3fd' has no test pairs"),
  "no pictures": ({"roots.tno": "/nowhere"}, "/nowhere"),
  "no weights": ({"published.authors": "/no.safetensors"}, "/no.safetensors"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_studies_leave_nothing(roots, tmp_path, case):
  changes, text = BAD[case]
  with pytest.raises(InputError, match=text):
    reproduce.run(build(roots, **changes), tmp_path / "study")
  assert not (tmp_path / "study").exists()


def scores(method, values):
  return Scores(tuple(Row(method, str(k), "EN", "tang", v, False) for k, v in enumerate(values)))


def test_the_spread_is_over_seeds_not_over_images():
  results = [
    Result("row", seed, "tno", scores(f"row-{seed}", values))
    for seed, values in enumerate([(1.0, 3.0), (2.0, 6.0), (0.0, 0.0)])
  ]
  found = report.cell(results, "EN")
  assert (found.mean, found.seeds, found.images) == (2.0, 3, 2)
  assert found.deviation == pytest.approx(2.0)  # of 2, 4 and 0
  alone = report.cell([Result("average", None, "tno", scores("average", (1.0, 2.0)))], "EN")
  assert alone.mean == 1.5 and alone.seeds == 0 and math.isnan(alone.deviation)


def test_the_command_trains_scores_and_goes_on(roots, tmp_path):
  workdir = tmp_path / "study"
  command = ["cfi_jax.reproduce", *arguments(roots, seeds="(0,)"), f"--workdir={workdir}"]
  process = run(*command)
  assert process.returncode == 0, process.stdout + process.stderr
  file = workdir / "weights" / "fusion_only-0.safetensors"
  _, card = weights.load(file)
  published = tmp_path / "theirs.safetensors"
  published.write_bytes(file.read_bytes())
  trained = file.stat().st_mtime_ns
  # A seed and published weights are added to the same study; what is there stays.
  assert reproduce.run(build(roots, **{"published.authors": published}), workdir)
  assert file.stat().st_mtime_ns == trained and card.architecture["features"] == 4
  with open(workdir / "results.csv", newline="") as table:
    rows = list(csv.DictReader(table))
  assert {row["test"] for row in rows} == {"roadscene", "tno"}
  found = {(row["test"], row["row"], row["metric"]): row for row in rows}
  assert found["roadscene", "fusion_only", "EN"]["seeds"] == "2"
  assert found["roadscene", "fusion_only", "EN"]["images"] == "2"
  seeds = [
    read_scores(workdir / "scores" / "roadscene" / f"fusion_only-{seed}.csv").mean(
      "SSIM", f"fusion_only-{seed}"
    )
    for seed in (0, 1)
  ]
  line = found["roadscene", "fusion_only", "SSIM"]
  assert float(line["mean"]) == pytest.approx(np.mean(seeds))
  assert float(line["standard deviation"]) == pytest.approx(np.std(seeds, ddof=1))
  # The same weights have the same scores, however they came here.
  theirs = float(found["roadscene", "authors", "SSIM"]["mean"])
  assert theirs == pytest.approx(seeds[0]) and found["tno", "average", "EN"]["seeds"] == "0"
  text = (workdir / "results.md").read_text()
  assert "## roadscene: 2 pairs" in text and "| fusion_only (2) | " in text and " ± " in text
  with pytest.raises(InputError, match="holds another run"):
    reproduce.run(build(roots, metrics="('EN',)"), workdir)
