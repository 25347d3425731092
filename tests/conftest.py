"""Settings and fixtures that all tests share."""

import dataclasses
import gc
import os
import pathlib
import sys

import jaxlib.version

# Compiled programs are kept between tests, test processes and the commands that tests start.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", "/tmp/cfi_jax_test_cache")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
# The suite compiles much and computes little, and its workers need no threads of the compiler. From
# 0.11 on XLA does not know the last flag, without which compiling takes half as long again.
os.environ.setdefault(
  "XLA_FLAGS",
  "--xla_backend_optimization_level=0 --xla_cpu_parallel_codegen_split_count=1"
  + " --xla_cpu_use_fusion_emitters=false" * (jaxlib.version.__version_info__ < (0, 11)),
)

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from buckets import bucket, proxy, server  # noqa: F401  (fixtures)
from command_line import Started, run
from flax import traverse_util
from PIL import Image
from random_weights import random_variables

from cfi_jax.fusion import weather
from cfi_jax.metrics import table
from cfi_jax.systems.isfuse.inference import Model
from cfi_jax.systems.isfuse.model import from_architecture

jax.config.update("jax_numpy_rank_promotion", "raise")
ROOT = pathlib.Path(__file__).parent.parent


# Files that take longest, longest first.
LONG = ("test_documents", "test_fixture", "test_inference", "test_exact", "test_contract")
LONG += ("test_resume", "test_analyze", "test_step", "test_shift", "test_shipped")
LONG += ("test_commands", "test_functions", "test_evaluate", "test_weather", "test_model")
LONG += ("test_loop", "test_effects", "test_synthetic", "test_ways", "test_golden")
LONG += ("test_gpu", "test_results", "test_export", "test_fuse", "test_losses", "test_fuzz")


def pytest_addoption(parser: pytest.Parser) -> None:
  """Declares the flags of tests/systems/isfuse/test_golden.py, test_kills.py and test_fuzz.py."""
  parser.addoption("--renew_golden", action="store_true", help="write the golden runs anew")
  parser.addoption("--add_golden", action="store_true", help="add this machine's golden runs")
  parser.addoption("--kills", type=int, default=0, help="kills of a run, see test_kills.py")
  parser.addoption("--fuzz", type=int, default=200, help="damaged files, see test_fuzz.py")
  parser.addoption("--fuzz_seed", type=int, default=0, help="of the first of them")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
  """Long files first, so that no worker is left with one when the others are done."""
  items.sort(key=lambda item: LONG.index(item.path.stem) if item.path.stem in LONG else len(LONG))


def pytest_collection_finish() -> None:
  """Collections of garbage leave out what was imported: tracing takes a quarter less time."""
  gc.collect()
  gc.freeze()


@pytest.fixture
def x64():
  """Runs a test in float64."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def one_thread():
  """Threads of PyTorch that wait for each other take ages where the cores are shared."""
  torch = pytest.importorskip("torch", reason="PyTorch, the extra `torch`, is not installed")
  threads = torch.get_num_threads()
  torch.set_num_threads(1)
  yield
  torch.set_num_threads(threads)


def load_fixture(name: str) -> dict[str, np.ndarray]:
  """A committed .npz file as a dict."""
  with np.load(ROOT / "tests" / "fixtures" / f"{name}.npz") as arrays:
    return dict(arrays)


@pytest.fixture
def random():
  """Numbers drawn from a fixed seed."""
  return np.random.default_rng(1)


@pytest.fixture(scope="session")
def inference_reference():
  """Random weights (`state/...`), uint8 images and the reference's outputs, by size."""
  return load_fixture("inference")


@pytest.fixture(scope="session")
def train_reference():
  """Three Adam steps of the reference from the weights of `inference_reference`."""
  return load_fixture("train_steps")


def _write_pairs(root: pathlib.Path, count: int, seed: int = 0) -> None:
  """Two folders, `visible` (RGB) and `infrared` (grey), of random smooth 24x24 PNG pictures."""
  rng = np.random.default_rng(seed)
  for modality, channels in (("visible", 3), ("infrared", 1)):
    folder = root / modality
    folder.mkdir(parents=True)
    for i in range(count):
      coarse = rng.integers(0, 256, (4, 4, channels), dtype=np.uint8)
      image = Image.fromarray(coarse if channels == 3 else coarse[..., 0])
      image.resize((24, 24), Image.Resampling.BICUBIC).save(folder / f"{i:03d}.png")


@pytest.fixture(scope="session", name="write_pairs")
def write_pairs_fixture():
  """A function (root, count, seed) that writes pairs of pictures."""
  return _write_pairs


@pytest.fixture
def pairs(tmp_path) -> pathlib.Path:
  """A folder of eight small pairs for configs/folder.py."""
  _write_pairs(tmp_path / "pairs", 8)
  return tmp_path / "pairs"


