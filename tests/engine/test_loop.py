"""Parts of the trainer that the command line tests do not see into."""

import dataclasses
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toys
from command_line import ROOT
from PIL import Image

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core import progress
from cfi_jax.core.types import InputError
from cfi_jax.data import augment
from cfi_jax.engine import loop, programs, validation
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.compilation import Compilations
from cfi_jax.engine.workdir import logs
from cfi_jax.engine.workdir.lock import Lock
from cfi_jax.fusion.types import Pair
from cfi_jax.systems import isfuse
from cfi_jax.systems.isfuse.procedure import make_parts
from cfi_jax.systems.isfuse.step import make_eval_step

toys.install()


def tiny(pairs, **changes):
  """The folder recipe for pairs of 24x24, half of them held out.

  Of a third of the network: it compiles in a third of the time.
  """
  values = config_lib.load(str(ROOT / "configs" / "folder.py")).to_dict()
  values["data"] |= {"root": str(pairs), "validation_fraction": 0.5}
  values["input"]["crop"], values["batch_size"] = 16, 2
  values["model"] |= {"features": 4, "grid": 2, "levels": 1}
  values["masks"]["size"], values["validation_metrics"] = (4, 4), ("SSIM",)
  values["loss"]["invariance"]["views"] = ("complementary",)
  values["loss"]["necessity"]["views"] = ()
  return values | changes


def open_run(values, workdir):
  return run_lib.open_run(*systems.configure(values), workdir)


@pytest.fixture
def run(pairs, tmp_path):
  return open_run(tiny(pairs, steps=3), tmp_path / "run")


def validate(run, state):
  """The means of step 5, which the logs then have too."""
  run.workdir.mkdir()
  with logs.Writer(run.workdir, run.config, 0, run.steps) as writer:
    means = validation.prepare(run, run.constants).measure(5, state)
    writer.validated(5, means.values, means.pictures)
  return means.values


@pytest.mark.parametrize("count", [3, 4])
def test_validation_scores_each_pair_once(run, count):
  run = dataclasses.replace(
    run, config=dataclasses.replace(run.config, validation_pairs=count, pictures=count)
  )
  state = run.initial_state()
  means = validate(run, state)
  source = run.held_out.stream.source
  images = []
  # Evenly spread; the last batch is filled up.
  places = {3: (0, 2, 3, 3), 4: (0, 1, 2, 3)}[count]
  for i in places:
    place = augment.centre(24, 24, crop=16)
    sample = source[i]
    images.append([augment.apply(place, sample[m], 16) / 255 for m in ("visible", "infrared")])
  eval_step = jax.jit(make_eval_step(make_parts(run.config, 3), ("SSIM",), "strict"))
  values = []
  for rows in (images[:2], images[2:]):
    batch = Pair(*(jnp.asarray(np.stack(x), jnp.float32) for x in zip(*rows, strict=True)))
    found = eval_step(state, batch, jax.random.key(0))
    both = found.values | found.scores
    values += [{name: both[name][i] for name in ("loss", "SSIM")} for i in range(2)]
  for name in ("loss", "SSIM"):
    expected = np.mean([value[name] for value in values[:count]])
    assert means[name] == pytest.approx(expected, rel=1e-4)
  row = json.loads((run.workdir / logs.METRICS_FILE).read_text())
  assert row["kind"] == "validation" and row["step"] == 5 and row["SSIM"] == means["SSIM"]
  names = {path.stem for path in (run.workdir / logs.PICTURES).iterdir()}
  assert names == {f"step0000005_{source.names[i]}" for i in places}


def test_a_validation_that_is_not_finite_stops_the_run(run):
  state = run.initial_state()
  state = state.replace(batch_stats=jax.tree.map(lambda x: x * jnp.nan, state.batch_stats))
  with pytest.raises(logs.DivergedError, match="step 5: validation"):
    validate(run, state)
  assert not logs.read_metrics(run.workdir / logs.METRICS_FILE)


def test_averaged_parameters_are_kept_and_used_instead_of_the_last(run):
  optimizer = dataclasses.replace(run.config.optim, ema_decay=0.15, learning_rate=0.01)
  config = dataclasses.replace(run.config, optim=optimizer)
  run = dataclasses.replace(run, config=config, procedure=isfuse.procedure(config, run.steps))
  ready = loop.get_ready(run, Compilations(), Lock(run.workdir))
  state = run.initial_state()
  held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(run.state_shapes()))
  memory = ready.train_step.compiled.memory_analysis()
  assert memory.alias_size_in_bytes >= held  # the step gives its memory back
  expected = jax.device_get(state.params)
  for decay, chunk in zip((0.1, 0.15, 0.15), loop._chunks(run, 0), strict=True):
    state, _ = ready.train_step(state, ready.canvases, ready.constants, chunk.inputs)
    params = jax.device_get(state.params)
    expected = jax.tree.map(lambda a, p, d=decay: d * a + (1 - d) * p, expected, params)
  used = jax.device_get(state.variables["params"])
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), used, expected)
  moved = jax.tree.map(lambda a, p: np.abs(a - p).max(), used, params)
  assert max(jax.tree.leaves(moved)) > 1e-3


