"""Paths, requests and the cache of buckets, without a server."""

import contextlib
import copy
import errno
import importlib.util
import io
import os
import pathlib
import pickle
import re
import subprocess
import sys
import tokenize

import pytest

from cfi_jax.core import cli, files, storage
from cfi_jax.core.storage import cache, listing, requests
from cfi_jax.core.types import InputError, KnownError, StorageError

ROOT = pathlib.Path(__file__).parents[2]
SECRETS = ("hunter2", "sig=", "AKIA")


class Refused(Exception):
  """An error with an HTTP status, as some libraries have it; its text shows a secret."""

  def __init__(self, code):
    """Takes the status."""
    super().__init__("https://host/key?sig=AKIA-hunter2")
    self.code = code


def test_a_path_of_a_bucket_is_taken_apart_like_a_local_one():
  path, local = storage.path("gs://data/a/b.tar.gz"), pathlib.Path("/data/a/b.tar.gz")
  for name in ("name", "stem", "suffix", "suffixes"):
    assert getattr(path, name) == getattr(local, name)
  assert str(path.parent) == "gs://data/a" and os.fspath(path / "c" / "d") == f"{path}/c/d"
  assert [str(p) for p in path.parents] == ["gs://data/a", "gs://data"]
  assert str(path.with_name("x.png")) == "gs://data/a/x.png" == str(path.parent / "x.png")
  assert path.is_relative_to(path.parent) and not path.is_relative_to(storage.path("s3://data/a"))
  assert path.resolve() == path == pickle.loads(pickle.dumps(path)) == copy.copy(path)
  assert str(path.relative_to(path.parents[1])) == "a/b.tar.gz"
  assert path not in (local, pathlib.Path(os.fspath(path))) and not hasattr(path, "chmod")
  assert str(storage.path("gs://data/a/")) == "gs://data/a"


def test_local_paths_stay_those_of_pathlib(tmp_path):
  assert storage.path("a/b") == pathlib.Path("a/b") and type(storage.path("/a")) is type(tmp_path)
  assert storage.path(os.sep, "a", "/b/c") == pathlib.Path("/b/c")
  assert (
    storage.join("/root", "s3://b/x") == "s3://b/x" and storage.join("s3://b", "x") == "s3://b/x"
  )
  assert storage.local(tmp_path) == tmp_path and storage.real(str(tmp_path)) == os.path.realpath(
    tmp_path
  )
  (tmp_path / "f").write_bytes(b"1")
  assert [e.name for e in storage.entries(str(tmp_path))] == ["f"]
  assert storage.open_binary(tmp_path / "f").read() == storage.peek(tmp_path / "f").read() == b"1"


@pytest.mark.parametrize(
  "text",
  (
    "s3://AKIA:hunter2@b/x",
    "gs://b/x?sig=1",
    "gs://hunter2@b/x",
    "https://h/x?sig=1",
    "s3://",
    "https://host/x",
    "file:///x",
    "s3://b/x/../y",
  ),
)
def test_users_queries_and_other_schemes_are_refused_and_not_shown(text, capsys):
  with pytest.raises(InputError) as caught:
    storage.path(text)
  flags = {"output": cli.Flag("folder")}
  given = [f"--output={text}"], ["--output", text], [f"--unknown=a:{text}"]
  for arguments in given if any(secret in text for secret in SECRETS) else ():
    assert cli.status(lambda given: 0, flags, "", arguments) == 2
  shown = str(caught.value) + capsys.readouterr().err
  assert "allowed" in shown and not any(secret in shown for secret in SECRETS)


@pytest.mark.parametrize(
  ("error", "kind", "word"),
  (
    (FileNotFoundError("x"), FileNotFoundError, "No such file"),
    (Refused(404), FileNotFoundError, "No such file"),
    (Refused(403), PermissionError, "no permission"),
    (PermissionError("x"), PermissionError, "no permission"),
    (Refused(412), FileExistsError, "exists"),
    (type("NoCredentialsError", (Exception,), {})("AKIA"), PermissionError, "no credentials"),
    (Refused(400), OSError, "the store refuses the request (HTTP 400), as for a name"),
    (ValueError("AKIA"), OSError, "s3fs cannot use its credentials, its settings or this name (Va"),
    (OSError(errno.EBUSY, "SlowDown"), OSError, "several tries (HTTP 503)"),
  ),
)
def test_errors_that_stay_are_told_at_once_and_name_the_object(memory, error, kind, word):
  memory.errors = [error]
  with pytest.raises(kind) as caught:
    storage.path("s3://b/key").read_bytes()
  assert caught.value.filename == "s3://b/key" and word in str(caught.value)
  assert len(memory.calls) == 1 and not any(s in str(caught.value) for s in SECRETS)
  assert isinstance(files.accident(caught.value), KnownError) or kind is FileNotFoundError


