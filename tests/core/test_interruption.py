"""Ctrl-C in a command, at its worst moments: one line and status 130, no traceback."""

import os
import signal
import subprocess
import sys

import pytest

from cfi_jax.core import interruption

INTERRUPT = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n"


def end(arguments, tmp_path):
  """Status and stderr of Python with what lies in a folder before all other modules."""
  path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
  done = subprocess.run(
    [sys.executable, *arguments],
    env=os.environ | {"PYTHONPATH": path},
    cwd=tmp_path,
    capture_output=True,
    text=True,
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
  )
  return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["cfi_jax", "cfi_jax.fuse", "cfi_jax.main", "cfi_jax.check"])
def test_ctrl_c_while_a_command_is_imported_is_one_line(tmp_path, command):
  (tmp_path / "absl").mkdir()
  (tmp_path / "absl" / "__init__.py").write_text(INTERRUPT)
  arguments = ["-m", command, *(["fuse"] if command == "cfi_jax" else [])]
  assert end(arguments, tmp_path) == (130, "interrupted\n")


def test_others_that_import_the_package_hear_ctrl_c_as_before(tmp_path):
  (tmp_path / "work.py").write_text(f"import cfi_jax\n{INTERRUPT}")
  for arguments in (["work.py"], ["-m", "work"], ["work.py", "-m"]):
    status, said = end(arguments, tmp_path)
    assert status == -signal.SIGINT and said.endswith("KeyboardInterrupt\n")


HEARD = """
import os, signal, sys, threading
from cfi_jax.core import interruption
if sys.argv[1] == "ignored":
  signal.signal(signal.SIGINT, signal.SIG_IGN)
interruption.hear()
for _ in range(2):
  try:
    os.kill(os.getpid(), signal.SIGINT)
  except KeyboardInterrupt:
    print("put away", file=sys.stderr, flush=True)
print("goes on", file=sys.stderr)
"""


def test_a_first_ctrl_c_puts_work_away_and_a_second_does_not(tmp_path):
  assert end(["-c", HEARD, "heard"], tmp_path) == (130, "put away\ninterrupted\n")


def test_an_ignored_ctrl_c_stays_ignored(tmp_path):
  assert end(["-c", HEARD, "ignored"], tmp_path) == (0, "goes on\n")


@pytest.mark.parametrize(
  ("given", "program", "is_ours"),
  [
    (["python", "-m", "cfi_jax.fuse", "--output=x"], "-m", True),
    (["python", "-X", "dev", "-m", "cfi_jax"], "-m", True),
    (["python", "/usr/bin/cfi-jax", "fuse"], "/usr/bin/cfi-jax", True),
    (["python", "-m", "cfi_jaxes"], "-m", False),
    (["python", "-m"], "-m", False),
    (["python", "main.py"], "main.py", False),
    (["python", "/usr/bin/pytest", "-m", "cfi_jax"], "/usr/bin/pytest", False),
    (["python", "-c", "import cfi_jax", "-m", "cfi_jax"], "-c", False),
    ([], None, False),
  ],
)
def test_a_command_is_known_by_how_python_was_started(monkeypatch, given, program, is_ours):
  monkeypatch.setattr(sys, "orig_argv", given)
  monkeypatch.setattr(sys, "argv", [] if program is None else [program])  # in a host: none
  assert interruption.is_command() == is_ours