def test_nothing_moves_to_or_from_the_devices_unsaid(run, monkeypatch):
  """The loop runs under a guard, which an implicit transfer in it would meet."""
  seen = []

  def spy(run, ready, start, state, checkpoints, preemption, lock, mirror):
    seen.append(jax.config.jax_transfer_guard)
    with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
      jnp.sin(np.ones(3))
    return run.steps

  monkeypatch.setattr(loop, "_loop", spy)
  monkeypatch.setattr(programs, "compile_train_step", lambda run: None)
  loop.train(isfuse, run.config, run.workdir)
  assert seen == ["disallow"]


@pytest.fixture(scope="module")
def trained(write_pairs, tmp_path_factory):
  """Seven steps of one view: by Grain and one per dispatch; and kept on the device, up to four."""
  root = tmp_path_factory.mktemp("trained")
  write_pairs(root / "pairs", 8)
  once = tiny(root / "pairs", steps=7, log_every=1, validate_every=6, validation_metrics=())
  once["model"] |= {"dtype": "float64", "param_dtype": "float64"}
  once["input"]["device_gb"], once["checkpoint"]["every"] = 0.0, 6
  once["optim"]["ema_decay"] = 0.9
  once["loss"]["invariance"]["views"] = once["loss"]["necessity"]["views"] = ()
  several = once | {"input": once["input"] | {"device_gb": 1.0}}
  several |= {"steps_per_dispatch": 4, "log_every": 5}
  with jax.enable_x64(True):
    for name, values in (("once", once), ("several", several)):
      assert loop.train(*systems.configure(values), root / name) == 7
  return root


def test_input_path_and_steps_per_dispatch_change_nothing(trained, checkpoint_leaves):
  for step in (6, 7):
    # Not bit by bit: XLA is free to compile the body of a loop differently.
    ours, theirs = (checkpoint_leaves(trained / name, step) for name in ("several", "once"))
    assert ours.keys() == theirs.keys()
    for name, leaf in theirs.items():
      # Biases before a BatchNorm have no gradient.
      if not re.fullmatch(r"(params|ema_params|opt_state)/.*(conv\d|key_\w+)/bias", name):
        atol = 1e-10 * max(1.0, np.abs(leaf).max())
        np.testing.assert_allclose(ours[name], leaf, rtol=0, atol=atol, err_msg=name)
  clock = logs.CLOCK
  rows = {}
  for name in ("once", "several"):
    read = logs.read_metrics(trained / name / logs.METRICS_FILE)
    read = [{k: v for k, v in row.items() if k not in clock} for row in read]
    rows[name] = {(row.pop("kind"), row["step"]): row for row in read}
  steps = [("train", 5), ("validation", 6), ("train", 7), ("validation", 7)]
  assert list(rows["several"]) == steps
  for step in steps:
    assert rows["several"][step] == pytest.approx(rows["once"][step], rel=1e-6)


def test_nothing_is_compiled_after_the_first_step(trained):
  rows = logs.read_metrics(trained / "once" / logs.METRICS_FILE)
  rows = [row for row in rows if row["kind"] == "train"]
  assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6, 7]
  assert len({row["compilations"] for row in rows}) == 1 and rows[0]["compilations"] >= 3
  assert all(0 <= row["input_wait"] <= 1 for row in rows)


def test_epochs_count_the_training_pairs(run):
  values = dataclasses.asdict(run.config) | {"steps": 0, "epochs": 2.5}
  assert open_run(values, run.workdir).steps == 5


def test_a_run_that_came_and_went_while_this_one_compiled_is_not_overwritten(
  pairs, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(progress, "FIRST", 0)
  values = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:one").to_dict() | {"steps": 1}
  values["data"]["root"] = str(pairs)
  system, config = systems.configure(values)
  run = run_lib.open_run(system, config, tmp_path / "run")
  other = dataclasses.replace(config, seed=1)
  compiling = programs.compile_train_step

  def meanwhile(opened):
    monkeypatch.setattr(programs, "compile_train_step", compiling)
    assert loop.train(system, other, run.workdir) == 1
    return compiling(opened)

  monkeypatch.setattr(programs, "compile_train_step", meanwhile)
  with pytest.raises(InputError, match="holds another run; differences.*config.seed: 1, 0"):
    loop.train(system, config, run.workdir)
  assert not (run.workdir / "run.lock").exists()
  assert "training: 1 of 1 steps (100 %)" in capsys.readouterr().err


def test_streams_and_held_out_samples_have_one_rule(pairs, tmp_path):
  """Raw counts of 16 bits are stretched, over a folder by the range of the training images."""
  for path in sorted((pairs / "infrared").iterdir()):
    image = np.asarray(Image.open(path)).astype(np.uint16)
    Image.fromarray(29_000 + 4 * image).save(path)
  values = tiny(pairs, steps=3)
  values["input"] |= {"normalize": "infrared:percentile", "normalize_over": "folder"}
  run = open_run(values, tmp_path / "run")
  sources = [run.feeds["pairs"].stream.source, run.held_out.stream.source]
  found = [next(iter(source.normalizer.ranges.values())) for source in sources]
  assert found[0] == found[1] and 29_000 <= found[0].low < found[0].high <= 30_020
  for source in sources:
    assert np.ptp(source[0]["infrared"]) > 20_000 and source[0]["visible"].dtype == np.uint8
  # A run of an older version took 16 bits as they are; of 8 bits, any rule does the same.
  assert run.identity.older["input.normalize"] == "full"


def test_an_older_run_of_8_bits_goes_on_by_the_rule_of_now(run):
  assert run.identity.older["input.normalize"] == "auto" == run.config.input.normalize
  assert run.identity.older["model.levels"] == 3