@pytest.mark.parametrize(
  "error",
  (TimeoutError(), type("ClientPayloadError", (Exception,), {})("cut"),
   ConnectionResetError()),
)  # fmt: skip
def test_errors_that_pass_are_tried_again_and_then_told(memory, error):
  memory.objects["b/key"] = b"1"
  memory.errors = [error] * (requests.TRIES - 1)
  assert storage.path("s3://b/key").read_bytes() == b"1" and len(memory.calls) == requests.TRIES
  memory.errors = [error] * requests.TRIES
  with pytest.raises(OSError, match="the store failed after several tries") as caught:
    storage.path("s3://b/key").read_bytes()
  assert str(files.accident(caught.value)).startswith("s3://b/key: the store failed after")


def test_too_many_requests_are_tried_again_where_the_library_does_not(memory):
  memory.objects["b/key"] = b"1"
  for scheme, calls in (("s3", 1), ("az", 2)):
    memory.errors, memory.calls = [Refused(429)], []
    with contextlib.nullcontext() if calls == 2 else pytest.raises(OSError, match="HTTP 429"):
      storage.path(f"{scheme}://b/key").read_bytes()
    assert len(memory.calls) == calls


def test_a_write_that_fails_is_a_storage_error_that_names_the_object(memory):
  memory.errors = [Refused(503)]
  with pytest.raises(StorageError, match=r"^s3://b/key: cannot be .*several tries .HTTP 503"):
    files.write_atomically("s3://b/key", b"1")
  memory.errors = [Refused(403)]
  with pytest.raises(InputError, match=r"^s3://b/key: cannot be written: no permission"):
    files.write_atomically("s3://b/key", b"1")
  memory.errors = [Refused(403)]
  with pytest.raises(InputError, match="s3://b/out: the output cannot be written: no permission"):
    files.require_folder(storage.path("s3://b/out"))
  files.require_folder(storage.path("s3://b/out"))
  assert not any("out" in key for key in memory.objects)


def test_one_of_several_makes_an_object_and_a_lost_answer_is_known_by_the_content(memory):
  path = storage.path("s3://b/lock")
  memory.errors = [TimeoutError()]  # comes after the object was made
  assert files.create(path, b"mine") and not files.create(path, b"other")
  assert memory.objects["b/lock"] == b"mine"


def test_a_folder_is_listed_once_until_something_is_written_there(memory):
  memory.objects |= {
    "b/d/x/2": b"22",
    "b/d/x/1": b"1",
    "b/d/y/3": b"3",
    "b/d/console/": b"",
    "b/e": b"",
  }
  assert [(e.name, e.is_dir()) for e in storage.entries("s3://b/d")] == [("x", True), ("y", True)]
  assert [storage.size(e) for e in storage.entries("s3://b/d/x/")] == [1, 2]
  assert [str(p) for p in storage.files_below(storage.path("s3://b/d"))] == [
    "s3://b/d/x/1", "s3://b/d/x/2", "s3://b/d/y/3"
  ]  # fmt: skip
  assert [call[0] for call in memory.calls] == ["list"] * 2
  storage.path("s3://b/d/x/4").write_bytes(b"")
  assert len(storage.entries("s3://b/d/x")) == 3
  found = listing.listings()
  memory.objects.clear()
  listing.forget("s3://b/d/x")
  listing.take_listings(found)
  assert len(storage.entries("s3://b/d/x")) == 3 and listing.listings() == found
  with pytest.raises(FileNotFoundError):
    storage.entries("s3://b/d/x/nothing")


