"""One process writes a workdir; what it leaves when it dies is taken over."""

import json
import os
import pathlib
import subprocess
import sys
import threading
import types

import pytest
from command_line import ROOT

from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir import lock
from cfi_jax.engine.workdir.lock import FILE, Lock

HOLDER = """
import pathlib, sys, time
from cfi_jax.engine.workdir.lock import Lock
with Lock(pathlib.Path(sys.argv[1])) as held:
  held.acquire()
  print("held", flush=True)
  sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
  """Another process that holds the lock of `tmp_path`."""
  process = subprocess.Popen(
    [sys.executable, "-c", HOLDER, str(tmp_path)],
    cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
  )  # fmt: skip
  assert process.stdout.readline() == "held\n"
  yield process
  process.kill()
  process.communicate()


@pytest.fixture
def waited(monkeypatch):
  """Seconds that are waited for a holder, on a clock that only waiting moves."""
  waited = []
  clock = types.SimpleNamespace(monotonic=lambda: sum(waited), sleep=waited.append)
  monkeypatch.setattr(lock, "time", clock)
  return waited


def pretend(tmp_path, **changes):
  """A lock as another process would have written it."""
  path = tmp_path / FILE
  path.write_text(json.dumps(lock._self() | {"token": "other"} | changes))
  return path


def test_a_second_process_is_refused_by_host_process_and_time(tmp_path, holder):
  found = json.loads((tmp_path / FILE).read_text())
  who = rf"process {holder.pid} on {found['host']} since {found['since'][:10]}"
  with Lock(tmp_path) as own, pytest.raises(InputError, match=f"is being written by {who}"):
    own.acquire()
  with pytest.raises(InputError, match=who):
    lock.check(tmp_path)
  assert json.loads((tmp_path / FILE).read_text()) == found
  holder.communicate("")
  assert not (tmp_path / FILE).exists()  # given back
  with Lock(tmp_path) as own:
    own.acquire()


def test_the_lock_of_a_killed_process_is_taken_over_at_once(tmp_path, holder, capsys):
  holder.kill()
  holder.wait()
  with Lock(tmp_path) as own:
    own.acquire()
    assert f"taken over from process {holder.pid}" in capsys.readouterr().out
    assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()
  assert list(tmp_path.iterdir()) == []


def test_a_lock_makes_its_workdir_and_is_gone_from_it_after(tmp_path):
  workdir = tmp_path / "deep" / "run"
  with Lock(workdir) as own:
    assert not workdir.exists()
    own.acquire()
    own.require()
    assert [path.name for path in workdir.iterdir()] == [FILE]
  assert list(workdir.iterdir()) == []


def test_a_process_that_reuses_the_number_is_another(tmp_path):
  pretend(tmp_path, started="12345")
  lock.check(tmp_path)
  assert not (tmp_path / FILE).exists()


def test_a_holder_elsewhere_is_dead_when_it_renews_no_more(tmp_path, monkeypatch):
  monkeypatch.setattr(lock, "SILENT_AFTER", 0.4)
  monkeypatch.setattr(lock, "RENEW_EVERY", 0.1)
  path = pretend(tmp_path, machine="another", host="node7", pid=3)
  lock.check(tmp_path)
  assert not path.exists()

  path = pretend(tmp_path, machine="another", host="node7", pid=3)
  stop = threading.Event()

  def renew():
    while not stop.wait(0.05):
      path.touch()

  alive = threading.Thread(target=renew)
  alive.start()
  try:
    with pytest.raises(InputError, match="process 3 on node7"):
      lock.check(tmp_path)
  finally:
    stop.set()
    alive.join()


def test_a_holder_elsewhere_has_half_a_minute_for_a_sign_of_life(tmp_path, waited, capsys):
  path = pretend(tmp_path, machine="another", host="node7", pid=3)
  lock.check(tmp_path)
  assert waited == [1.0] * 30 and not path.exists()
  said = capsys.readouterr().out.splitlines()
  assert said[0].startswith(f"{path}: held by process 3 on node7 since ")
  assert said[0].endswith("; waiting for a sign of life")
  assert said[1].startswith(f"{tmp_path}: taken over from process 3 on node7 since ")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")
def test_a_machine_is_a_boot_of_a_host_with_its_table_of_processes(monkeypatch):
  monkeypatch.setattr(lock.socket, "gethostname", lambda: "node7")
  host, boot, table = lock._machine().split(" ")
  assert host == "node7" and len(boot) == 36 and table.startswith("pid:[")

  def refuse(path):
    raise OSError

  monkeypatch.setattr(lock.os, "readlink", refuse)
  assert lock._machine() == f"node7 {boot}"


def test_a_holder_renews_its_lock(tmp_path, monkeypatch):
  monkeypatch.setattr(lock, "RENEW_EVERY", 0.02)
  with Lock(tmp_path) as own:
    own.acquire()
    path = tmp_path / FILE
    first = lock._renewed(path)
    deadline = threading.Event()
    assert any(lock._renewed(path) != first for _ in range(200) if not deadline.wait(0.02))


def test_one_of_many_takes_it(tmp_path):
  code = HOLDER.replace(
    'print("held", flush=True)\n  sys.stdin.read()', 'print("held"); time.sleep(3)'
  )
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", code, str(tmp_path)],
      cwd=ROOT,
      stdout=subprocess.PIPE,
      stderr=subprocess.PIPE,
      text=True,
    )  # fmt: skip
    for _ in range(4)
  ]
  ends = [process.communicate() for process in processes]
  held = [out for out, _ in ends if "held" in out]
  assert len(held) >= 1
  for out, error in ends:
    assert ("held" in out) != ("is being written by process" in error), (out, error)


def test_works_without_hard_links(tmp_path, monkeypatch):
  def refuse(*paths):
    raise OSError(38, "not here")

  monkeypatch.setattr(os, "link", refuse)
  with Lock(tmp_path) as own:
    own.acquire()
    with Lock(tmp_path) as other, pytest.raises(InputError, match=f"process {os.getpid()}"):
      other.acquire()
  assert list(tmp_path.iterdir()) == []


def test_a_lock_that_goes_while_it_is_given_back_is_no_error(tmp_path, monkeypatch):
  with Lock(tmp_path) as own:
    own.acquire()
    (tmp_path / FILE).unlink()
    monkeypatch.setattr(lock, "_read", lambda path: {"token": own._token})


def test_a_lock_that_is_gone_already_is_no_error(tmp_path):
  with Lock(tmp_path) as own:
    own.acquire()
    (tmp_path / FILE).unlink()
  assert lock._read(tmp_path / FILE) == {}


def test_another_token_is_left_alone(tmp_path):
  with Lock(tmp_path) as own:
    own.acquire()
    path = pretend(tmp_path, pid=1)
  assert json.loads(path.read_text())["pid"] == 1


def test_a_damaged_lock_names_what_is_known(tmp_path, waited, capsys):
  (tmp_path / FILE).write_text("{")
  lock.check(tmp_path)
  assert "held by process unknown on unknown since unknown;" in capsys.readouterr().out
  assert not (tmp_path / FILE).exists()


@pytest.mark.parametrize(("late", "pid"), [(0, 7), (19, 7), (20, "unknown")])
def test_the_first_bytes_of_a_lock_are_waited_for_two_seconds(waited, late, pid):
  contents = ["{"] * late + ['{"pid": 7}']
  path = types.SimpleNamespace(read_text=lambda: contents.pop(0))
  assert lock._read(path)["pid"] == pid
  assert waited == [0.1] * late


def test_a_workdir_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / "file").write_text("")
  own = Lock(pathlib.Path(tmp_path, "file", "run"))
  with own, pytest.raises(InputError, match="cannot be written"):
    own.acquire()


def test_a_holder_that_lost_its_lock_notices(tmp_path, monkeypatch):
  monkeypatch.setattr(lock, "RENEW_EVERY", 0.02)
  with Lock(tmp_path) as own:
    own.acquire()
    own.require()
    pretend(tmp_path, pid=7, host="node9")
    assert own._lost.wait(5)
    with pytest.raises(InputError, match="was taken over by process 7 on node9"):
      own.require()


@pytest.mark.parametrize("content", ['"x"', "[]", "{}", '{"machine": 1, "pid": "a"}', "\xff"])
def test_a_lock_that_names_nobody_is_taken_over(tmp_path, waited, content):
  (tmp_path / FILE).write_bytes(content.encode("latin-1"))
  with Lock(tmp_path) as own:
    own.acquire()


@pytest.mark.parametrize(
  ("error", "started"), [(None, ""), (ProcessLookupError(), None), (PermissionError(), "")]
)
def test_without_proc_a_process_lives_or_does_not(monkeypatch, error, started):
  def kill(pid, number):
    assert (pid, number) == (7, 0)
    if error:
      raise error

  monkeypatch.setattr(lock.pathlib.Path, "exists", lambda path: False)
  monkeypatch.setattr(lock.os, "kill", kill)
  assert lock._started(7) == started


def test_the_lock_of_a_new_holder_is_given_back(tmp_path):
  path = pretend(tmp_path, token="new")
  content = path.read_bytes()
  lock._remove(path, {"token": "dead"})
  assert path.read_bytes() == content and list(tmp_path.iterdir()) == [path]
  lock._remove(path, {"token": "new"})
  lock._remove(path, {"token": "new"})  # another process was faster
  assert list(tmp_path.iterdir()) == [] and lock._renewed(path) is None


def test_the_end_waits_for_the_last_renewal(tmp_path):
  seen = []
  with Lock(tmp_path) as own:
    own.acquire()
    assert own._thread.daemon
    own._thread = types.SimpleNamespace(join=lambda: seen.append((tmp_path / FILE).exists()))
  assert seen == [True] and not (tmp_path / FILE).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells")
def test_the_start_of_a_process_is_told_in_ticks():
  _, _, fields = pathlib.Path("/proc/self/stat").read_text().rpartition(")")
  assert lock._started(os.getpid()) == fields.split()[22 - 3]  # the 22nd, of which two are gone


def test_a_lock_that_goes_while_it_is_watched_is_held_by_nobody(tmp_path, waited, monkeypatch):
  path = pretend(tmp_path, machine="another")
  holder = lock._read(path)
  assert lock._lives(path, holder, "who") is False and len(waited) == 30
  monkeypatch.setattr(lock.time, "sleep", lambda seconds: path.unlink())
  assert lock._lives(path, holder, "who") is False
