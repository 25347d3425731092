"""Runs `python -m cfi_jax.COMMAND ...` for tests, without importing JAX again for each.

One server process imports the libraries; every command is a fork of it that runs the module as
`__main__`, with its own standard streams, arguments and environment, and exits as a command does.
Commands that a launcher starts are real ones instead.
"""

import atexit
import functools
import json
import os
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
import jax
import cfi_jax.evaluate, cfi_jax.engine.loop, cfi_jax.systems.isfuse.inference

def command(request):
  for stream, path in enumerate(request["outputs"], start=1):
    os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
  os.environ.update(request["env"])
  if "JAX_ENABLE_X64" in request["env"]:  # which JAX reads when it is imported
    jax.config.update("jax_enable_x64", True)
  sys.argv = [request["module"], *request["arguments"]]
  runpy.run_module(request["module"], run_name="__main__", alter_sys=True)

# A command neither collects nor takes down what the server imported: 0.04 s of a command, not 0.8.
gc.collect()
gc.freeze()
fork, processes = multiprocessing.get_context("fork"), {}
for line in sys.stdin:
  request = json.loads(line)
  if "pid" in request:
    processes[request["pid"]].join(request["seconds"])
    answer = processes[request["pid"]].exitcode
  else:
    process = fork.Process(target=command, args=(request,))
    process.start()
    processes[process.pid] = process
    answer = process.pid
  print(json.dumps(answer), flush=True)
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


def _ask(**request) -> int | None:
  """Tells the server; it answers with the id of the process or with the status that ended it."""
  server = _server()
  server.stdin.write(json.dumps(request) + "\n")
  server.stdin.flush()
  answer = server.stdout.readline()
  if not answer:
    raise RuntimeError(f"the command server ended with status {server.wait()}")
  return json.loads(answer)


class Started:
  """`python -m MODULE ARGUMENT...` in the project's root, on its way; see `run` of env."""

  def __init__(self, module: str, *arguments: str, **env: str):
    self._folder = tempfile.TemporaryDirectory()
    self._outputs = [pathlib.Path(self._folder.name, name) for name in ("stdout", "stderr")]
    self.pid = _ask(
      module=module,
      arguments=list(map(str, arguments)),
      env=env,
      outputs=list(map(str, self._outputs)),
    )

  def poll(self, seconds: float = 0) -> int | None:
    """The exit status, minus the signal that ended it, waited for so long; None before the end."""
    return _ask(pid=self.pid, seconds=seconds)

  def send_signal(self, number: int) -> None:
    """Sends it a signal."""
    os.kill(self.pid, number)

  def outputs(self) -> tuple[str, str]:
    """Text printed so far to stdout and to stderr."""
    return tuple(path.read_text() if path.exists() else "" for path in self._outputs)

  def finish(self, seconds: float | None = None) -> tuple[int, str, str]:
    """Its exit status, stdout and stderr, when it has ended; fails if it has not in that time."""
    status = self.poll(seconds)
    assert status is not None, self.outputs()
    return status, *self.outputs()


def run(module: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
  """`python -m MODULE ARGUMENT...` in the project's root, finished, with what it printed.

  env: JAX_ENABLE_X64, and variables that JAX or XLA read when a command first uses a device, such
    as XLA_FLAGS.
  """
  finished = Started(module, *arguments, **env).finish()
  return subprocess.CompletedProcess((module, *arguments), *finished)


def free_port() -> str:
  """A TCP port of this machine that nothing uses."""
  with socket.socket() as free:
    free.bind(("localhost", 0))
    return str(free.getsockname()[1])


def wait_for(process: Started | subprocess.Popen, condition: Callable[[], bool]) -> None:
  """Waits until `condition` holds; fails if the process ends before."""
  deadline = time.monotonic() + 240
  while not condition():
    assert process.poll() is None, (
      process.outputs() if isinstance(process, Started) else process.stdout.read()
    )
    assert time.monotonic() < deadline
    time.sleep(0.003)  # shorter than a save; the trainer needs the processor


def last_step(workdir: pathlib.Path) -> int:
  """The last step in the log of a run; 0 without one."""
  read = logs.read_metrics(workdir / logs.METRICS_FILE)
  return read[-1]["step"] if read else 0