def test_a_name_that_would_be_a_query_is_refused_before_work(memory):
  memory.objects |= {"b/d/1.png": b"1", "b/d/is this?.png": b"2"}
  with pytest.raises(InputError, match=r"^s3://b/d: holds 'is this\?.png'; allowed: names"):
    storage.entries("s3://b/d")


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_a_name_that_no_path_has_is_refused_and_nothing_is_written_beside_a_folder(memory, name):
  memory.objects |= {"b/d/1.png": b"1", f"b/d/x/{name}/../evil": b"2"}
  with pytest.raises(InputError, match=f"^s3://b/d/x: holds '{name}'; allowed: names"):
    list(storage.files_below(storage.path("s3://b/d")))
  with pytest.raises(InputError, match="holds"):
    storage.local("s3://b/d")


def test_a_folder_goes_before_an_object_of_its_name(memory):
  memory.objects |= {"b/d/x": b"", "b/d/x/1": b"1", "b/d/y-/1": b"1", "b/d/y": b"2"}
  found = storage.entries("s3://b/d")
  assert [(e.name, e.is_dir()) for e in found] == [("x", True), ("y", False), ("y-", True)]
  assert [storage.size(e) for e in storage.entries("s3://b/d/x")] == [1]


def test_an_object_is_fetched_once_and_anew_when_it_changes(memory):
  memory.objects["b/k.png"] = b"one"
  storage.entries("s3://b")
  assert storage.open_binary("s3://b/k.png").read() == storage.open_binary("s3://b/k.png").read()
  assert storage.local("s3://b/k.png").suffix == ".png"
  assert [call[0] for call in memory.calls] == ["list", "cat_file"]
  memory.objects["b/a.b.nii.gz"] = b"scan"  # after the listing
  assert storage.local("s3://b/a.b.nii.gz").suffixes == [".nii", ".gz"]
  storage.path("s3://b/k.png").write_bytes(b"other")
  assert storage.open_binary("s3://b/k.png").read() == b"other"


def answer(memory, monkeypatch, *contents):
  """Makes the store give these contents in turn, the last one for good; returns those to come."""
  left = list(contents)
  monkeypatch.setattr(
    memory,
    "cat_file",
    lambda key, start=None, end=None: left.pop(0) if len(left) > 1 else left[0],
  )
  return left


def kept_files():
  """The files in the cache, without what is being fetched."""
  return [file for file in cache.folder().glob("??/*") if file.suffix != cache.PART]


def test_what_arrives_short_is_fetched_again_and_never_kept(memory, monkeypatch):
  memory.objects["b/k"] = b"whole"
  left = answer(memory, monkeypatch, b"who", b"whole")
  assert storage.open_binary("s3://b/k").read() == b"whole" and left == [b"whole"]
  memory.objects["b/l"] = b"whole"
  answer(memory, monkeypatch, b"who")
  with pytest.raises(InputError, match="s3://b/l: is not as it was listed .5 bytes; now 3"):
    storage.open_binary("s3://b/l")
  memory.objects["b/m"] = b"whole"
  left = answer(memory, monkeypatch, b"w", b"wh", b"who", b"whole")  # three times, no more
  with pytest.raises(InputError, match="s3://b/m: is not as it was listed"):
    storage.open_binary("s3://b/m")
  assert left == [b"whole"]
  assert len(kept_files()) == 1 and not list(cache.folder().rglob("*.part"))


def test_a_hash_that_differs_is_fetched_again(memory, monkeypatch):
  right = {"etag": "e", "md5Hash": "XUFAKrxLKna5cZ2REBfFkg=="}  # of b"hello"
  monkeypatch.setattr(memory, "_describe", lambda k: {"name": k, "type": "file", "size": 5} | right)
  memory.objects["b/k"] = b"hello"
  left = answer(memory, monkeypatch, b"jello", b"hello")
  assert storage.open_binary("s3://b/k").read() == b"hello" and left == [b"hello"]
  # A store that encrypts tells another hash, and always gives the same bytes.
  memory.objects["b/l"] = b"jello"
  answer(memory, monkeypatch, b"jello")
  assert storage.open_binary("s3://b/l").read() == b"jello"
  memory.objects["b/n"] = b"jello"
  answer(memory, monkeypatch, b"jel", b"jello")  # cut off at first
  assert storage.open_binary("s3://b/n").read() == b"jello"
  # One that was written anew since it was listed does so, too.
  memory.objects["b/d/m"] = b"hello"
  storage.entries("s3://b/d")
  right["etag"] = "f"
  with pytest.raises(InputError, match="s3://b/d/m: is not as it was listed .5 bytes"):
    storage.open_binary("s3://b/d/m")


