"""The studies of pose transfer: scores beside trivial transfers, bars, and the ablations' rows."""

import copy
import json
import shutil

import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.keypoints import blazepose
from cfi_jax.report.crossed import Tally
from cfi_jax.study import __main__ as command
from cfi_jax.study import rows as rows_lib
from cfi_jax.study.ablations.settings import Study as Ablations
from cfi_jax.study.transfers import report
from cfi_jax.study.transfers.settings import Study
from cfi_jax.systems.dfcnet.baselines import BASELINES
from cfi_jax.systems.dfcnet.scores import DIRECTIONS


@pytest.fixture
def given(values, weights):
  """A function (changes by path) -> the values of a small study."""

  def make(**changes):
    config = config_lib.load(f"{ROOT / 'configs' / 'transfers.py'}")
    config.data, config.splits = values()["data"], ("test",)
    config.methods.figures, config.judge = (str(weights),), str(weights)
    for path, value in changes.items():
      config.update_from_flattened_dict({path.replace("__", "."): value})
    return config.to_dict()

  return make


def test_weights_are_scored_beside_trivial_transfers(given, weights, tmp_path, capsys):
  assert command.run(given(), tmp_path)

  def files():
    paths = (tmp_path / "scores" / "test").glob("*.json")  # but for what the scores are of
    return {path.stem: path.stat().st_mtime_ns for path in paths if path.name != "run.json"}

  before = files()
  assert set(before) > {name.replace(" ", "-") for name in BASELINES} and len(before) == 8
  assert len(list((tmp_path / "pictures" / "test" / "skeleton-warp").glob("*.png"))) == 4
  text = (tmp_path / "summary.md").read_text()
  # Before training the network gives the skeleton warp, so no bar above 0 is reached.
  assert "- figures gains " in text and "in PSNR (higher is better); asked for is 1.5000: n" in text
  assert "## test: 4 transfers" in text and "| truth | 0.0000 [0.0000, 0.0000] | - - |" in text
  assert "| skeleton warp |" not in text.split("Minus skeleton warp")[1]
  lines = (tmp_path / "findings.csv").read_text().splitlines()
  assert len(lines) == 1 + (8 + 7) * len(DIRECTIONS)
  # What is there stays, a second seed is scored alone, and a damaged file is named.
  second = weights.with_name("second.safetensors")
  shutil.copy(weights, second)
  changed = bytearray(second.read_bytes())
  changed[-1] ^= 1  # the least digit of one number: another file, all but the same network
  second.write_bytes(changed)
  capsys.readouterr()
  assert command.run(given(methods__figures=(str(weights), str(second))), tmp_path)
  assert f"test: figures, {second}" in capsys.readouterr().out
  assert before.items() < files().items() and len(files()) == len(before) + 1
  (tmp_path / "scores" / "test" / "truth.json").write_text(json.dumps({"scores": {"MSE": [1]}}))
  with pytest.raises(InputError, match="truth.json: damaged .'PSNR'.; remove it to score again"):
    command.run(given(), tmp_path)
  with pytest.raises(InputError, match="holds another run; .*config.data.same: 0.25, 0.5"):
    command.run(given(data__same=0.5), tmp_path)


def test_blazepose_judges_by_its_file(given, tmp_path, monkeypatch):
  package = tmp_path / "pose.tgz"
  package.write_bytes(b"a package")
  network = blazepose.BlazePose(None)
  monkeypatch.setattr(blazepose, "load", lambda path, size: network)
  monkeypatch.setattr(blazepose.BlazePose, "find", lambda self, picture: np.full((18, 3), 2.0))
  assert command.run(given(judge=str(package)), tmp_path / "study")
  text = (tmp_path / "study" / "summary.md").read_text()
  assert "read by BlazePose (`pose.tgz`), which no training has seen; its own error" in text
  package.write_bytes(b"another")
  with pytest.raises(InputError, match="holds another run; .*judge"):
    command.run(given(judge=str(package)), tmp_path / "study")


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"judge": "no.tgz"}, "config.judge: no.tgz: does not exist; allowed: that file"),
    ({"judge": ""}, "config.judge: "),
    ({"splits": ("train",)}, "config.splits: there is no 'train'; valid: test, known, validation"),
    ({"reference": "ours"}, "config.reference: there is no 'ours'; valid: skeleton warp, copy"),
    ({"bars": {"LPIPS": 1.0}}, "config.bars: there is no 'LPIPS'; valid: MSE, PSNR"),
    ({"methods": {"truth": ("a",)}}, "config.methods has 'truth', which is a trivial transfer"),
    ({"methods": {"figures": ("",)}}, r"config.methods.figures is \(.*allowed: files of weights"),
    ({"methods": {"figures": ("a", "a")}}, "allowed: files of weights, one for each training seed"),
    ({"methods": {"figures": ("medical",)}}, "config.methods: medical: .*'isfuse', which transf"),
    ({"judge": "no.safetensors"}, "config.judge: no.safetensors: does not exist"),
    ({"data": {"name": "synthetic"}}, "data: missing "),
  ],
)
def test_studies_that_cannot_be_are_named(changes, message, given, tmp_path):
  with pytest.raises(InputError, match=message):
    command.run(given() | changes, tmp_path / "study")
  assert not (tmp_path / "study").exists()


def test_bars_are_gains_in_the_better_direction_over_seeds_and_transfers(given, random):
  values = {k: v for k, v in given().items() if k != "study"}
  study = config_lib.build(Study, values)
  base = random.normal(20, 1, (1, 40))
  gains = {"PSNR": 2.0, "foreground PSNR": 0.5, "identity error": -0.01, "PCK": -0.1}
  measured = {"skeleton warp": {}, "figures": {}}
  for score in DIRECTIONS:
    noise = 0.01 * random.normal(size=(3, 40))
    measured["skeleton warp"][score] = Tally.of(base)
    measured["figures"][score] = Tally.of(base + gains.get(score, 0) + noise)
  found = report.find(study, {"test": measured})
  lines = list(report.findings(study, found, "test"))
  assert [line.rsplit(": ")[-1] for line in lines] == [
    "reached.", "not reached.", "reached.", "not reached.",
  ]  # fmt: skip
  assert float(lines[0].split()[2]) == pytest.approx(2, abs=0.01)
  assert "(lower is better)" in lines[2]
  # A smaller error is a gain.
  assert float(lines[2].split()[2]) == pytest.approx(0.01, abs=0.005)
  assert found["test", "figures", "PSNR", report.DIFFERENCE].samples == 120


def test_the_ablations_differ_in_one_part_each():
  made = config_lib.load(f"{ROOT / 'configs' / 'dfcnet_ablations.py'}").to_dict()
  assert made.pop("study") == "ablations"
  study = config_lib.build(Ablations, copy.deepcopy(made))
  assert study.direction("identity_error") == "lower" and len(study.seeds) == 3
  assert study.rows["full"].model.pose_input == "estimator"
  assert [line.partition(", but ")[2] for line in rows_lib.describe(study).splitlines()[1:]] == [
    "model.amplifier none", "loss.pose 0.0", "loss.static 0.0", "loss.adversary 0.0",
    "support_rows 0", "model.transport concat, model.blend fixed",
    "model.proportions source, optim.proportions_steps 0", "model.blend fixed",
    "model.pose_input keypoints",
  ]  # fmt: skip
