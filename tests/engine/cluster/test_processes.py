"""Processes that find each other, lose each other, and end together; without any training."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from command_line import ROOT, free_port

from cfi_jax.core.types import InputError
from cfi_jax.engine.cluster import processes, watch
from cfi_jax.engine.cluster.processes import Place

# Flags as of the real commands; what each process does is given by its place: sleep, broken, bug.
WORK = """
import sys, time
from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.engine.cluster import flags, processes

FLAGS = {"do": cli.Flag("what each process does", kind=list), **flags.FLAGS}

def main(given):
  import jax
  def work():
    sys.stdout.write(f"process {jax.process_index()} of {jax.process_count()}\\n")
    sys.stdout.flush()
    match given["do"][jax.process_index()]:
      case "sleep": time.sleep(100)
      case "broken": raise InputError("picture.png is broken")
      case number: return int(number)
  return processes.run(processes.from_flags(given), work, "do it again", lost_after=6)

cli.run(main, FLAGS, "Works.")
"""


def start(tmp_path, *do):
  """launch/local.sh with one process for each of `do`, in place of the trainer."""
  (tmp_path / "work.py").write_text(WORK)
  python = tmp_path / "bin" / "python"
  python.parent.mkdir()
  # launch/local.sh runs `python -m cfi_jax.main FLAG...`.
  python.write_text(f'#!/bin/sh\nshift 2\nexec {sys.executable} {tmp_path / "work.py"} "$@"\n')
  python.chmod(0o755)
  return subprocess.Popen(
    [ROOT / "launch" / "local.sh", str(len(do)), "--do=" + ",".join(do)],
    env=os.environ
    | {
      "PATH": f"{python.parent}:{os.environ['PATH']}",
      "PORT": free_port(),
      "PYTHONPATH": str(ROOT),
      "JAX_PLATFORMS": "cpu",
    },
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )


def kill(launcher, victim, count):
  """Kills one of `count` processes when all have begun; returns their ids."""
  children = f"/proc/{launcher.pid}/task/{launcher.pid}/children"
  begun = [launcher.stdout.readline() for _ in range(count)]
  assert all(line.startswith("process ") for line in begun), begun
  ids = [int(child) for child in pathlib.Path(children).read_text().split()]
  time.sleep(3)  # until each has left a sign of life
  os.kill(ids[victim], signal.SIGKILL)
  return ids


@pytest.mark.parametrize(
  ("victim", "count", "reason"),
  [(1, 3, r"no sign of life for \d+ seconds"), (0, 2, r"localhost:\d+ .*answer.*")],
)
def test_a_lost_process_ends_the_others_which_name_it(tmp_path, victim, count, reason):
  launcher = start(tmp_path, *["sleep"] * count)
  ids = kill(launcher, victim, count)
  began = time.monotonic()
  output, _ = launcher.communicate(timeout=60)
  assert time.monotonic() - began < 30
  for survivor in set(range(count)) - {victim}:
    line = (
      rf"^process {survivor} of {count} stops: lost process {victim} of {count} \(host .+\): "
      f"{reason}; do it again$"
    )
    assert re.search(line, output, re.MULTILINE), output
  assert launcher.returncode == (137 if victim == 0 else 1)
  for process in ids:  # nothing is left behind
    with pytest.raises(ProcessLookupError):
      os.kill(process, 0)


def test_bad_input_in_one_process_ends_all(tmp_path):
  launcher = start(tmp_path, "sleep", "broken")
  output, _ = launcher.communicate(timeout=60)
  assert launcher.returncode == 2, output
  assert "error: picture.png is broken" in output.splitlines()
  line = (
    r"^process 0 of 2 stops: process 1 of 2 \(host .+\) stopped: picture.png is broken; do it "
    "again$"
  )
  assert re.search(line, output, re.MULTILINE), output


def test_bad_input_in_all_processes_is_said_once(tmp_path):
  launcher = start(tmp_path, "broken", "broken")
  output, _ = launcher.communicate(timeout=60)
  assert launcher.returncode == 2, output
  assert output.count("broken") == 1 and "error: picture.png is broken" in output.splitlines()


def entries(index, *, sign=None, end=None):
  found = {f"{watch.FOLDER}/sign/{index}": sign, f"{watch.FOLDER}/end/{index}": end}
  return {key: value for key, value in found.items() if value}


def test_silence_means_a_loss_only_after_a_first_sign():
  others = watch.Others(0, 3)
  others.update(entries(1, sign="1 node1"), now=10)
  assert others.verdict(39, patience=30, grace=5) is None
  others.update(entries(1, sign="2 node1"), now=40)
  others.update(entries(1, sign="2 node1"), now=60)
  assert others.verdict(69, patience=30, grace=5) is None
  end = others.verdict(71, patience=30, grace=5)
  assert end.status == 1
  assert end.text == "lost process 1 of 3 (host node1): no sign of life for 31 seconds"


def test_several_lost_processes_are_all_named():
  others = watch.Others(2, 3)
  others.update(entries(0, sign="1 a") | entries(1, sign="1 b"), now=0)
  text = others.verdict(31, patience=30, grace=5).text
  assert text.startswith("lost process 0 of 3 (host a), process 1 of 3 (host b): ")


def test_a_process_that_stopped_is_not_lost_and_the_others_get_its_status():
  others = watch.Others(1, 2)
  others.update(entries(0, sign="1 a", end="2 x is bad"), now=0)
  assert others.lost(1000, patience=30) == []
  assert others.verdict(4, patience=30, grace=5) is None
  assert others.verdict(5, patience=30, grace=5) == watch.End(
    2, "process 0 of 2 (host a) stopped: x is bad"
  )


def test_all_is_over_within_a_minute():
  times = (watch.SIGN_EVERY, watch.LOST_AFTER, watch.LOST_AFTER_FAILURE, watch.GRACE)
  assert times == (2, 30, 8, 5)
  assert watch.LOST_AFTER + 2 * watch.SIGN_EVERY + watch.GRACE + 2 * watch.SIGN_EVERY < 60
  assert watch.LOST_AFTER + 2 * watch.SIGN_EVERY < processes.HEARTBEAT_TIMEOUT < 55
  assert watch.LOST_AFTER_FAILURE > 3 * watch.SIGN_EVERY


@pytest.mark.parametrize(
  ("place", "text"),
  [
    (("localhost:1", 2, None), "without --process; .* all three, or --coordinator=auto"),
    (("localhost:1", None, 0), "without --processes;"),
    (("localhost", 2, 0), "--coordinator=localhost; allowed: HOST:PORT"),
    ((":1", 2, 0), "allowed: HOST:PORT"),
    (("localhost:1", 2, 2), "--process=2 --processes=2; allowed: 0 <= process < processes"),
    (("localhost:1", 2, -1), "--process=-1"),
    (("auto", 2, None), "--coordinator=auto is given with --processes"),
  ],
)
def test_places_that_cannot_be(place, text):
  with pytest.raises(InputError, match=text):
    Place(*place)


def test_a_single_process_connects_with_nobody():
  assert processes.run(None, lambda: 7, "") == 7
  with pytest.raises(InputError, match="as it is"):
    processes.run(None, lambda: (_ for _ in ()).throw(InputError("as it is")), "")
