"""`python -m cfi_jax.main` with the toys known, which a signal hits on the way if the test wants.

SIGNAL, SIGNAL_AFTER: name of the signal, and the logged step after which this process sends it to
itself.
"""

import json
import os
import pathlib
import runpy
import signal
import sys
import threading
import time

import toys

toys.install()


def hit(workdir: pathlib.Path, name: str, step: int) -> None:
  """Waits for the log of `step`, then sends the signal."""
  log = workdir / "metrics.jsonl"
  while True:
    lines = log.read_text().splitlines() if log.exists() else []
    if lines and json.loads(lines[-1])["step"] >= step:
      os.kill(os.getpid(), getattr(signal, name))
      return
    time.sleep(0.002)


if "SIGNAL" in os.environ:
  workdir = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--workdir="))
  order = (pathlib.Path(workdir), os.environ["SIGNAL"], int(os.environ["SIGNAL_AFTER"]))
  threading.Thread(target=hit, args=order, daemon=True).start()
runpy.run_module("cfi_jax.main", run_name="__main__", alter_sys=True)
