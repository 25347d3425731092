"""A workdir in a bucket, for which a dict stands: what goes there, in which order, what comes."""

import pathlib
import threading

import jax
import pytest

from cfi_jax.core import storage
from cfi_jax.core.storage import listing, requests
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.engine import run as run_lib
from cfi_jax.engine import sharding
from cfi_jax.engine.workdir import mirror
from cfi_jax.engine.workdir.checkpoint import Checkpoints
from cfi_jax.engine.workdir.manager import CheckpointOptions
from cfi_jax.engine.workdir.mirror import COMMIT, Mirror, read_parts

RUN = storage.path("s3://b/run")


class Objects(dict):
  """What `core.storage` asks a file system of fsspec for, of objects by key; writes are noted."""

  def __init__(self):
    """Begins empty."""
    self.done, self.broken = [], False

  def _describe(self, key):
    return {"name": key, "type": "file", "size": len(self[key]), "mtime": 1000.0 + len(key)}

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
    return self[key][start:end]

  def pipe_file(self, key, content, mode="overwrite"):
    """Writes an object."""
    if self.broken:
      raise PermissionError(key)
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


@pytest.fixture
def seldom(monkeypatch):
  """The bucket is brought up to date when the test says so."""
  monkeypatch.setattr(mirror, "EVERY", 3600.0)


def open_mirror(workdir=RUN):
  return Mirror(workdir, lambda: None)


def save(folder, step, files=("a/b", "c", COMMIT)):
  """A checkpoint on the machine."""
  for name in files:
    path = folder / "checkpoints" / str(step) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{step} {name}")


def put(objects, step, files=("a/b", "c", COMMIT)):
  """A checkpoint in the bucket."""
  objects |= {f"b/run/checkpoints/{step}/{name}": f"{step} {name}".encode() for name in files}


def test_whole_checkpoints_come_with_the_time_of_their_last_object_and_others_are_removed(objects):
  put(objects, 4)
  put(objects, 6, files=("a/b", "c"))
  put(objects, "tmp", files=("a", COMMIT))
  own = open_mirror()
  here = own.folder / "checkpoints"
  assert [p.name for p in here.iterdir()] == ["4"]
  assert (here / "4" / "a" / "b").read_text() == "4 a/b" and (here / "4" / "c").exists()
  when = 1000.0 + len(f"b/run/checkpoints/4/{COMMIT}")
  assert (here / "4").stat().st_mtime == when == mirror.saved_at(RUN, 4)
  assert {key.split("/")[3] for key in objects} == {"4"}
  removed = [key for key in objects.done if key.startswith("-checkpoints/tmp")]
  assert removed == [f"-checkpoints/tmp/{COMMIT}", "-checkpoints/tmp/a"]
  assert own.is_copy and not open_mirror(here).is_copy and open_mirror(here).folder == here


def test_rows_come_before_their_checkpoint_and_its_last_object_last(objects, seldom):
  with open_mirror() as own:
    save(own.folder, 5)
    (own.folder / "metrics.jsonl").write_bytes(b"rows of 5\n")
    (own.folder / "run.json").write_bytes(b"{}")
    (own.folder / ".run.json.tmp").write_bytes(b"{")
    own.sync()
    first = objects.done.copy()
    own.sync()
    assert objects.done == first  # nothing is new
  assert first[0] == "metrics.jsonl.part000000" and first[1] == "run.json"
  assert {*first[2:4]} == {"checkpoints/5/a/b", "checkpoints/5/c"}
  assert first[4:] == [f"checkpoints/5/{COMMIT}"] and objects.done == first
  assert [*mirror.committed(RUN)] == [5] and not own.folder.exists()


def test_a_checkpoint_that_is_dropped_goes_from_the_bucket_its_mark_first(objects, seldom):
  put(objects, 4)
  with open_mirror() as own:
    save(own.folder, 5)
    own.sync()
    for path in sorted((own.folder / "checkpoints" / "4").rglob("*"), reverse=True):
      path.rmdir() if path.is_dir() else path.unlink()
    (own.folder / "checkpoints" / "4").rmdir()
    objects.done.clear()
    own.sync()
    assert objects.done[0] == f"-checkpoints/4/{COMMIT}" and len(objects.done) == 3
    own.sync()
    assert len(objects.done) == 3
  assert [*mirror.committed(RUN)] == [5]


def test_metrics_grow_by_parts_of_which_whole_ones_are_not_written_again(
  objects, seldom, monkeypatch
):
  monkeypatch.setattr(mirror, "PART", 4)
  content = b"".join(b"%03d\n" % i for i in range(12))
  with open_mirror() as own:
    local = own.folder / "metrics.jsonl"
    local.write_bytes(content + b"01")
    own.sync()
    assert objects.done == [f"metrics.jsonl.part{i:06d}" for i in range(13)]
    local.write_bytes(content + b"012\n3")
    own.sync()
    assert objects.done[13:] == ["metrics.jsonl.part000012", "metrics.jsonl.part000013"]
  for name in ("part9", "partx", "part"):  # of other names, and numbers with fewer digits
    objects[f"b/run/other.jsonl.{name}"] = b"?"
  assert read_parts(RUN / "metrics.jsonl") == content + b"012\n3"
  objects.done.clear()
  with open_mirror() as own:  # another start, which drops rows after its checkpoint
    local = own.folder / "metrics.jsonl"
    assert local.read_bytes() == content + b"012\n3"
    own.sync()
    assert not objects.done
    local.write_bytes(content[:-4] + b"x")
    own.sync()
    assert objects.done == ["metrics.jsonl.part000011", *(
      f"-metrics.jsonl.part{i:06d}" for i in (12, 13)
    )]  # fmt: skip
  assert read_parts(RUN / "metrics.jsonl") == content[:-4] + b"x"


