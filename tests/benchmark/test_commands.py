"""Every part by its command line at tiny sizes; two processes are started, the rest runs here."""

import importlib.util
import json

import jax
import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.benchmark import __main__ as command
from cfi_jax.benchmark import input as input_part
from cfi_jax.benchmark.flags import PARTS
from cfi_jax.benchmark.harness import ours
from cfi_jax.benchmark.harness.images import write_pairs
from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.native.build import library
from cfi_jax.systems import files as weights
from cfi_jax.systems import isfuse
from cfi_jax.systems.isfuse.config import Config

TORCH = importlib.util.find_spec("torch") is not None
QUICK = ["--turns=2", "--floor_mb=1", "--floor_side=64"]
TINY = [
  f"--config={ROOT / 'configs' / 'folder.py'}",
  "--config.model.features=4", "--config.model.grid=2", "--config.masks.size=(4, 4)",
  "--config.validation_metrics=('EN',)", "--crop=16", "--batch=2",
]  # fmt: skip
# The views of the trainer's tests, and with them their compiled step.
AS_TRAINED = list(TINY)
AS_TRAINED += ["--config.loss.invariance.views=('complementary',)"]
AS_TRAINED += ["--config.loss.necessity.views=()", "--config.model.gate=paper"]
AS_TRAINED += ["--config.model.shared_encoder=True", "--config.model.levels=1"]
ARCHITECTURE = dict(
  name="isfuse",
  features=4,
  grid=2,
  shared_encoder=False,
  gate="released",
  padding="zeros",
  levels=3,
)
REPORT = {"command", "date", "part", "machine", "versions", "case", "floor", "rows", "notes"}
MACHINE = {"cpu", "cpu_count", "backend", "device", "device_count", "system", "malloc"}
FLOOR = {
  "seconds", "bound", "needed_bytes", "needed_flops", "measured_bytes_per_second",
  "measured_flops_per_second", "rate_dtype", "devices", "schedule",
}  # fmt: skip
ROW = {
  "name", "dtype", "samples", "seconds", "speedup", "floor_seconds", "peak_mb", "growth_mb",
  "device_peak_mb", "program_mb", "compile_seconds", "difference", "failure",
  "samples_per_second", "xla_flops", "xla_bytes", "tflops_per_second",
  "gigabytes_per_second", "times_floor",
}  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def one_thread():
  """Threads of PyTorch that wait for each other take ages where the cores are shared."""
  if TORCH:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
  shapes = isfuse.shapes(ARCHITECTURE)
  random = np.random.default_rng(0)

  def leaf(path, shape):
    middle = 1.0 if path[-1].key in ("var", "scale") else 0.0
    return random.uniform(middle - 0.3, middle + 0.3, shape.shape)

  variables = jax.tree_util.tree_map_with_path(leaf, shapes)
  path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
  weights.save(
    path, variables, weights.Card("isfuse", ARCHITECTURE, "random", "none", "2026", "none")
  )
  return path


def read(part, *arguments):
  """The options of a part."""
  return command.options(cli.parse(PARTS[part], arguments), [part, *arguments])


@pytest.fixture
def measure(tmp_path):
  """Runs a part with --output and returns its JSON, whose form it checks."""

  def run(*arguments, status=0):
    path = tmp_path / "out" / "result.json"
    assert command.main([*arguments, *QUICK, f"--output={path}"]) == status
    values = json.loads(path.read_text())
    assert set(values) == REPORT and set(values["machine"]) >= MACHINE
    assert set(values["floor"]) == FLOOR and values["floor"]["seconds"] > 0
    assert values["command"].startswith(f"python -m cfi_jax.benchmark {arguments[0]}")
    assert values["versions"]["jax"] == jax.__version__
    table = path.with_suffix(".txt").read_text()
    for row in values["rows"]:
      assert set(row) == ROW and row["name"] in table
      if row["failure"] is None:
        middle = row["seconds"]["median"]
        assert row["seconds"]["low"] <= middle <= row["seconds"]["high"]
        assert row["samples_per_second"] == pytest.approx(row["samples"] / middle)
    return values

  return run


def check_program(row, counted=True):
  """Figures of a compiled program; XLA counts nothing of native kernels."""
  if counted:
    assert row["tflops_per_second"] == pytest.approx(
      row["xla_flops"] / row["seconds"]["median"] / 1e12
    )
    assert row["gigabytes_per_second"] > 0
  else:
    assert row["xla_flops"] is row["tflops_per_second"] is row["gigabytes_per_second"] is None
  assert row["compile_seconds"] > 0
  assert row["times_floor"] == pytest.approx(row["seconds"]["median"] / row["floor_seconds"])


