"""Requests that are tried again, for how long, and errors of the libraries; without a server."""

import errno
import logging

import fsspec
import pytest

from cfi_jax.core.storage import requests


class Answer(Exception):
  """An error with attributes, as those of the libraries."""

  def __init__(self, text="", **attributes):
    super().__init__(text)
    vars(self).update(attributes)


@pytest.fixture
def waited(monkeypatch):
  """Seconds waited between tries, the longest that the dice allow; no file system is made."""
  waited = []
  monkeypatch.setattr(requests, "_filesystem", lambda scheme, process: scheme)
  monkeypatch.setattr(requests.time, "sleep", waited.append)
  monkeypatch.setattr(requests.random, "uniform", max)
  return waited


def fail(*given):
  raise TimeoutError


def test_four_tries_each_twice_as_long_after_the_last(waited):
  with pytest.raises(OSError, match=r"failed after several tries .TimeoutError"):
    requests.attempt("s3://b/k", fail)
  assert waited == [0.5, 1, 2]


def test_no_wait_is_longer_than_20_seconds(waited, monkeypatch):
  monkeypatch.setattr(requests, "TRIES", 8)
  with pytest.raises(OSError, match="failed"):
    requests.attempt("s3://b/k", fail)
  assert waited == [0.5, 1, 2, 4, 8, 16, 20]


def test_processes_do_not_try_again_at_the_same_time(waited, monkeypatch):
  monkeypatch.setattr(requests.random, "uniform", min)
  answers = [TimeoutError(), None]

  def work(fs, key):
    if error := answers.pop(0):
      raise error
    return fs, key

  assert requests.attempt("gs://b/k", work) == ("gs", "b/k") and waited == [0.25]


@pytest.mark.parametrize(
  ("error", "status"),
  [
    (Answer(response={"ResponseMetadata": {"HTTPStatusCode": 503}}), 503),
    (Answer(response={"ResponseMetadata": {}}), 0),
    (Answer(response={}), 0),
    (Answer(code="404"), 404),
    (Answer(code="NoSuchKey", status=410), 410),
    (Answer(code="", status="", status_code=412), 412),
    (Answer(), 0),
    (OSError(errno.EBUSY, "busy"), 503),
    (OSError(errno.EREMOTEIO, "remote"), 500),
    (OSError(errno.EIO, "other"), 0),
    (OSError("Forbidden: no"), 403),
    (OSError("not Forbidden"), 0),
    (ValueError("Forbidden: no"), 0),
  ],
)
def test_the_status_of_an_error_of_each_library(error, status):
  assert requests._status(error) == status


def explain(error, url="s3://b/k"):
  found, passes = requests._explain(error, url)
  assert found.filename == url
  return type(found), found.errno, found.strerror, passes


@pytest.mark.parametrize("code", range(400, 510))
def test_what_a_status_becomes(code):
  kind, number, text, passes = explain(Answer(code=code))
  assert not passes  # the libraries have tried
  if code == 404:
    assert (kind, number) == (FileNotFoundError, errno.ENOENT)
  elif code == 400:
    assert (kind, number) == (OSError, errno.EIO) and "refuses the request (HTTP 400)" in text
  elif code in (409, 412):
    assert (kind, number) == (FileExistsError, errno.EEXIST)
  elif code in (401, 403):
    assert (kind, number, text) == (PermissionError, errno.EACCES, f"no permission (HTTP {code})")
  else:
    after = " after several tries" * (code in (408, 425, 429, 500, 502, 503, 504))
    assert (kind, number, text) == (OSError, errno.EIO, f"the store failed{after} (HTTP {code})")


def test_errors_without_a_status():
  assert explain(FileNotFoundError())[0] is FileNotFoundError
  assert explain(FileExistsError())[0] is FileExistsError
  assert explain(PermissionError())[2] == "no permission (HTTP 403)"
  for name in ("NoCredentialsError", "DefaultCredentialsError", "PartialCredentialsError"):
    error = explain(type(name, (Exception,), {})())
    assert error[0] is PermissionError and error[2].startswith("no credentials were found")
  text = "s3fs cannot use its credentials, its settings or this name (ValueError; docs/buckets.md)"
  assert explain(ValueError())[2:] == (text, False)
  text = "the store failed after several tries (HTTP 429)"
  assert explain(Answer(code=429), "az://b/k")[2:] == (text, True)
  assert explain(Answer(code=503), "az://b/k")[3] is False
  # A server that answered is not asked again, whatever the kind of the error.
  assert explain(type("ProxyError", (Answer,), {})(code=400))[3] is False


@pytest.mark.parametrize(("depth", "found"), [(4, FileNotFoundError), (5, OSError)])
def test_the_cause_is_looked_for_five_errors_deep(depth, found):
  error = Answer(code=404)
  for k in range(depth):
    outer = ValueError(k)
    outer.__cause__ = error
    error = outer
  assert explain(error)[0] is found


@pytest.mark.parametrize(
  ("scheme", "options"),
  [
    ("gs", {"requests_timeout": 60}),
    ("s3", {"config_kwargs": {"read_timeout": 60, "connect_timeout": 10}}),
    ("az", {"read_timeout": 60, "connection_timeout": 10}),
  ],
)
def test_a_request_takes_a_minute_at_most(scheme, options, monkeypatch):
  monkeypatch.setattr(requests.importlib.util, "find_spec", lambda name: name)
  monkeypatch.setattr(fsspec, "filesystem", lambda *given, **options: (given, options))
  made = requests._filesystem.__wrapped__(scheme, 1)
  assert made == ((scheme,), {"use_listings_cache": False, **options})
  for name in requests._LOGGERS:  # which would report whole requests
    assert not logging.getLogger(name).isEnabledFor(logging.CRITICAL)
