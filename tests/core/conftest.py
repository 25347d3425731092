"""A bucket that is a dict."""

import pytest

from cfi_jax.core.storage import cache, listing, requests


class Memory:
  """A file system of fsspec's kind with its objects in a dict; the next calls raise `errors`."""

  def __init__(self, **objects: bytes):
    """Holds objects by key."""
    self.objects = objects
    self.errors: list[Exception] = []
    self.calls: list[tuple] = []

  def _begin(self, *call):
    self.calls.append(call)
    if self.errors:
      raise self.errors.pop(0)

  def info(self, key):
    """Size of an object, or that there is a folder."""
    self._begin("info", key)
    if key in self.objects:
      return self._describe(key)
    if any(other.startswith(f"{key}/") for other in self.objects):
      return {"name": key, "type": "directory", "size": 0}
    raise FileNotFoundError(key)

  def _describe(self, key):
    content = self.objects[key]
    return {
      "name": key,
      "type": "file",
      "size": len(content),
      "updated": 7,
      "etag": str(hash(content)),
    }

  def split_path(self, key):
    """Bucket, key and version."""
    return *key.partition("/")[::2], None

  req_kw: dict = {}

  def call_s3(self, method, Bucket, Prefix, ContinuationToken="0"):
    """A page of two objects below a prefix."""
    self._begin("list", f"{Bucket}/{Prefix}")
    keys = sorted(k for k in self.objects if k.startswith(f"{Bucket}/{Prefix}"))
    first = int(ContinuationToken)
    page = [{"Key": k.partition("/")[2], **self._describe(k)} for k in keys[first : first + 2]]
    last = first + 2 >= len(keys)
    return {"Contents": page} | ({} if last else {"NextContinuationToken": str(first + 2)})

  def cat_file(self, key, start=None, end=None):
    """The content, or a part."""
    self._begin("cat_file", key, start, end)
    return self.objects[key][start:end]

  def pipe_file(self, key, content, mode="overwrite"):
    """Writes an object."""
    if mode == "create" and key in self.objects:
      raise FileExistsError(key)
    self.objects[key] = content
    self._begin("pipe_file", key)  # an answer that is lost comes after the work

  def rm_file(self, key):
    """Removes an object."""
    self._begin("rm_file", key)
    if key not in self.objects:
      raise FileNotFoundError(key)
    del self.objects[key]


@pytest.fixture
def memory(monkeypatch, tmp_path):
  """The one file system of s3://, and an empty cache."""
  made = Memory()
  monkeypatch.setattr(requests, "_filesystem", lambda scheme, process: made)
  monkeypatch.setattr(requests, "FIRST_WAIT", 0.0)
  monkeypatch.setattr(listing, "_listings", {})
  monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
  return made