def change_after(memory, read, key):
  """Reading that is followed by another version of an object."""

  def change(asked, start=None, end=None):
    found = read(asked, start, end)
    memory.objects[key] = b"new!"
    return found

  return change


def test_parts_of_two_versions_of_a_large_object_make_no_file(memory, monkeypatch):
  monkeypatch.setattr(cache, "CHUNK", 2)
  memory.objects["b/d/k"] = b"old!"  # of which the store tells no hash
  storage.entries("s3://b/d")
  read = memory.cat_file
  monkeypatch.setattr(memory, "cat_file", change_after(memory, read, "b/d/k"))
  with pytest.raises(InputError, match="s3://b/d/k: is not as it was listed"):
    storage.open_binary("s3://b/d/k")
  assert not kept_files()
  listing.forget("s3://b/d/k")
  assert storage.open_binary("s3://b/d/k").read() == b"new!"
  monkeypatch.setattr(cache, "CHUNK", 4)  # in one piece it is of one version
  memory.objects["b/d/l"] = b"old!"
  storage.entries("s3://b/d")
  monkeypatch.setattr(memory, "cat_file", change_after(memory, read, "b/d/l"))
  assert storage.open_binary("s3://b/d/l").read() == b"old!"


def test_the_cache_keeps_to_its_size_and_drops_what_was_used_longest_ago(memory, monkeypatch):
  monkeypatch.setenv(cache.BOUND, "1e-6")  # 1000 bytes
  for k in range(8):
    memory.objects[f"b/{k}"] = bytes([k]) * 200
    file = storage.open_binary(f"s3://b/{k}")
    kept = cache._kept(storage.path(f"s3://b/{k}"), storage.path(f"s3://b/{k}").stat())
    os.utime(kept, (k, k))
    assert sum(f.stat().st_size for f in kept_files()) <= 1000
    assert kept.exists() and file.read() == bytes([k]) * 200
  monkeypatch.setenv(cache.BOUND, "nothing")
  with pytest.raises(InputError, match="CFI_JAX_CACHE_GB=nothing: not a number"):
    cache.bound()


def test_processes_that_share_a_cache_keep_to_its_size_together(memory, monkeypatch):
  monkeypatch.setenv(cache.BOUND, "1e-6")  # 1000 bytes
  memory.objects |= {f"b/{k}": bytes(10 if k < 16 else 80) for k in range(32)}

  processes = []
  for _ in range(16):  # a copy of the module each, as processes have one
    spec = importlib.util.find_spec(cache.__name__)
    processes.append(importlib.util.module_from_spec(spec))
    spec.loader.exec_module(processes[-1])
  for first in (0, 16):  # at first all is free
    for k, process in enumerate(processes):
      process.open_binary(f"s3://b/{first + k}").close()
  assert 800 <= sum(f.stat().st_size for f in kept_files()) <= 1000
  (cache.folder() / "locks" / "room").write_text("cut o")  # its sum is made anew
  memory.objects["b/x"] = bytes(900)
  storage.open_binary("s3://b/x").close()
  assert [f.stat().st_size for f in kept_files()] == [900]


def test_a_file_that_another_process_drops_at_once_is_read_all_the_same(memory, monkeypatch):
  memory.objects["b/k"] = b"content"
  replace = os.replace
  monkeypatch.setattr(os, "replace", lambda made, to: (replace(made, to), os.unlink(to)))
  assert storage.open_binary("s3://b/k").read() == b"content"


def test_a_cache_that_takes_nothing_is_told_of_itself_not_of_an_object(
  memory, monkeypatch, tmp_path
):
  memory.objects |= {"b/d/k": b"content", "b/d/l": b"content"}
  (tmp_path / "file").write_bytes(b"")
  monkeypatch.setenv(cache.FOLDER, str(tmp_path / "file"))
  with pytest.raises(StorageError, match=f"^{tmp_path}/file: what is fetched cannot .* Not a dir"):
    storage.open_binary("s3://b/d/k")
  monkeypatch.setenv(cache.FOLDER, str(tmp_path / "other"))

  class Full(io.BytesIO):
    def write(self, content):
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

  opened = pathlib.Path.open
  monkeypatch.setattr(
    pathlib.Path, "open", lambda p, mode="r": Full() if mode == "r+b" else opened(p, mode)
  )
  with pytest.raises(StorageError, match=f"^{tmp_path}/other: .* No space.*; CFI_JAX_CACHE names"):
    storage.open_binary("s3://b/d/k")
  monkeypatch.setattr(pathlib.Path, "open", opened)
  memory.errors = [Refused(403)] * 2  # of the store
  with pytest.raises(PermissionError, match="no permission"):
    storage.open_binary("s3://b/d/k")


