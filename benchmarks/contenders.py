"""The contenders of `benchmarks/fuse.py`, each in a process of its own that runs on demand."""

import argparse
import os
import pathlib
import resource
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).parent.parent
CONTENDERS = ("torch_eager", "torch_compile", "plain_graph", "cfi_jax")


def peak_mb() -> float:
  """Peak resident size of this process."""
  return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def make_inputs(batch: int, height: int, width: int) -> list[np.ndarray]:
  """A visible and an infrared batch [B, H, W] with edges and noise, in [0, 1]."""
  random = np.random.default_rng(0)
  rows, columns = np.mgrid[:height, :width]
  blocks = ((rows // 32 + columns // 48) % 2).astype(np.float32)
  noise = random.random((2, batch, height, width), np.float32)
  return [0.6 * blocks + 0.4 * noise[0], 0.5 - 0.3 * blocks + 0.4 * noise[1]]


def torch_contender(state_path: str, dtype: str, compiled: bool):
  """A function of two arrays: the plain network, eager in NCHW or compiled in channels-last.

  state_path: its state dict as .npz, so that this process needs no JAX, which would count as its
  memory.
  """
  import torch
  from torch_isfuse import from_state

  with np.load(state_path) as state:
    network = from_state(dict(state))
  device = "cuda" if torch.cuda.is_available() else "cpu"
  network = network.to(device=device, dtype=getattr(torch, dtype))
  layout = torch.channels_last if compiled else torch.contiguous_format
  network = network.to(memory_format=layout)
  call = torch.compile(network) if compiled else network

  def run(*images):
    with torch.inference_mode():
      tensors = [
        torch.from_numpy(i)[:, None].to(device, network.final_decoder[0].weight.dtype)
        for i in images
      ]
      tensors = [t.contiguous(memory_format=layout) for t in tensors]
      return call(*tensors)[:, 0].float().cpu().numpy()

  return run


def jax_contender(weights_path: str, dtype: str, folded: bool):
  """A function of two arrays: `Model.fuse`, or the plain flax graph that training uses."""
  import jax

  from cfi_jax import load, types, weights

  if folded:
    model = load(weights_path, dtype=dtype)
    return lambda *images: model.fuse(*images, memory_mb=1e6)
  variables, card = weights.load(weights_path)
  variables = jax.device_put(variables)
  module = weights.model(card.architecture, dtype)

  @jax.jit
  def forward(variables, visible, infrared):
    pair = types.Pair(visible[..., None], infrared[..., None])
    return module.apply(variables, pair).fused[..., 0]

  return lambda *images: np.asarray(forward(variables, *images))


def work(name: str, options: argparse.Namespace) -> None:
  """A contender's process: answers "run", "save PATH" and "peak" on standard input."""
  if name.startswith("torch"):
    run = torch_contender(options.weights, options.dtype, name == "torch_compile")
  else:
    run = jax_contender(options.weights, options.dtype, name == "cfi_jax")
  loaded = peak_mb()
  images = make_inputs(options.batch, *options.size)
  for line in sys.stdin:
    command, *argument = line.split()
    if command == "run":
      began = time.perf_counter()
      run(*images)
      answer = f"{time.perf_counter() - began}"
    elif command == "save":
      np.save(argument[0], run(*images))
      answer = "saved"
    else:
      answer = f"{peak_mb()} {peak_mb() - loaded}"
    print(f"answer {answer}", flush=True)


class Worker:
  """A contender in its own process."""

  def __init__(self, name: str, options: argparse.Namespace, state: str):
    self.name = name
    weights = state if name.startswith("torch") else options.weights
    arguments = [f"--worker={name}", f"--weights={weights}", f"--dtype={options.dtype}"]
    arguments += [f"--batch={options.batch}", "--size", *map(str, options.size)]
    self.process = subprocess.Popen(
      [sys.executable, __file__, *arguments],
      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
      # On a GPU all contenders are there at once: none may take the memory for itself.
      env=os.environ | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"},
    )  # fmt: skip

  def ask(self, command: str) -> str:
    """Sends a command, returns the answer."""
    self.process.stdin.write(command + "\n")
    self.process.stdin.flush()
    for line in self.process.stdout:
      if line.startswith("answer "):
        return line.removeprefix("answer ").strip()
    raise RuntimeError(f"{self.name} ended with status {self.process.wait()}")

  def close(self) -> None:
    """Ends the process."""
    self.process.stdin.close()
    self.process.wait()


def main() -> None:
  """The process of one contender."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--worker", choices=CONTENDERS)
  parser.add_argument("--weights")
  parser.add_argument("--dtype")
  parser.add_argument("--batch", type=int)
  parser.add_argument("--size", nargs=2, type=int)
  options = parser.parse_args()
  work(options.worker, options)


if __name__ == "__main__":
  main()
