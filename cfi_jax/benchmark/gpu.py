"""Everything that needs a GPU, in one command; each case is a command of its own.

  python -m cfi_jax.benchmark gpu --weights=isfuse.safetensors --output=benchmarks/results/gpu
  python -m cfi_jax.benchmark gpu --weights=FILE --output=DIR --cases=train_16_bfloat16,run_msrs

Cases (--cases chooses; --list prints them with their commands):
- train_{16,64}_{float32,bfloat16}: training steps at 256x256 beside PyTorch eager, TF32, AMP,
  channels-last, torch.compile and all of these;
- fuse_{480x640,768x1024}_{1,16}_{float32,bfloat16}: beside PyTorch eager and torch.compile;
- metrics_480x640: pairs per second;
- run_msrs: a run shaped like MSRS (1083 pairs of 480x640, 50 epochs, batches of 16 crops of
  256x256), predicted from the step alone and measured over 300 steps of the loop.

A case whose FILE.json exists in the output folder is left out, so the same command goes on where
it was stopped; --seconds ends the command before a case once so much time has passed. Without a
GPU it stops at once. Exits with 1 when a case failed; the others are done.
"""

import itertools
import pathlib
import subprocess
import sys
import time
from types import SimpleNamespace

import jax

from cfi_jax.core.types import InputError

CASE_SECONDS = 3600


def cases(weights: str) -> dict[str, list[str]]:
  """Arguments of `python -m cfi_jax.benchmark` by name of the case."""
  found, dtypes = {}, ("float32", "bfloat16")
  for batch, dtype in itertools.product((16, 64), dtypes):
    arguments = ["train", "--torch", f"--batch={batch}", "--crop=256", f"--dtype={dtype}"]
    found[f"train_{batch}_{dtype}"] = arguments
  for size, batch, dtype in itertools.product(("480x640", "768x1024"), (1, 16), dtypes):
    arguments = ["fuse", "--torch", f"--weights={weights}", f"--size={size}"]
    found[f"fuse_{size}_{batch}_{dtype}"] = [*arguments, f"--batch={batch}", f"--dtype={dtype}"]
  found["metrics_480x640"] = ["metrics", "--size=480x640"]
  found["run_msrs"] = [
    "input", "--pairs=1083", "--size=480x640", "--batch=16", "--crop=256", "--dtype=bfloat16",
    "--steps=300",
  ]  # fmt: skip
  return found


def run(options: SimpleNamespace) -> int:
  """Runs the cases; returns the exit status."""
  known = cases(options.weights or "WEIGHTS")
  names = options.cases or list(known)
  for name in names:
    if name not in known:
      raise InputError(f"--cases: no case {name!r}; valid: {', '.join(known)}")
  if options.list:
    for name in names:
      print(f"{name}: python -m cfi_jax.benchmark {' '.join(known[name])}")
    return 0
  if jax.default_backend() == "cpu":
    raise InputError(
      f"no GPU is at hand: JAX finds {jax.devices()[0].device_kind} only; install the extra `cuda` "
      f"on a machine with one"
    )
  if not options.output:
    raise InputError("--output=DIR is missing: the folder of the results")
  if not options.weights and any(name.startswith("fuse") for name in names):
    raise InputError("--weights is missing: the cases of fusing need it")
  return _run_all({name: known[name] for name in names}, options)


def _run_all(chosen: dict[str, list[str]], options: SimpleNamespace) -> int:
  folder, began, failed = pathlib.Path(options.output), time.monotonic(), []
  for name, arguments in chosen.items():
    path = folder / f"{name}.json"
    if path.exists():
      print(f"{name}: {path} exists already", flush=True)
      continue
    if options.seconds is not None and time.monotonic() - began > options.seconds:
      print(f"stopped before {name}: the same command goes on there", flush=True)
      return 1
    command = [sys.executable, "-m", "cfi_jax.benchmark", *arguments]
    command += [f"--output={path}", f"--turns={options.turns}"]
    try:
      status = subprocess.run(command, timeout=CASE_SECONDS).returncode
    except subprocess.TimeoutExpired:
      status = 124
    if status:
      failed.append(name)
      print(f"{name}: failed with status {status}", file=sys.stderr, flush=True)
  print(f"{len(chosen) - len(failed)} of {len(chosen)} cases in {folder}", flush=True)
  return 1 if failed else 0
