"""`python -m cfi_jax.main` with the toys known, which a signal hits on the way if the test wants.

SIGNAL, SIGNAL_AFTER, SIGNAL_DELAY: name of the signal, the logged step after which this process
sends it to itself, and how many seconds later.
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


def hit(workdir: pathlib.Path, name: str, step: int, delay: float) -> None:
  """Waits for the log of `step`, if it is not 0, and `delay` seconds, then sends the signal."""
  log = workdir / "metrics.jsonl"
  while True:
    lines = log.read_text().splitlines() if log.exists() else []
    if not step or (lines and lines[-1].endswith("}") and json.loads(lines[-1])["step"] >= step):
      time.sleep(delay)
      os.kill(os.getpid(), getattr(signal, name))
      return
    time.sleep(0.002)


if "SIGNAL" in os.environ:
  workdir = next(a.split("=", 1)[1] for a in sys.argv if a.startswith("--workdir="))
  delay = float(os.environ.get("SIGNAL_DELAY", 0))
  order = (pathlib.Path(workdir), os.environ["SIGNAL"], int(os.environ["SIGNAL_AFTER"]), delay)
  threading.Thread(target=hit, args=order, daemon=True).start()
runpy.run_module("cfi_jax.main", run_name="__main__", alter_sys=True)
