"""Starts of one run: what may differ between them, how it becomes longer, what it begins from."""

import functools
import json
import shutil
import types

import numpy as np
import pytest
import toys
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import loop, product
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.workdir import logs, record
from cfi_jax.engine.workdir.checkpoint import FOLDER
from cfi_jax.systems import files, isfuse
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.config import Config

toys.install()


def values_of(pairs, name="one", **changes):
  values = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:{name}").to_dict()
  values["data"]["root"] = str(pairs)
  return values | {"steps": 4, "validate_every": 4} | changes


def train(values, workdir):
  return loop.train(*systems.configure(values), workdir)


@pytest.fixture(scope="module")
def trained(write_pairs, tmp_path_factory):
  """A run of four steps and, below `pairs`, its images; not to be changed."""
  root = tmp_path_factory.mktemp("identity")
  write_pairs(root / "pairs", 8)
  train(values_of(root / "pairs"), root / "run")
  return root


@pytest.fixture
def begun(trained, tmp_path):
  """A copy of the run and of its images."""
  shutil.copytree(trained, tmp_path / "copy")
  return tmp_path / "copy"


def paths(values, where=""):
  for name, value in values.items():
    yield f"{where}{name}"
    if isinstance(value, dict):
      yield from paths(value, f"{where}{name}.")


@pytest.mark.parametrize(
  "changed",
  [{"steps": "4"}, {"epochs": None}, {"steps": None}, {"steps": 0}]
  + [{"steps": number} for number in (-1, float("inf"), float("nan"))],
)
def test_a_record_whose_length_is_no_number_is_damaged(begun, changed):
  stored = json.loads((begun / "run" / record.FILE).read_text())
  stored["config"] |= changed
  (begun / "run" / record.FILE).write_text(json.dumps(stored))
  with pytest.raises(InputError, match=r"run/run\.json: damaged .steps .*epochs"):
    run_lib.open_run(*systems.configure(values_of(begun / "pairs")), begun / "run")


def test_every_operational_field_is_a_field():
  values = recipes.released().to_dict()
  values["data"] = dict.fromkeys(("root", "visible", "infrared"))
  known = set(paths(values))
  assert set(Config.OPERATIONAL) <= known
  deciding = known - set(Config.OPERATIONAL)
  for name in ("seed", "batch_size", "input.crop", "optim.learning_rate", "model.dtype", "masks"):
    assert name in deciding


def other_value(value):
  if isinstance(value, bool):
    return not value
  return "2:3" if isinstance(value, str) else value + 1  # steps to profile are a text


OPERATIONAL = [
  name for name in run_lib.Config.OPERATIONAL if not name.startswith(("data.", "init_from"))
]


def test_each_operational_field_may_change_and_is_named(begun, capsys):
  values = values_of(begun / "pairs")
  for name in OPERATIONAL:
    *parents, key = name.split(".")
    node = values
    for parent in parents:
      node = node[parent]
    node[key] = other_value(node[key])
  assert train(values, begun / "run") == 4
  printed = capsys.readouterr().out
  for name in OPERATIONAL:
    assert f"config.{name} (" in printed
  assert train(values, begun / "run") == 4  # the record has them now
  assert "goes on with other values" not in capsys.readouterr().out


@pytest.mark.parametrize(
  "change",
  [
    {"seed": 1}, {"batch_size": 8}, {"validation_pairs": 2},
    {"checkpoint": {"every": 5, "keep": 2, "best": "loss", "direction": "higher"}},
  ],
  ids=lambda change: next(iter(change)),
)  # fmt: skip
def test_each_deciding_field_locks(begun, change):
  with pytest.raises(InputError, match=rf"holds another run.*config.{next(iter(change))}|best"):
    train(values_of(begun / "pairs", **change), begun / "run")


def test_the_place_of_the_images_is_not_their_identity(begun, monkeypatch, capsys):
  workdir, pairs = begun / "run", begun / "pairs"
  monkeypatch.chdir(begun)
  for root in (f"{pairs}/", "pairs", "./pairs//", "../copy/pairs"):
    assert train(values_of(root), workdir) == 4
    assert "config.data.root" in capsys.readouterr().out
  values = values_of(pairs)
  for visible, infrared in (("./visible/", "infrared"), (pairs / "visible", pairs / "infrared")):
    values["data"] |= {"visible": str(visible), "infrared": str(infrared)}
    assert train(values, workdir) == 4
    assert "config.data.visible" in capsys.readouterr().out
  (pairs / "visible").rename(begun / "elsewhere")
  values["data"] |= {"visible": str(begun / "elsewhere")}
  assert train(values, workdir) == 4
  values["data"] |= {"visible": "infrared", "infrared": str(begun / "elsewhere")}
  with pytest.raises(InputError, match=r"data.train: changed: visible/\d+.png"):  # roles swapped
    train(values, workdir)