def test_no_metrics_are_no_file(objects, tmp_path):
  assert read_parts(RUN / "metrics.jsonl") is None and read_parts(tmp_path / "none") is None
  assert not (open_mirror().folder / "metrics.jsonl").exists()
  (tmp_path / "some").write_bytes(b"rows")
  assert read_parts(tmp_path / "some") == b"rows"


def test_large_files_that_grow_are_written_seldom_and_at_the_end(objects, seldom, monkeypatch):
  monkeypatch.setattr(mirror, "GROWS", 10)  # bytes a second
  with open_mirror() as own:
    events = own.folder / "events"
    events.write_bytes(bytes(1000))
    own.sync()
    events.write_bytes(bytes(1001))
    own.sync()
    assert len(objects["b/run/events"]) == 1000
  assert len(objects["b/run/events"]) == 1001


def test_the_bucket_is_kept_up_to_date_from_beside(objects, monkeypatch):
  monkeypatch.setattr(mirror, "EVERY", 0.01)
  written = threading.Event()
  monkeypatch.setattr(objects, "pipe_file", lambda key, content, mode="": written.set())
  with open_mirror() as own:
    (own.folder / "run.json").write_bytes(b"{}")
    assert written.wait(30)
    own.require()


def test_what_fails_beside_is_told_when_it_is_asked_for_and_at_the_end(objects, monkeypatch):
  monkeypatch.setattr(mirror, "EVERY", 0.01)
  objects.broken = True
  own = open_mirror()
  (own.folder / "run.json").write_bytes(b"{}")
  with pytest.raises(InputError, match="^s3://b/run/run.json: no permission"), own:
    own._thread.join(30)
    with pytest.raises(InputError, match="no permission"):
      own.require()
  again = open_mirror()
  (again.folder / "run.json").write_bytes(b"{}")
  with pytest.raises(KeyError), again:  # the error that came first
    raise KeyError


def test_a_workdir_that_is_another_process_s_gets_nothing(objects, seldom):
  def require():
    raise StorageError("s3://b/run: is another's")

  own = Mirror(RUN, require)
  save(own.folder, 5)
  with pytest.raises(StorageError, match="another's"):
    own.sync()
  assert not objects


def test_other_processes_read_the_bucket_and_change_nothing(objects, monkeypatch):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  put(objects, 4)
  put(objects, 6, files=("a",))
  objects["b/run/metrics.jsonl.part000000"] = b"rows"
  before = dict(objects)
  with open_mirror() as own:
    assert own._thread is None and (own.folder / "checkpoints" / "4" / COMMIT).exists()
    assert not (own.folder / "metrics.jsonl").exists()
    save(own.folder, 5)
  assert objects == before


def test_a_workdir_on_a_file_system_is_left_alone(tmp_path):
  with open_mirror(tmp_path) as own:
    assert own.folder == tmp_path and own._thread is None
    own.sync()
  assert [*tmp_path.iterdir()] == []


def test_checkpoints_of_a_bucket_are_read_there_and_written_by_a_mirror(objects):
  put(objects, 4)
  options = CheckpointOptions(every=1, keep=1, best="loss", direction="lower")
  with pytest.raises(ValueError, match="s3://b/run: checkpoints are written by a `Mirror`"):
    Checkpoints(RUN, options)
  assert mirror.fetched(RUN) != RUN and (mirror.fetched(RUN) / "checkpoints" / "4" / "c").exists()


def test_what_grows_while_it_is_sent_is_sent_as_it_was(objects, seldom, monkeypatch):
  """A file opened by a library is longer at its end than at its beginning."""

  def put_file(file, key):
    with pathlib.Path(file).open("ab") as grown:
      grown.write(b"more")
    objects.pipe_file(key, pathlib.Path(file).read_bytes())

  monkeypatch.setattr(objects, "put_file", put_file)
  with open_mirror() as own:
    (own.folder / "events").write_bytes(b"one")
    own.sync()
    assert objects["b/run/events"] == b"one"


def test_a_root_that_cannot_be_listed_is_told_by_every_process(objects, monkeypatch):
  objects["b/x?.png"] = b"123"
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(sharding, "tell", lambda name, content: content)
  for root, wrong in (("s3://b", "question mark"), ("ftp://b", "ftp:// is not read")):
    run_lib.share_listing(root)
    with pytest.raises(InputError, match=wrong):
      storage.entries(root)


@pytest.mark.parametrize(
  "root, processes, process, listed",
  [
    ("s3://b", 1, 0, False),
    ("s3://b", 2, 0, True),
    ("s3://b", 2, 1, False),
    ("/data", 2, 0, False),
  ],
)
def test_process_0_alone_lists_a_bucket(objects, monkeypatch, root, processes, process, listed):
  objects["b/x.png"] = b"123"
  looks, told = [], []
  find = Objects.call_s3
  monkeypatch.setattr(Objects, "call_s3", lambda *a, **k: (looks.append(1), find(*a, **k))[1])
  monkeypatch.setattr(jax, "process_count", lambda: processes)
  monkeypatch.setattr(jax, "process_index", lambda: process)
  answer = b'{"s3://b": [["x.png", 3, 1.0, "", ""]]}'
  monkeypatch.setattr(
    sharding, "tell", lambda name, content: (told.append(content), content if listed else answer)[1]
  )
  run_lib.share_listing(root)
  assert len(looks) == listed and len(told) == (processes > 1 and root == "s3://b")
  if told:
    assert [e.name for e in storage.entries("s3://b")] == ["x.png"] and len(looks) == listed
