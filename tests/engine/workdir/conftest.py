"""A bucket that is a dict, for workdirs there."""

import pathlib

import pytest

from cfi_jax.core.storage import listing, requests


class Objects(dict):
  """A file system as `core.storage` uses those of fsspec, of objects by key; notes writes."""

  def __init__(self):
    """Begins empty."""
    self.done, self.broken, self.times = [], False, {}

  def _describe(self, key):
    time = self.times.get(key, 1000.0 + len(key))
    return {"name": key, "type": "file", "size": len(self[key]), "mtime": time}

  def info(self, key):
    """Size of an object, or that there is a folder."""
    if key in self:
      return self._describe(key)
    if any(other.startswith(f"{key}/") for other in self):
      return {"name": key, "type": "directory", "size": 0}
    raise FileNotFoundError(key)

  req_kw: dict = {}

  def split_path(self, key):
    """Bucket, key and version."""
    return *key.partition("/")[::2], None

  def call_s3(self, method, Bucket, Prefix):
    """All objects below a prefix."""
    found = sorted(key for key in self if key.startswith(f"{Bucket}/{Prefix}"))
    return {"Contents": [{"Key": k.partition("/")[2], **self._describe(k)} for k in found]}

  def cat_file(self, key, start=None, end=None):
    """The content, or a part."""
    if key not in self:
      raise FileNotFoundError(key)
    return self[key][start:end]

  def pipe_file(self, key, content, mode="overwrite"):
    """Writes an object."""
    if self.broken:
      raise PermissionError(key)
    if mode == "create" and key in self:
      raise FileExistsError(key)
    self.done.append(key.removeprefix("b/run/"))
    self[key] = content

  def put_file(self, file, key):
    """Writes an object of the content of a file."""
    self.pipe_file(key, pathlib.Path(file).read_bytes())

  def rm_file(self, key):
    """Removes an object."""
    if key not in self:
      raise FileNotFoundError(key)
    del self[key]
    self.done.append("-" + key.removeprefix("b/run/"))


@pytest.fixture
def objects(monkeypatch):
  """The one bucket."""
  made = Objects()
  monkeypatch.setattr(requests, "_filesystem", lambda scheme, process: made)
  monkeypatch.setattr(listing, "_listings", {})
  return made
