"""Files that are whole or not there, and the folders they go to."""

import errno
import os
import pathlib
import types

import pytest

from cfi_jax.core import files, storage
from cfi_jax.core.types import InputError, KnownError, StorageError


def test_a_file_replaces_another_whole_and_may_be_read_by_all(tmp_path):
  path = tmp_path / "new" / "deep" / "x.txt"
  for content in (b"longer than", b"next"):
    files.write_atomically(path, content)
    assert path.read_bytes() == content
    assert path.stat().st_mode & 0o777 == 0o644
    assert [each.name for each in path.parent.iterdir()] == ["x.txt"]


def test_what_cannot_be_written_is_named_and_nothing_is_left(tmp_path):
  (tmp_path / "x").mkdir()
  with pytest.raises(InputError, match="x: cannot be written: Is a directory"):
    files.write_atomically(tmp_path / "x", b"")
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="below: cannot be written: File exists"):
    files.write_atomically(tmp_path / "file" / "below", b"")
  assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "x"]


def test_a_folder_may_be_there_or_not_yet(tmp_path, monkeypatch):
  files.require_folder(tmp_path)
  files.require_folder(tmp_path / "new" / "deep")
  monkeypatch.chdir(tmp_path)
  files.require_folder(tmp_path.relative_to(tmp_path) / "new")
  assert list(tmp_path.iterdir()) == []
  (tmp_path / "file").write_text("")
  for path in (tmp_path / "file", tmp_path / "file" / "below"):
    with pytest.raises(InputError, match="must be a folder, .*file is a file"):
      files.require_folder(path)


@pytest.mark.parametrize("lacking", [os.W_OK, os.X_OK])
def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch, lacking):
  monkeypatch.setattr(os, "access", lambda path, mode: not mode & lacking)
  with pytest.raises(InputError, match="new: the output cannot be written, no permission in"):
    files.require_folder(tmp_path / "new")


@pytest.mark.parametrize(
  ("error", "path", "kind", "text"),
  [
    (OSError(errno.ENOSPC, "full", "a.png"), "b", StorageError, "a.png: No space left on device"),
    (OSError(errno.EACCES, "no", b"a.png"), None, InputError, "a.png: Permission denied"),
    (OSError(errno.ENOTDIR, "no"), "b", InputError, "b: Not a directory"),
    (OSError(errno.EIO, "broken"), None, StorageError, "Input/output error"),
    (ValueError("x: Read-only file system [os]"), "b", StorageError, "b: Read-only file system"),
  ],
)
def test_accidents_of_the_file_system_are_the_users(error, path, kind, text):
  found = files.accident(error, path)
  assert type(found) is kind and str(found) == text


@pytest.mark.parametrize("error", [OSError(errno.EPIPE, "x"), ValueError("x"), OSError("words")])
def test_other_errors_may_be_the_programs(error):
  assert files.accident(error, "x") is None


def test_a_folder_whose_path_cannot_be_looked_at_is_named():
  with pytest.raises(InputError, match="x+: the output cannot be written: File name too long"):
    files.require_folder(pathlib.Path("x" * 300))


def test_an_interrupted_write_leaves_nothing_and_stays_an_interruption(tmp_path, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(files.os, "replace", interrupt)
  with pytest.raises(KeyboardInterrupt):
    files.write_atomically(tmp_path / "x", b"content")
  assert list(tmp_path.iterdir()) == []


@pytest.fixture
def bucket(monkeypatch):
  """A folder of a bucket, and what is done there; `fails` is raised by writing."""
  told = types.SimpleNamespace(path=storage.path("s3://b/out"), done=[], fails=None, is_file=False)

  def write(path, content):
    told.done.append(("write", str(path), content))
    if told.fails:
      raise told.fails

  monkeypatch.setattr(storage.BucketPath, "is_file", lambda path: told.is_file)
  monkeypatch.setattr(storage.BucketPath, "write_bytes", write)
  monkeypatch.setattr(
    storage.BucketPath, "unlink", lambda path: told.done.append(("unlink", str(path)))
  )
  return told


def test_whether_a_bucket_can_be_written_is_tried(bucket):
  files.require_folder(bucket.path)
  (_, probe, content), (_, removed) = bucket.done
  assert probe.startswith("s3://b/out/.cfi_jax-") and removed == probe and content == b""


@pytest.mark.parametrize(
  ("error", "text"),
  [
    (FileNotFoundError(2, "x"), "there is no such bucket"),
    (PermissionError(13, "no permission (HTTP 403)"), r"no permission \(HTTP 403\)"),
  ],
)
def test_a_bucket_that_cannot_be_written_is_named(bucket, error, text):
  bucket.fails = error
  with pytest.raises(InputError, match=f"s3://b/out: the output cannot be written: {text}$"):
    files.require_folder(bucket.path)


def test_an_object_is_no_folder(bucket):
  bucket.is_file = True
  with pytest.raises(InputError, match="s3://b/out: the output must be a folder, it is an object"):
    files.require_folder(bucket.path)
  assert bucket.done == []


def test_an_object_is_written_at_once(bucket):
  files.write_atomically("s3://b/out", b"x")
  assert bucket.done == [("write", "s3://b/out", b"x")]
  bucket.fails = OSError(errno.EIO, "the store failed (HTTP 500)")
  with pytest.raises(StorageError, match="s3://b/out: cannot be written: the store failed .HTTP"):
    files.write_atomically("s3://b/out", b"x")


@pytest.mark.parametrize(
  ("flag", "why"), [(os.ST_RDONLY, "a read-only file system"), (0, "no permission")]
)
def test_a_read_only_file_system_is_called_so(tmp_path, monkeypatch, flag, why):
  monkeypatch.setattr(os, "access", lambda path, mode: False)
  monkeypatch.setattr(os, "statvfs", lambda path: types.SimpleNamespace(f_flag=flag | 1024))
  with pytest.raises(InputError, match=f"cannot be written, {why} in {tmp_path}$"):
    files.require_folder(tmp_path / "new")


@pytest.mark.parametrize("make", [files.create, files._create_exclusively])
def test_whoever_makes_a_file_is_told_so_and_nobody_else(make, tmp_path):
  path, before = tmp_path / "lock", os.umask(0o022)
  try:
    assert make(path, b"whole") is True
    assert make(path, b"second") is False
  finally:
    os.umask(before)
  assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]
  assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_is_made_without_hard_links_too(tmp_path, monkeypatch):
  def refuse(*paths):
    raise OSError(38, "not here")

  monkeypatch.setattr(os, "link", refuse)
  path = tmp_path / "lock"
  assert files.create(path, b"whole") is True and files.create(path, b"second") is False
  assert path.read_bytes() == b"whole" and list(tmp_path.iterdir()) == [path]


def test_a_large_file_is_made_beside_its_place(tmp_path):
  path = tmp_path / "film.mkv"
  made = files.unfinished(path)
  assert made.parent == tmp_path and made.name == ".film.mkv.tmp"
  made.write_bytes(b"film")
  files.finish(made, path)
  assert path.read_bytes() == b"film" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_no_error_of_input():
  assert issubclass(StorageError, KnownError) and issubclass(InputError, KnownError)
  assert not issubclass(StorageError, InputError | ValueError | OSError)
