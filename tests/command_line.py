"""Runs `python -m cfi_jax.COMMAND ...` for tests, without importing JAX again for each.

One server process imports the libraries; every command is a fork of it that runs the module as
`__main__`, with its own standard streams, arguments and environment, and exits as a command does.
Commands that are killed, or that come as several processes, are started as real ones instead.
"""

import atexit
import functools
import json
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from cfi_jax.engine.workdir import logs

ROOT = pathlib.Path(__file__).parent.parent
FIXTURES = ROOT / "tests" / "fixtures"
SHARED = ROOT.parent / "shared"  # reference data of the project's workplace; users do not have it

SERVER = """
import gc, json, multiprocessing, os, runpy, sys
sys.path.append("tests")
import cfi_jax.evaluate, cfi_jax.engine.loop, cfi_jax.systems.isfuse.inference

def command(request):
  for stream, path in enumerate(request["outputs"], start=1):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
  os.environ.update(request["env"])
  sys.argv = [request["module"], *request["arguments"]]
  runpy.run_module(request["module"], run_name="__main__", alter_sys=True)

# A command neither collects nor takes down what the server imported: 0.04 s of a command, not 0.8.
gc.collect()
gc.freeze()
fork = multiprocessing.get_context("fork")
for line in sys.stdin:
  process = fork.Process(target=command, args=(json.loads(line),))
  process.start()
  process.join()
  print(process.exitcode, flush=True)
"""


@functools.cache
def _server() -> subprocess.Popen:
  """This test process's server; the environment is that of its first command."""
  server = subprocess.Popen(
    [sys.executable, "-c", SERVER],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  atexit.register(server.kill)
  return server


def run(module: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
  """`python -m MODULE ARGUMENT...` in the project's root, finished, with what it printed.

  env: variables that JAX or XLA read when a command first uses a device, such as XLA_FLAGS.
  """
  server = _server()
  arguments = tuple(map(str, arguments))
  with tempfile.TemporaryDirectory() as folder:
    outputs = [pathlib.Path(folder, name) for name in ("stdout", "stderr")]
    request = {"module": module, "arguments": arguments, "env": env}
    server.stdin.write(json.dumps(request | {"outputs": list(map(str, outputs))}) + "\n")
    server.stdin.flush()
    status = server.stdout.readline()
    if not status:
      raise RuntimeError(f"the command server ended with status {server.wait()}")
    return subprocess.CompletedProcess(
      (module, *arguments), int(status), *(path.read_text() for path in outputs)
    )


def free_port() -> str:
  """A TCP port of this machine that nothing uses."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return str(free.getsockname()[1])


def wait_for(process: subprocess.Popen, condition: Callable[[], bool]) -> None:
  """Waits until `condition` holds; fails if the process ends before."""
  deadline = time.monotonic() + 240
  while not condition():
    assert process.poll() is None, process.stdout.read()
    assert time.monotonic() < deadline
    time.sleep(0.003)  # shorter than a save; the trainer needs the processor


def last_step(workdir: pathlib.Path) -> int:
  """The last step in the log of a run; 0 without one."""
  read = logs.read_metrics(workdir / logs.METRICS_FILE)
  return read[-1]["step"] if read else 0