def test_of_a_large_object_a_look_reads_parts_alone(memory):
  memory.objects["b/k"] = bytes(range(256)) * 4096
  with storage.peek("s3://b/k") as file:
    head = file.read(8)
    file.seek(-8, os.SEEK_END)
    assert head == bytes(range(8)) and file.read() == bytes(range(248, 256)) and file.read() == b""
  asked = [end - start for name, _, start, end in (c for c in memory.calls if c[0] == "cat_file")]
  assert sum(asked) <= 2 * cache.BLOCK
  storage.open_binary("s3://b/k").close()
  calls = len(memory.calls)
  assert storage.peek("s3://b/k").read() == memory.objects["b/k"]
  assert [c for c in memory.calls[calls:] if c[0] == "cat_file"] == []


def test_a_folder_of_a_bucket_becomes_one_of_this_machine(memory):
  memory.objects |= {"b/d/x/1": b"1", "b/d/2": b"2", "b/d/3": b"3"}
  folder = storage.local("s3://b/d")
  assert (folder / "x" / "1").read_bytes() == b"1" and (folder / "2").read_bytes() == b"2"


def test_large_files_get_their_name_when_they_are_whole(memory, tmp_path, monkeypatch):
  monkeypatch.setattr(
    memory,
    "put_file",
    lambda f, k: memory.pipe_file(k, pathlib.Path(f).read_bytes()),
    raising=False,
  )
  for path in (tmp_path / "film.mkv", storage.path("s3://b/film.mkv")):
    made = files.unfinished(path)
    made.write_bytes(b"film")
    assert not path.exists()
    files.finish(made, path)
    assert path.read_bytes() == b"film" and not made.exists()


def test_without_the_extra_nothing_of_it_is_imported_and_a_bucket_says_what_it_needs():
  code = (
    "import sys, importlib.util as u; from cfi_jax.core import files, storage\n"
    "found = u.find_spec; u.find_spec = lambda n, *a: None if n in ('gcsfs', 's3fs') else found(n, *a)\n"  # noqa: E501
    "storage.path('gs://b/x'), storage.open_binary(sys.executable).close()\n"
    "for text in ('gs://b/x', 's3://b/x'):\n"
    "  try: storage.path(text).exists()\n"
    "  except ValueError as error: print(error)\n"
    "print(sorted({'gcsfs', 's3fs', 'fsspec', 'aiohttp', 'botocore', 'google.auth'} & set(sys.modules)))\n"  # noqa: E501
  )
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
  assert done.stdout.splitlines()[-1:] == ["[]"], done.stderr
  assert done.stdout.count("pip install 'cfi_jax[cloud]'") == 2


# Files whose paths are never a user's: those of the machine, and of the package itself.
OWN = ("core/storage/", "core/files.py", "core/cli.py", "native/", "benchmark/", "engine/memory.py")
OWN += ("engine/compilation.py",)
ALLOWED = re.compile(
  r'Path\((__file__|"|f"/proc|n\)|alone\b)|pathlib\.Path\(tempfile|images\.open|FOLDER = |\.open\('
)


def test_no_door_makes_a_local_path_of_what_may_be_in_a_bucket():
  """`storage.path` and `storage.open_binary` alone take a user's text; tests mirror the rule."""
  found = []
  for file in sorted((ROOT / "cfi_jax").rglob("*.py")):
    name = str(file.relative_to(ROOT / "cfi_jax"))
    if name.startswith(OWN):
      continue
    tokens = tokenize.generate_tokens(io.StringIO(file.read_text()).readline)
    lines = {
      token.start[0]: token.line
      for token in tokens
      if token.type == tokenize.NAME
      and token.string in ("Path", "open", "scandir", "listdir", "isdir", "isfile")
    }
    for number, line in lines.items():
      made = re.search(
        r"(?<![\w.])(pathlib\.)?Path\(|(?<![\w.])open\(|os\.(path\.is|scandir|listdir)", line
      )
      if made and not ALLOWED.search(line) and "def open" not in line:
        found.append(f"{name}:{number}: {line.strip()}")
  assert not found, "\n".join(found)
