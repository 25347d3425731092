"""A workdir in a bucket, for which a dict stands: what goes there, in which order, what comes."""

import pathlib
import threading
import types

import jax
import pytest

from cfi_jax.core import storage
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.engine import run as run_lib
from cfi_jax.engine import sharding
from cfi_jax.engine.workdir import mirror
from cfi_jax.engine.workdir.checkpoint import Checkpoints
from cfi_jax.engine.workdir.manager import CheckpointOptions
from cfi_jax.engine.workdir.mirror import COMMIT, Mirror, read_parts

RUN = storage.path("s3://b/run")


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


def test_parts_are_in_the_order_of_their_numbers(objects):
  objects |= {"b/run/rows.part9": b"a", "b/run/rows.part10": b"b"}
  assert read_parts(RUN / "rows") == b"ab"


def test_what_another_machine_wrote_since_is_seen(objects, monkeypatch):
  put(objects, 4)
  assert [*mirror.committed(RUN)] == [4]
  put(objects, 6)
  assert sorted(mirror.committed(RUN)) == [4, 6]

  def none(place):
    raise FileNotFoundError(place)

  monkeypatch.setattr(mirror.storage, "entries", none)  # as of a bucket that is not there
  assert mirror.committed(RUN) == {}


def test_checkpoints_may_be_fetched_to_a_new_folder_and_again(objects, tmp_path):
  put(objects, 4)
  for _ in range(2):
    to = mirror.fetch(RUN, tmp_path / "new" / "deep")
    assert to == tmp_path / "new" / "deep"
    assert (to / "checkpoints" / "4" / "c").read_text() == "4 c"


def test_a_look_comes_every_five_seconds_and_parts_have_a_quarter_mebibyte(objects, monkeypatch):
  own, waited = open_mirror(), []
  own._left = types.SimpleNamespace(wait=lambda seconds: waited.append(seconds) or True)
  own._keep()
  assert waited == [5.0]
  (own.folder / "checkpoints").mkdir(exist_ok=True)
  (own.folder / "metrics.jsonl").write_bytes(bytes(2**18 + 1))
  own.sync()
  assert [len(content) for _, content in sorted(objects.items())] == [2**18, 1]


def test_a_file_of_two_mebibytes_is_written_every_two_seconds(objects, seldom, monkeypatch):
  clock = types.SimpleNamespace(now=0.0, monotonic=lambda: clock.now)
  with open_mirror() as own:
    monkeypatch.setattr(mirror, "time", clock)
    for now, size, there in ((0.0, -1, -1), (2.0, 0, -1), (2.1, 0, 0), (2.2, 1, 0)):
      clock.now = now
      (own.folder / "events").write_bytes(bytes(2**21 + size))
      own.sync()
      assert len(objects["b/run/events"]) == 2**21 + there


def test_files_and_checkpoints_go_in_their_order(objects, seldom):
  with open_mirror() as own:
    for name in ("b", "a", "c"):
      (own.folder / name).write_bytes(b"x")
    for step in (8, 1):
      save(own.folder, step)
    own.sync()
  assert objects.done[:3] == ["a", "b", "c"]
  marks = [name for name in objects.done if name.endswith(COMMIT)]
  assert marks == [f"checkpoints/{step}/{COMMIT}" for step in (1, 8)]


def test_the_end_waits_for_what_is_written_beside(objects, seldom):
  seen = []
  with open_mirror() as own:
    (own.folder / "run.json").write_bytes(b"{}")
    assert own._thread.daemon
    own._thread = types.SimpleNamespace(join=lambda: seen.append(dict(objects)))
  assert seen == [{}] and [*objects] == ["b/run/run.json"]


def test_what_is_gone_already_needs_no_removing(objects, seldom, monkeypatch):
  monkeypatch.setattr(mirror, "PART", 4)
  with open_mirror() as own:
    (own.folder / "metrics.jsonl").write_bytes(b"12345678")
    own.sync()
    del objects["b/run/metrics.jsonl.part000001"]
    (own.folder / "metrics.jsonl").write_bytes(b"1234")
    own.sync()
  assert [*objects] == ["b/run/metrics.jsonl.part000000"]
  monkeypatch.setattr(mirror.storage, "files_below", lambda folder: iter([folder / "gone"]))
  mirror._remove(RUN / "checkpoints" / "4")


def test_an_error_that_is_no_accident_names_the_bucket(objects, seldom):
  def require():
    raise BrokenPipeError(32, "Broken pipe")

  own = Mirror(RUN, require)
  with pytest.raises(StorageError, match="^s3://b/run: Broken pipe$"):
    own.sync()


def test_the_error_of_one_of_many_is_raised():
  with pytest.raises(ZeroDivisionError):
    mirror._each(lambda x: 1 // x, [1, 0, 1])