def test_train(measure):
  values = measure("train", "--torch", "--in_process", "--config.model.kernels=plain", *AS_TRAINED)
  rows = {row["name"]: row for row in values["rows"]}
  check_program(rows["cfi_jax"])
  assert rows["cfi_jax"]["program_mb"] > 0
  assert rows["cfi_jax"]["samples"] == 2 and rows["cfi_jax"]["peak_mb"] > 50
  assert values["case"]["size"] == "16x16"
  if TORCH:
    assert values["case"]["views"] == 2
    assert list(rows) == ["torch_eager", "cfi_jax"]
    assert rows["torch_eager"]["speedup"] == 1.0 and rows["cfi_jax"]["speedup"] > 0
    # The losses of all views agree, so weights and masks are the same; not the same program twice.
    assert 0 < rows["cfi_jax"]["difference"] < 1e-4
  else:
    assert list(rows) == ["cfi_jax"]
    assert any("PyTorch is not installed" in note for note in values["notes"])


def test_train_alone_where_pytorch_is_missing(monkeypatch, capsys):
  from cfi_jax.benchmark.harness import contenders

  monkeypatch.setattr(contenders.importlib.util, "find_spec", lambda name: None)
  options = read("train", "--torch")
  names, notes = contenders.choose("train", ("torch_eager", "cfi_jax"), options)
  assert names == ["cfi_jax"] and "not installed" in notes[0]
  options.contenders = ["torch_amp"]
  with pytest.raises(ValueError, match="none of torch_amp can run"):
    contenders.choose("train", (), options)


def test_fuse_in_a_process_of_its_own(measure, weights_file):
  arguments = [f"--weights={weights_file}", "--size=16x24", "--batch=2"]
  values = measure("fuse", "--contenders=cfi_jax", *arguments)
  (row,) = values["rows"]
  check_program(row)
  assert row["samples"] == 2 and 0 < row["growth_mb"] < row["peak_mb"]
  assert values["case"]["from"] == "host to host"


def test_fuse_compares_equal_images(measure, weights_file):
  # 18 rows: the window is larger than the images.
  names = "torch_eager,plain_graph,cfi_jax" if TORCH else "plain_graph,cfi_jax"
  arguments = [f"--weights={weights_file}", "--size=18x24", "--in_process", "--resident"]
  values = measure("fuse", f"--contenders={names}", *arguments)
  rows = {row["name"]: row for row in values["rows"]}
  assert list(rows) == names.split(",")
  assert rows["plain_graph"]["difference"] < 1e-5 and 0 < rows["cfi_jax"]["difference"] < 1e-5
  assert values["case"]["from"] == "device to device"


# One level and one term of the loss.
AMGFUSE = f"--config={ROOT / 'tests' / 'systems' / 'amgfuse' / 'tiny.py'}"


DFCNET = f"--config={ROOT / 'tests' / 'systems' / 'dfcnet' / 'tiny.py'}"
PAIRS = f"--config={ROOT / 'configs' / 'figures.py'}:pairs"


def test_fuse_of_a_config_of_another_system(measure):
  names = "torch_eager,plain_graph,cfi_jax" if TORCH else "plain_graph,cfi_jax"
  values = measure("fuse", AMGFUSE, f"--contenders={names}", "--size=8x12", "--in_process")
  rows = {row["name"]: row for row in values["rows"]}
  assert list(rows) == names.split(",")
  assert all(row["difference"] < 1e-2 for row in rows.values())
  check_program(rows["plain_graph"])
  assert "amgfuse_floors" in values["floor"]["schedule"]


def test_train_of_another_system(measure):
  names = "torch_eager,cfi_jax" if TORCH else "cfi_jax"
  values = measure("train", AMGFUSE, f"--contenders={names}", "--batch=1", "--in_process")
  rows = {row["name"]: row for row in values["rows"]}
  assert rows["cfi_jax"]["difference"] < 1e-4 and values["case"]["model"] == "amgfuse"
  if TORCH:
    assert rows["cfi_jax"]["difference"] > 0


def test_train_of_a_system_of_two_streams(measure):
  values = measure("train", DFCNET, "--contenders=cfi_jax", "--in_process")
  (row,) = values["rows"]
  assert row["samples"] == 8 and row["floor_seconds"] > 0  # 4 paired and 4 of support
  assert values["case"]["batch"] == 8 and values["case"]["transport"] == "warp"
  assert "dfcnet_floors" in values["floor"]["schedule"]


def test_fuse_buckets(measure, weights_file):
  values = measure("fuse", "--study=buckets", f"--weights={weights_file}", "--size=16x24")
  names = [row["name"] for row in values["rows"]]
  assert names == ["exact", "bucket +5 %", "bucket +12 %", "tiles"]
  assert values["case"]["windows"]["bucket +12 %"] == "16x28"


