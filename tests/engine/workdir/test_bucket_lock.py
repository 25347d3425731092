"""The lock of a workdir in a bucket: an object, and another beside it that is written anew."""

import json
import os
import threading

import pytest

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir import lock
from cfi_jax.engine.workdir.lock import FILE, Lock

RUN = storage.path("s3://b/run")


def test_the_lock_of_a_bucket_is_renewed_by_an_object_beside_it(objects, monkeypatch):
  monkeypatch.setattr(lock, "RENEW_EVERY", 0.01)
  pause = threading.Event()
  with Lock(RUN) as own:
    own.acquire()
    assert json.loads(objects["b/run/run.lock"])["token"] == own._token
    sign = f"run.lock.{own._token}"
    assert any(sign in objects.done for _ in range(500) if not pause.wait(0.01))
    with pytest.raises(InputError, match=f"is being written by process {os.getpid()}"):
      lock.check(RUN)
    own.require()
  assert not objects and objects.done.count("run.lock") == 1
  monkeypatch.setattr(lock, "RENEW_EVERY", 60)
  with Lock(RUN) as own:  # which never was renewed
    own.acquire()
  assert not objects


def test_a_holder_in_a_bucket_that_lost_its_lock_writes_no_more(objects, monkeypatch):
  monkeypatch.setattr(lock, "RENEW_EVERY", 0.01)
  with Lock(RUN) as own:
    own.acquire()
    objects["b/run/run.lock"] = b'{"token": "other", "pid": 7}'
    assert own._lost.wait(5)
    with pytest.raises(InputError, match="s3://b/run was taken over by process 7"):
      own.require()
  assert [*objects] == ["b/run/run.lock"]


def test_a_lock_of_a_bucket_is_as_new_as_its_sign_or_itself(objects):
  path = RUN / FILE
  assert lock._renewed(path) is None
  for name, seconds in (("run.lock", 5), ("run.lock.t", 7)):
    objects[f"b/run/{name}"] = b'{"token": "t"}'
    objects.times[f"b/run/{name}"] = seconds
    assert lock._renewed(path) == seconds * 10**9


@pytest.mark.parametrize("signed", [False, True])
def test_of_a_dead_holder_in_a_bucket_lock_and_sign_go(objects, monkeypatch, signed):
  objects["b/run/run.lock"] = b'{"token": "t"}'
  if signed:
    objects["b/run/run.lock.t"] = b""
  before = dict(objects)
  lock._remove(RUN / FILE, {"token": "dead"})
  assert objects == before
  lock._remove(RUN / FILE, {"token": "t"})
  assert not objects
  monkeypatch.setattr(lock, "_read", lambda path: {"token": "t"})
  lock._remove(RUN / FILE, {"token": "t"})  # another process was faster