def test_images_that_changed_meanwhile_are_noticed_by_name(begun):
  path = begun / "pairs" / "visible" / "003.png"
  content = path.read_bytes()
  path.write_bytes(content + b"more")
  with pytest.raises(InputError) as error:
    train(values_of(begun / "pairs"), begun / "run")
  assert f"changed: visible/003.png ({len(content)} bytes, now {len(content) + 4}" in str(
    error.value
  )
  path.write_bytes(content)
  shutil.copy(path, begun / "pairs" / "visible" / "new.png")
  shutil.copy(begun / "pairs" / "infrared" / "003.png", begun / "pairs" / "infrared" / "new.png")
  with pytest.raises(InputError, match="new: (visible/new.png|infrared/new.png)"):
    train(values_of(begun / "pairs"), begun / "run")


def test_contents_are_compared_on_request(begun):
  values = values_of(begun / "pairs", hash_contents=True)
  path = begun / "pairs" / "visible" / "003.png"
  content = path.read_bytes()
  assert train(values, begun / "run") == 4
  path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
  with pytest.raises(InputError, match=r"changed: visible/003.png \(\d+ bytes with SHA-256"):
    run_lib.open_run(*systems.configure(values), begun / "run")
  unasked = values_of(begun / "pairs")
  assert run_lib.open_run(*systems.configure(unasked), begun / "run").steps == 4


def test_a_longer_run_ends_as_one_that_was_long_from_the_start(begun, checkpoint_leaves, capsys):
  longer = values_of(begun / "pairs", steps=7)
  assert train(longer, begun / "run") == 7
  assert f"{begun / 'run'} goes on to step 7 instead of 4" in capsys.readouterr().out
  assert train(longer, begun / "whole") == 7
  ours, theirs = (checkpoint_leaves(begun / name, 7) for name in ("run", "whole"))
  for leaf in theirs:
    np.testing.assert_array_equal(ours[leaf], theirs[leaf], err_msg=leaf)
  rows = [r["step"] for r in logs.read_metrics(begun / "run" / logs.METRICS_FILE)]
  assert rows == [1, 2, 3, 4, 4, 5, 6, 7, 7]
  with pytest.raises(InputError, match="run of 7 steps and cannot become one of 4"):
    train(values_of(begun / "pairs"), begun / "run")
  # Six pairs are trained on, four in a step: seven epochs are 10.5 steps.
  epochs = values_of(begun / "pairs", steps=0, epochs=7.0)
  assert train(epochs, begun / "run") == 11
  assert "goes on to step 11 instead of 7" in capsys.readouterr().out


def test_a_schedule_that_ends_says_so():
  config = recipes.get("multiscale")
  config.data = {"name": "folder", "root": ""}
  cosine = config_lib.build(Config, config.to_dict())
  assert "optim.schedule is 'cosine', which ends at the last step" in cosine.fixed_length
  config.optim.schedule = "constant"
  assert config_lib.build(Config, config.to_dict()).fixed_length == ""


def gains(checkpoint_leaves, workdir, step):
  return checkpoint_leaves(workdir, step)["params/gain"]


def initial(values, workdir):
  run = run_lib.open_run(*systems.configure(values), workdir)
  return run, run.initial_state()


@pytest.mark.parametrize("name", toys.NAMES)
def test_a_run_begins_with_the_weights_of_a_file_or_a_workdir(name, trained, tmp_path):
  np.savez(tmp_path / "teacher.npz", gain=np.float32([0.25, 0.75]), bias=np.float32(0.125))
  values = values_of(trained / "pairs", name, steps=1, seed=3)
  if name == "frozen":
    values["teacher"] = str(tmp_path / "teacher.npz")
  workdir, path = tmp_path / "run", tmp_path / "weights.safetensors"
  train(values, workdir)
  variables, card = files.from_workdir(workdir)
  files.save(path, variables, card)
  system = systems.find(name)
  identities = set()
  for source in (workdir, workdir / "checkpoints" / "1", path):
    run, state = initial(values | {"init_from": str(source), "seed": 4}, tmp_path / "new")
    found = system.product(run.config, state)[0]["params"]
    for leaf, expected in variables["params"].items():
      np.testing.assert_array_equal(found[leaf], expected)
    assert int(state.step) == 0
    identities.add(run.identity.data["init"])
  assert len(identities) == 1


def test_isfuse_begins_with_parameters_statistics_and_average():
  options = recipes.get("paper")
  options.data, options.model.features, options.optim.ema_decay = {"name": "synthetic"}, 4, 0.9
  config = config_lib.build(Config, options.to_dict())
  state = {"params": {"a": 1}, "batch_stats": {"b": 2}}
  begun = isfuse.begin(config, FakeState(), state)
  assert begun == {"params": {"a": 1}, "batch_stats": {"b": 2}, "ema_params": {"a": 1}}
  options.optim.ema_decay = 0.0
  config = config_lib.build(Config, options.to_dict())
  assert isfuse.begin(config, FakeState(), state)["ema_params"] == {}