def test_fuse_by_a_rule(measure):
  values = measure("fuse", "--study=rule", "--weights=average", "--size=16x24")
  assert [row["name"] for row in values["rows"]] == ["average, grey", "average, colour"]
  options = cli.parse(PARTS["fuse"], ["--study=rule", "--weights=medical"])
  with pytest.raises(ValueError, match="--study=rule takes a rule: wavelet, laplacian, average"):
    command.measure("fuse", command.options(options, []))


def test_fuse_large_runs_the_command(measure, weights_file):
  values = measure("fuse", "--study=large", f"--weights={weights_file}", "--size=16x24")
  (row,) = values["rows"]
  assert row["failure"] is None and row["peak_mb"] > 50
  assert any(note.startswith("fused 1 of 1 pairs") for note in values["notes"])


def test_metrics(measure, pairs):
  for package in ("sklearn", "skimage"):
    pytest.importorskip(package, reason=f"{package} is not installed")
  folders = [f"--visible={pairs / 'visible'}", f"--infrared={pairs / 'infrared'}", "--images=2"]
  sizes = ["--size=24x24", "--count=2", "--fmi_crop=8", "--fmi_check=12"]
  values = measure("metrics", "--metrics=EN,MSE,FMI_none", *folders, *sizes)
  rows = {row["name"]: row for row in values["rows"]}
  assert list(rows) == [
    "24x24 without FMI", "24x24 FMI", "public way, without FMI", "cfi_jax, without FMI",
    "public way, FMI", "cfi_jax, FMI",
  ]  # fmt: skip
  check_program(rows["24x24 FMI"])
  for title in ("without FMI", "FMI"):
    assert rows[f"cfi_jax, {title}"]["difference"] < 1e-3
    assert rows[f"cfi_jax, {title}"]["speedup"] > 0
  assert any("EXTRAPOLATED" in note for note in values["notes"])
  # Two metrics read three float32 images once, of two triplets.
  assert values["floor"]["needed_bytes"] == 2 * 3 * 4 * 24 * 24 * 2


def test_input(measure):
  values = measure("input", "--steps=4", "--paths=host", "--pairs=7", "--size=24x24", *AS_TRAINED)
  names = [row["name"] for row in values["rows"]]
  assert names == ["pipeline (host)", "step (host)", "loop (host)"]
  check_program(values["rows"][1], counted=library()[0] is None)
  assert values["case"]["pairs"] == 7
  # 50 epochs of 7 pairs in batches of 2.
  assert sum("whole run of 175 steps" in note for note in values["notes"]) == 2
  assert any("% of the loop's" in note for note in values["notes"])


def test_both_ways_of_feeding_give_the_same_batches(tmp_path):
  write_pairs(tmp_path, 4, 24, 24)
  values = ours.settings(read("input", *TINY)) | {
    "data": input_part.FOLDER | {"root": str(tmp_path)}
  }
  config = config_lib.build(Config, values)
  batches = []
  for device_gb in input_part.INPUT_PATHS.values():
    run = ours.open_run(isfuse, config, device_gb)
    images, own = ours.load(run)["pairs"], ours.feed_of(run)
    cuts = [own.cut(images, chunk.inputs["pairs"]) for chunk in ours.chunks(run, 3)]
    batches.append(cuts)
  assert len(batches[0]) == 3
  jax.tree.map(np.testing.assert_array_equal, *batches)


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    (["train", "--contenders=torch_fast"], "valid: torch_eager, torch_tf32"),
    (["train", "--output=table.txt"], "must end in .json"),
    (["train", "--turns=0"], "--turns=0"),
    (["train", "--config.seed=1"], "without --config=FILE"),
    (["train", "stray"], "unexpected argument 'stray'"),
    (["metrics", "--config.seed=1"], "unexpected argument"),
    (["metrics", "--visible=x"], "--visible and --infrared"),
    (["metrics", "--size=480"], "HEIGHTxWIDTH"),
    (["fuse", "--weights=nowhere.safetensors"], "nowhere.safetensors"),
    (["input", "--paths=disk"], "valid: host, device"),
    (["fuse"], "one of --weights and --config"),
    (["fuse", AMGFUSE, "--study=large"], "--study=large takes --weights"),
    (["fuse", DFCNET], "`fuse` does not measure 'dfcnet'; valid: amgfuse, isfuse"),
    (["input", DFCNET], "`input` does not measure 'dfcnet'"),
    (["train", DFCNET, "--contenders=torch_eager"], "`train --torch` does not measure 'dfcnet'")
    if TORCH
    else (["train", DFCNET, "--contenders=torch_eager"], "none of torch_eager can run"),
    (["train", PAIRS, "--config.data.root=x"], "is 'pose_pairs'; allowed here: figures"),
  ],
)
def test_bad_input(arguments, text, capsys):
  assert command.main([*arguments, *(q for q in QUICK if q[:7] not in arguments[-1])]) == 2
  assert text in capsys.readouterr().err
