"""Golden runs: what tiny trainings log and save, bit by bit on machines like the fixture's.

A refactoring changes none of it. A change that is meant to (another order of sums, another random
number) renews the fixture, by

  python -m pytest -n 0 tests/systems/isfuse/test_golden.py --renew_golden

and its commit says which numbers moved and why. That forgets the bits of other machines; where
nothing has changed, `--add_golden` adds those of one more. Bits depend on the processor and on XLA:
on a machine that the fixture does not know hashes are not compared, and logged values to a relative
1e-4 in the first step and to 0.1 after it: the rounding of an update can move a pixel over the
gates' and masks' thresholds (0.05 is the most seen, between processors with and without avx512).
"""

import hashlib
import json
import os
import pathlib
import platform

import jaxlib.version
import numpy as np
import pytest
from command_line import ROOT

from cfi_jax.engine.workdir import logs

FIXTURE = ROOT / "tests" / "fixtures" / "golden.json"
CLOCK = logs.CLOCK
SHORT = ("steps=3", "checkpoint.every=3", "validate_every=3", "loss.target.planes=3")
RELEASED = ("loss.invariance.views=('complementary','shared')",)
RELEASED += ("loss.necessity.views=('without_visible','without_infrared')",)
RELEASED += ("model.levels=2",)
# One level, as the other run has the passage from one to another.
FILLING = ("model.gate=released", "model.shared_encoder=False", "masks.size=(4,8)")
FILLING += ("optim.ema_decay=0.9", "validation_metrics=('SSIM','Qabf')")
# That streamed and resident data make one run is tested in tests/engine/test_loop.py.
RUNS = {
  "released, streamed": ("released", *RELEASED, "input.device_gb=0"),
  "filling, resident": ("filling", *FILLING, "input.device_gb=1", "steps_per_dispatch=2"),
}
# Metrics of 11 pixels and more need larger crops than the other tests'.
# Plain JAX, as the bits of native kernels are the compiler's, too.
COMMON = ("input.crop=32", "model.kernels=plain")
RUNS = {name: (recipe, *values, *COMMON) for name, (recipe, *values) in RUNS.items()}


def machine() -> str:
  """Names what the bits of a run depend on beside the code."""
  text = pathlib.Path("/proc/cpuinfo").read_text() if platform.system() == "Linux" else ""
  flags = next((line for line in text.splitlines() if line.startswith(("flags", "Features"))), "")
  known = sorted(
    set(flags.split()) & {"avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd"}
  )
  cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
  return (
    f"{platform.machine()} {' '.join(known)}, {cores} cores, jaxlib {jaxlib.version.__version__}"
  )


def describe(workdir, leaves) -> dict:
  """The log without the clock, a hash of the last checkpoint's leaves, hashes of the pictures."""
  digest = hashlib.sha256()
  for name, leaf in sorted(leaves.items()):
    digest.update(
      f"{name} {leaf.dtype} {leaf.shape}".encode() + np.ascontiguousarray(leaf).tobytes()
    )
  rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  pictures = sorted((workdir / "pictures").iterdir())
  return {
    "log": [{k: v for k, v in row.items() if k not in CLOCK} for row in rows],
    "checkpoint": digest.hexdigest(),
    "pictures": {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in pictures},
  }


def writes(request) -> bool:
  """Whether this machine's runs are written, and not compared."""
  return any(request.config.getoption(f"--{how}_golden") for how in ("renew", "add"))


@pytest.fixture(scope="module")
def golden(request):
  """Runs by machine and name; with one of the flags this machine's are written at the end."""
  known = {} if request.config.getoption("--renew_golden") else json.loads(FIXTURE.read_text())
  if writes(request):
    known[machine()] = {}
  yield known
  if writes(request):
    FIXTURE.write_text(json.dumps(known, indent=1) + "\n")


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_the_golden_one(name, golden, trainer, tmp_path, checkpoint_leaves, request):
  recipe, *values = RUNS[name]
  status, output = trainer.run(tmp_path / "run", *SHORT, *values, recipe=recipe)
  assert status == 0, output
  found = describe(tmp_path / "run", checkpoint_leaves(tmp_path / "run", 3))
  if writes(request):
    golden[machine()][name] = found
    return
  known = machine() in golden
  expected = golden[machine() if known else next(iter(golden))][name]
  assert len(found["log"]) == len(expected["log"])
  if known:
    assert found == expected, "bits changed; see the docstring of this file"
  for ours, theirs in zip(found["log"], expected["log"], strict=True):
    assert ours.pop("kind") == theirs["kind"]
    relative = 1e-4 if theirs["step"] == 1 else 0.1
    assert ours == pytest.approx(
      {k: v for k, v in theirs.items() if k != "kind"}, rel=relative, abs=1e-6
    )
