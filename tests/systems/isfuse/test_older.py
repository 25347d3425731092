"""Work directories and weights of earlier versions go on.

tests/fixtures: `work_directory_1`, a run of two steps, and `weights_1`, converted from it, by the
version before configs named a system.
"""

import json
import tarfile

import numpy as np
import pytest
from command_line import FIXTURES, run
from flax import traverse_util
from full import only_full

from cfi_jax import systems
from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.workdir import logs, record
from cfi_jax.engine.workdir.checkpoint import Checkpoints
from cfi_jax.systems import files


@pytest.fixture
def older(tmp_path):
  """The pairs and the workdir of the fixture."""
  with tarfile.open(FIXTURES / "work_directory_1.tar.xz") as archive:
    archive.extractall(tmp_path, filter="data")
  path = tmp_path / "run" / record.FILE
  path.write_text(path.read_text().replace('"pairs"', json.dumps(str(tmp_path / "pairs")), 1))
  return tmp_path


SETTINGS = ("steps=2", "checkpoint.every=1", "validate_every=1", "optim.ema_decay=0.9")
SETTINGS += ("model.levels=3",)


def test_a_run_is_known_and_restored_whole(older, make_trainer, capsys, checkpoint_leaves):
  workdir = older / "run"
  arguments = make_trainer(older / "pairs").command(workdir, *SETTINGS)
  values = cli.read([word for word in arguments if word.startswith("--config")])
  opened = run_lib.open_run(*systems.configure(values), workdir)
  output = capsys.readouterr().out
  assert "is of an older version, taken as: system='isfuse', " in output
  assert "model.levels=3, " in output and "init_from='', " in output
  with Checkpoints(workdir, opened.config.checkpoint, read_only=True) as checkpoints:
    step, state, damaged = checkpoints.restore_newest(opened.state_shapes(), opened.mesh)
  assert (step, int(state.step), damaged) == (2, 2, [])
  expected = checkpoint_leaves(workdir, 2)
  for found, name in ((state.params, "params"), (state.ema_params, "ema_params")):
    for path, leaf in traverse_util.flatten_dict(found, sep="/").items():
      np.testing.assert_array_equal(leaf, expected[f"{name}/{path}"])


@only_full  # a step of three levels, which compiles for long; golden runs have the steps of now
def test_an_interrupted_run_takes_the_missing_step_and_says_what_it_took_for_missing_fields(
  older, make_trainer, checkpoint_leaves
):
  trainer, workdir = make_trainer(older / "pairs"), older / "run"
  expected = checkpoint_leaves(workdir, 2)
  rows = logs.read_metrics(workdir / logs.METRICS_FILE)
  (workdir / "checkpoints" / "2").rename(older / "2")
  status, output = trainer.run(workdir, *SETTINGS)
  assert status == 0 and "going on after step 1" in output, output
  assert "is of an older version, taken as: system='isfuse', " in output
  assert "model.levels=3, " in output and "init_from='', " in output
  stored = record.read(workdir)
  assert stored["config"]["system"] == "isfuse" and stored["config"]["model"]["levels"] == 3
  assert len(stored["starts"]) == 2
  found = checkpoint_leaves(workdir, 2)
  assert found.keys() == expected.keys()
  for name in expected:  # of another machine, maybe
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=2e-3, err_msg=name)
  again = logs.read_metrics(workdir / logs.METRICS_FILE)
  assert [row["kind"] for row in again] == [row["kind"] for row in rows]
  assert again[-2]["loss"] == pytest.approx(rows[-2]["loss"], rel=1e-4)
  status, output = trainer.run(workdir, *SETTINGS)
  assert status == 0 and "already holds step 2 of 2" in output, output
  assert "older version" not in output


def test_a_field_that_differs_is_still_refused(older, make_trainer):
  other = (*SETTINGS[:-1], "model.levels=2")
  status, output = make_trainer(older / "pairs").run(older / "run", *other)
  assert status == 2 and "config.model.levels: 3, 2" in output
  status, output = make_trainer(older / "pairs").run(older / "run", *SETTINGS, "seed=1")
  assert status == 2 and "config.seed: 0, 1" in output


def test_weights_of_format_1_load_as_those_of_the_workdir(older):
  variables, card = files.load(FIXTURES / "weights_1.safetensors")
  assert card.system == "isfuse" and card.architecture["levels"] == 3
  of_workdir, own_card = files.from_workdir(older / "run")
  assert own_card.architecture == {"prior": "none"} | card.architecture
  for name in ("params", "batch_stats"):
    ours, theirs = variables[name], of_workdir[name]
    assert str(ours.keys()) == str(theirs.keys())
  np.testing.assert_array_equal(
    variables["params"]["head"]["kernel"], of_workdir["params"]["head"]["kernel"]
  )
  fused = files.load_fuser(FIXTURES / "weights_1.safetensors").fuse(
    *np.full((2, 16, 16), 99, np.uint8)
  )
  assert fused.shape == (16, 16)


def test_convert_writes_the_new_format_of_an_older_workdir(older):
  output = older / "new.safetensors"
  done = run("cfi_jax.convert", f"--checkpoint={older / 'run'}", f"--output={output}")
  assert done.returncode == 0, done.stderr
  assert b"cfi_jax weights 2" in output.read_bytes()[:4000]
  assert files.load(output)[1].system == "isfuse"


def test_a_later_format_is_refused_by_name(tmp_path):
  content = (FIXTURES / "weights_1.safetensors").read_bytes()
  path = tmp_path / "later.safetensors"
  path.write_bytes(content.replace(b"cfi_jax weights 1", b"cfi_jax weights 9"))
  with pytest.raises(InputError, match="format 'cfi_jax weights 9', expected"):
    files.load(path)