class FakeState:
  def replace(self, **fields):
    return fields


def test_where_a_run_began_from_is_part_of_it(trained, tmp_path, capsys):
  values = values_of(trained / "pairs", seed=3)
  shutil.copytree(trained / "run", tmp_path / "first")
  fine = values | {"init_from": str(tmp_path / "first")}
  assert train(fine, tmp_path / "fine") == 4
  stored = record.read(tmp_path / "fine")
  assert len(stored["data"]["init"]) == 64
  assert json.loads(files.from_workdir(tmp_path / "fine")[1].data)["init"] == stored["data"]["init"]
  with pytest.raises(InputError, match="data.init: '.*', None"):
    train(values, tmp_path / "fine")
  with pytest.raises(InputError, match="data.init: None, '"):
    train(values | {"seed": 0, "init_from": str(tmp_path / "first")}, trained / "run")
  # The same weights from elsewhere are taken, and a place that was read once is not needed again.
  shutil.copytree(tmp_path / "first", tmp_path / "moved")
  assert train(values | {"init_from": str(tmp_path / "moved")}, tmp_path / "fine") == 4
  assert "config.init_from (" in capsys.readouterr().out
  shutil.rmtree(tmp_path / "moved")
  assert train(values | {"init_from": str(tmp_path / "moved")}, tmp_path / "fine") == 4


def test_weights_that_do_not_fit_are_refused_before_work(trained, tmp_path):
  values = values_of(trained / "pairs")
  for name, words in (
    ("nowhere", "config.init_from is '.*nowhere'; allowed: the workdir of a run, WORKDIR"),
    ("text.safetensors", "not a readable .safetensors"),
  ):
    (tmp_path / "text.safetensors").write_text("no weights")
    with pytest.raises(InputError, match=words):
      train(values | {"init_from": str(tmp_path / name)}, tmp_path / "run")
  with pytest.raises(InputError, match="weights of the system 'isfuse'; config.system is 'one'"):
    train(values | {"init_from": "visible-infrared"}, tmp_path / "run")
  with pytest.raises(InputError, match="weights of the system 'one'; config.system is 'duel'"):
    train(
      values_of(trained / "pairs", "duel") | {"init_from": str(trained / "run")}, tmp_path / "run"
    )
  options = config_lib.load(str(ROOT / "tests" / "systems" / "isfuse" / "tiny.py")).to_dict()
  options["data"]["root"] = str(trained / "pairs")
  with pytest.raises(InputError, match="features is 16, not 4; grid is 8, not 2; levels is 3, not"):
    train(options | {"init_from": "visible-infrared"}, tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_lists_of_a_file_are_tuples_of_a_config():
  """AMG-Fuse's blocks and heads are such fields."""
  config = types.SimpleNamespace(init_from="mine.safetensors", OLDER={}, ADDED={})
  product._check_architecture(config, {"blocks": [1, 2]}, {"blocks": (1, 2)})
  with pytest.raises(
    InputError, match=r"mine.safetensors does not .*: blocks is \[1, 3\], not \[1"
  ):
    product._check_architecture(config, {"blocks": [1, 3]}, {"blocks": (1, 2)})


def test_a_part_may_be_added_to_weights():
  """The prior of AMG-Fuse is one, which files of earlier versions do not name."""
  config = types.SimpleNamespace(
    init_from="f",
    OLDER={"model:net.part": "none", "model.kernels": "plain"},  # the latter is how it is computed
    ADDED={"part": "params/new_"},
  )
  for there in ({"name": "net"}, {"name": "net", "part": "none"}):
    check = functools.partial(product._check_architecture, config, there)
    assert check({"name": "net", "part": "none"}) == []
    assert check({"name": "net", "part": "some"}) == ["params/new_"]
    with pytest.raises(InputError, match="name is 'net', not 'other'"):
      check({"name": "other", "part": "some"})
  assert product._check_architecture(config, {"name": "x"}, {"name": "x"}) == []
  with pytest.raises(InputError, match="part is 'some', not 'none'"):
    product._check_architecture(config, {"part": "some"}, {"part": "none"})


def test_a_run_without_a_checkpoint_has_no_weights(begun):
  for step in (begun / "run" / FOLDER).iterdir():
    shutil.rmtree(step) if step.is_dir() else step.unlink()
  unfinished = begun / "run" / FOLDER / "1.orbax-checkpoint-tmp"  # a save that may be going on
  unfinished.mkdir()
  with pytest.raises(InputError, match=f"run/{FOLDER}: holds no checkpoint"):
    files.read(begun / "run")
  assert unfinished.is_dir()
