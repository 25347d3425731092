"""The training step, on a batch that is on the device already, with PyTorch beside it on request.

  python -m cfi_jax.benchmark train --torch --output=FILE.json
  python -m cfi_jax.benchmark train --config=configs/msrs.py --batch=16 --dtype=bfloat16
  python -m cfi_jax.benchmark train --config=configs/amgfuse.py:small --torch
  python -m cfi_jax.benchmark train --config=configs/figures.py

Ours is the trainer's own compiled step. PyTorch's, of ISFuse and AMG-Fuse, is the same network with
the same objective and Adam: a pass per view, the treated images made beforehand (ours makes them in
the step). It knows every setting of a config that changes results: of the model, the interventions,
the terms of the loss, the statistics and the optimizer. On a GPU --torch compares plain float32,
TF32, AMP in bfloat16, channels-last, torch.compile, and all of these together;
--contenders=NAME,... chooses, `plain_step`, ours in plain JAX, among them.
From the same weights and views the losses of the first step must agree: to 1e-4 in float32 on a
CPU (of AMG-Fuse, where rounding exchanges pixels in sorts, to 1e-3), to 5e-2 where a contender
computes in bfloat16 or a GPU in TF32. `difference` is the largest relative one.
"""

import functools
import json
import pathlib
import tempfile
from types import SimpleNamespace

import jax
import numpy as np
from flax import traverse_util

from cfi_jax import systems
from cfi_jax.benchmark import subjects
from cfi_jax.benchmark.harness import compare, contenders, ours, results, roofline
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.engine.config import Config


def run(options: SimpleNamespace) -> int:
  """Measures; returns the exit status."""
  values = ours.settings(options)
  system, config = systems.configure(values)
  subject = subjects.find(config.system)
  names, notes = contenders.choose("train", usual(options), options)
  with_torch = any(name in contenders.TORCH_NAMES["train"] for name in names)
  if with_torch:
    subjects.find_fusing(config.system, "train --torch")
  (dtype, _), crop = subject.dtypes(config), config.input.crop
  rates = roofline.measure(dtype, jax.device_count(), options)
  floor = results.Floor(subject.step_cost(config), rates, subject.SCHEDULE)
  with tempfile.TemporaryDirectory() as folder:
    weights = ours.first_weights(ours.make_run(system, config)) if with_torch else None
    write(config, values, pathlib.Path(folder), weights)
    specs = [Spec("train", name, folder, dtype_of(name, config), True) for name in names]
    allowed = functools.partial(tolerance, subject.STEP_TOLERANCE)
    outcomes = compare.compare(specs, options, differ, allowed)
  rows = subject.rows(config)
  case = {"batch": rows, "size": f"{crop}x{crop}", "dtype": dtype}
  case |= subject.case(config) | {"turns": options.turns}
  notes += [
    "TFLOP/s and GB/s: FLOPs and bytes accessed of our compiled program by XLA's cost analysis",
    "growth MB: above the resident size with libraries, weights and data loaded; the compiler's "
    "memory counts, program MB is what our compiled step alone needs",
  ]
  report = compare.report(outcomes, options, case, rows, floor, notes)
  return results.publish(report, options)


def usual(options: SimpleNamespace) -> tuple[str, ...]:
  """PyTorch first, as the reference: eager on a CPU, all variants on a GPU."""
  torch = contenders.TORCH_NAMES["train"] if options.torch else ()
  if jax.default_backend() == "cpu":
    torch = torch[:1]
  return (*torch, "cfi_jax")


def dtype_of(name: str, config: Config) -> str:
  """The dtype that a contender computes in: PyTorch in that of the parameters, AMP apart."""
  computed, stored = subjects.find(config.system).dtypes(config)
  return computed if name in contenders.JAX_NAMES["train"] else stored


def write(config: Config, values: dict, folder: pathlib.Path, weights: dict | None) -> None:
  """The contenders' files: settings and batch; with `weights` also these and PyTorch's own."""
  subject = subjects.find(config.system)
  settings = {"system": config.system, "config": values}
  settings |= subject.settings(config, ours.STEPS)
  (folder / "settings.json").write_text(json.dumps(settings))
  arrays = {"inputs": subject.inputs(config)}
  if weights is not None:
    subject = subjects.find_fusing(config.system, "train --torch")
    np.savez(folder / "variables.npz", **traverse_util.flatten_dict(weights, sep="/"))
    arrays["state"] = subject.torch_state(weights, config.model)
    for name, more in subject.torch_files(config, arrays["inputs"]).items():
      arrays[name] = arrays.get(name, {}) | more
  for name, own in arrays.items():
    np.savez(folder / f"{name}.npz", **own)


def differ(reference: compare.Output, output: compare.Output) -> float:
  """The largest relative difference of a loss that both report."""
  common = sorted(set(reference) & set(output))
  pairs = ((float(reference[k]), float(output[k])) for k in common)
  return max(abs(a - b) / max(abs(a), 1e-12) for a, b in pairs)


def tolerance(exactly: float, one: Spec, other: Spec) -> float:
  """The largest difference allowed between two contenders; exactly: in float32 on a CPU."""
  exact = jax.default_backend() == "cpu"
  for spec in (one, other):
    exact = exact and spec.dtype != "bfloat16" and spec.name not in ("torch_amp", "torch_all")
  return exactly if exact else 5e-2