@dataclasses.dataclass(frozen=True)
class Trainer:
  """Runs `python -m cfi_jax.main` on a tiny network and tiny pictures."""

  root: pathlib.Path

  def command(self, workdir: pathlib.Path, *overrides: str, recipe: str = "released") -> list[str]:
    """The command line; `overrides` are KEY=VALUE below `--config.` and win over the tiny sizes."""
    tiny = dict(
      item.split("=", 1)
      for item in (
        f"data.root={self.root}", "input.crop=16", "batch_size=2", "model.features=4",
        "model.grid=2", "masks.size=(4, 4)", "steps=4", "validation_pairs=1", "pictures=1",
        "validation_metrics=('EN',)", "log_every=1", "validate_every=4", "checkpoint.every=2",
        # Two views of five and the paper's network, smaller and of one level, compile in a fifth of
        # the time; without the data on the device the step is one program for any number of pairs.
        "loss.invariance.views=('complementary',)", "loss.necessity.views=()", "input.device_gb=0",
        "model.gate=paper", "model.shared_encoder=True", "model.levels=1",
        *overrides,
      )
    )  # fmt: skip
    values = [f"--config.{key}={value}" for key, value in tiny.items()]
    config = f"--config={ROOT / 'configs' / 'folder.py'}:{recipe}"
    return [sys.executable, "-m", "cfi_jax.main", config, f"--workdir={workdir}", *values]

  def start(self, workdir: pathlib.Path, *overrides: str) -> Started:
    """Starts the command."""
    _, _, *arguments = self.command(workdir, *overrides)
    return Started(*arguments)

  def run(
    self, workdir: pathlib.Path, *overrides: str, recipe: str = "released", **env: str
  ) -> tuple[int, str]:
    """Runs the command to its end; returns the exit status and what it printed."""
    _, _, *arguments = self.command(workdir, *overrides, recipe=recipe)
    done = run(*arguments, **env)
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def make_trainer():
  """`Trainer` of a folder of pairs."""
  return Trainer


@pytest.fixture
def trainer(pairs) -> Trainer:
  """The training command on `pairs`."""
  return Trainer(pairs)


@pytest.fixture(scope="session")
def weather_programs():
  """Parts that all kinds of weather have in common, each compiled once for an image's size."""
  draw = jax.jit(weather.draw, static_argnums=1)
  return {
    "draw": draw, "surrogate": jax.jit(weather.surrogate), "degrade": jax.jit(weather.degrade)
  }  # fmt: skip


@pytest.fixture(scope="module")
def compiled_weather(weather_programs):
  """Has whatever makes weather call `weather_programs`."""
  with pytest.MonkeyPatch.context() as patch:
    for name, program in weather_programs.items():
      patch.setattr(weather, name, program)
    yield


@pytest.fixture(scope="session")
def scoring_program():
  """The program that scores a batch, optimised unlike the rest: it runs on large pictures."""
  return jax.jit(
    table.score_levels.__wrapped__,
    static_argnames=("names", "convention"),
    compiler_options={"xla_backend_optimization_level": "1"},
  )


@pytest.fixture
def one_canvas(monkeypatch, scoring_program):
  """Scores pictures of all sizes up to 720x960, which TNO's have, by one program."""
  monkeypatch.setattr(table, "_canvas", lambda shape, known: (720, 960))
  monkeypatch.setattr(table, "score_levels", scoring_program)


def read_checkpoint(workdir: pathlib.Path, step: int) -> dict[str, np.ndarray]:
  """All leaves of a checkpoint by name, as Orbax alone reads them."""
  folder = workdir.resolve() / "checkpoints" / str(step) / "default"
  reader = ocp.Checkpointer(ocp.PyTreeCheckpointHandler())
  leaves = reader.metadata(folder).item_metadata.tree
  as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), leaves)
  tree = reader.restore(folder, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
  return traverse_util.flatten_dict(tree, sep="/")


@pytest.fixture
def checkpoint_leaves():
  """`read_checkpoint` for tests."""
  return read_checkpoint


SMALL = {
  "name": "isfuse",
  "features": 8,
  "grid": 8,
  "shared_encoder": False,
  "gate": "released",
  "padding": "zeros",
  "levels": 3,
}


@pytest.fixture(scope="session")
def make_small():
  """Model with random weights; keyword arguments change its architecture."""

  def make(dtype="float32", devices=None, **changes):
    architecture = SMALL | changes
    variables = random_variables(from_architecture(architecture, "float32"))
    return Model(variables, architecture, dtype=dtype, devices=devices)

  return make


@pytest.fixture(scope="session")
def small(make_small):
  """One float32 model shared by the tests, and with it its compiled programs."""
  return make_small()
