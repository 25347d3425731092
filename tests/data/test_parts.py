"""Parts of a summary: whole or named, of one request, joined in the order of names."""

import json
import types

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data import parts
from cfi_jax.data.parts import Part, Parts
from cfi_jax.data.shards import Shard

REQUEST = {"weights": "average", "gray": "False"}


def record(name, failure=""):
  return {"name": name, "failure": failure}


def write(output, index, names, *, count=3, request=REQUEST, keep=False, finish=True):
  part = Part(output, Shard(index, count), request, keep)
  for name in names:
    part.add(record(name))
  if finish:
    part.finish({"own": index})
  return part


def names(output, count=None):
  return [each["name"] for each in Parts(output, count).records()]


def test_parts_are_joined_in_the_order_of_names(tmp_path, monkeypatch):
  monkeypatch.setattr(parts, "CHUNK", 2)
  write(tmp_path, 0, ["c", "a", "z", "e", "\udc80"])  # the names of files may be any bytes
  write(tmp_path, 1, [])
  write(tmp_path, 2, ["b", "d", "x"])
  assert len(list((tmp_path / "parts" / "0-of-3").glob("*.jsonl"))) == 3
  assert names(tmp_path) == ["a", "b", "c", "d", "e", "x", "z", "\udc80"]
  joined = Parts(tmp_path, 3)
  assert joined.notes == [{"own": 0}, {"own": 1}, {"own": 2}] and joined.request == REQUEST


def test_a_part_that_is_missing_or_not_finished_is_named_and_done_again_alone(tmp_path):
  write(tmp_path, 0, ["a"])
  write(tmp_path, 2, ["c"], finish=False)
  with pytest.raises(InputError, match="2 of 3 parts are missing or not finished: 1-of-3, 2-of-3;"):
    Parts(tmp_path, None)
  write(tmp_path, 1, ["b"])
  write(tmp_path, 2, ["c"])
  assert names(tmp_path) == ["a", "b", "c"]
  write(tmp_path, 2, ["d"], finish=False)  # begun once more: not whole any longer
  with pytest.raises(InputError, match="1 of 3 parts are missing or not finished: 2-of-3;"):
    Parts(tmp_path, None)


def test_a_part_goes_on_but_not_with_what_failed(tmp_path):
  part = write(tmp_path, 0, ["a", "c"], count=1, finish=False)
  part.add(record("b", "unreadable"))
  part.flush()
  again = Part(tmp_path, Shard(0, 1), REQUEST, keep=True)
  assert again.names == {"a", "c"}
  again.add(record("b"))
  again.finish({})
  assert [tuple(each.values()) for each in Parts(tmp_path, 1).records()] == [
    ("a", ""), ("b", ""), ("c", "")
  ]  # fmt: skip
  assert write(tmp_path, 0, ["x"], count=1).names == set()  # anew
  assert names(tmp_path, 1) == ["x"]


def test_parts_of_different_requests_are_refused(tmp_path):
  write(tmp_path, 0, ["a"], count=2)
  write(tmp_path, 1, ["b"], count=2, request=REQUEST | {"gray": "True"})
  words = "--gray=False of 0-of-2, --gray=True of 1-of-2; make them anew"
  with pytest.raises(InputError, match=words):
    Parts(tmp_path, 2)
  with pytest.raises(InputError, match="--weights=average of 0-of-2, --weights=other of this comm"):
    Part(tmp_path, Shard(0, 2), REQUEST | {"weights": "other"}, keep=True)
  with pytest.raises(InputError, match="--gray=x of this command, --gray=False of 0-of-2"):
    Parts(tmp_path, 2, {"weights": "average", "gray": "x"})


def test_the_number_of_parts_is_told_by_their_folder_unless_there_are_several(tmp_path):
  with pytest.raises(InputError, match="holds no parts; processes with --process_count"):
    Parts(tmp_path, None)
  write(tmp_path, 0, ["a"], count=1)
  assert names(tmp_path) == ["a"]
  write(tmp_path, 0, ["a"], count=2)
  with pytest.raises(InputError, match="holds parts of 1, 2; --process_count says which"):
    Parts(tmp_path, None)
  assert names(tmp_path, 1) == ["a"]


def test_a_damaged_or_lost_file_of_records_is_named(tmp_path):
  write(tmp_path, 0, ["a"], count=1)
  (path,) = (tmp_path / "parts" / "0-of-1").glob("*.jsonl")
  path.write_text('{"name": "a"')
  with pytest.raises(InputError, match="0000000.jsonl: damaged; do this part again"):
    names(tmp_path)
  path.unlink()
  with pytest.raises(InputError, match="0-of-1: 0 files of records, not 1"):
    names(tmp_path)


def test_flags_of_the_processes_are_not_of_the_request():
  given = {"weights": "x", "process_index": 1, "skip_existing": True, "output": "o", "join": False}
  assert parts.request_of(given) == {"weights": "x"}


def done(output, index=0, count=1):
  return json.loads((output / "parts" / f"{index}-of-{count}" / parts.DONE).read_text())


def test_a_file_holds_256_records(tmp_path):
  folder = tmp_path / "parts" / "0-of-1"
  part = write(tmp_path, 0, [f"{k:03d}" for k in range(255)], count=1, finish=False)
  assert not list(folder.glob("*.jsonl"))
  for k in (255, 256):
    part.add(record(str(k)))
    (path,) = folder.glob("*.jsonl")
  part.finish({})
  assert len(path.read_text().splitlines()) == 256 and done(tmp_path)["files"] == 2


@pytest.mark.parametrize(
  ("first", "second", "ascending"), [("ab", "cd", True), ("ab", "bc", True), ("ac", "bd", False)]
)
def test_a_part_tells_whether_its_files_are_in_order(tmp_path, first, second, ascending):
  part = write(tmp_path, 0, first, count=1, finish=False)
  part.flush()
  kept = [path.stat().st_ino for path in (tmp_path / "parts" / "0-of-1").glob("*.jsonl")]
  again = Part(tmp_path, Shard(0, 1), types.MappingProxyType(REQUEST), keep=True)
  assert kept == [path.stat().st_ino for path in (tmp_path / "parts" / "0-of-1").glob("*.jsonl")]
  for name in second:
    again.add(record(name))
  again.finish({})
  assert done(tmp_path)["ascending"] is ascending
  assert names(tmp_path) == sorted(first + second)


def test_a_part_may_be_told_to_go_on_before_it_began(tmp_path):
  write(tmp_path, 0, ["a"], count=1, keep=True)
  assert names(tmp_path) == ["a"]


def test_the_first_of_several_differences_is_named_and_what_one_lacks_is_one():
  ours, theirs = {"a": "1", "b": "1", "c": "1", "d": "1"}, {"a": "1", "c": "2", "d": "2", "e": "1"}
  with pytest.raises(InputError, match="--b=1 of x, --b=None of y;"):
    parts.require_alike({"x": ours, "y": theirs})
  with pytest.raises(InputError, match="--b=None of y, --b=1 of x;"):
    parts.require_alike({"y": theirs, "same": theirs, "x": ours})


@pytest.mark.parametrize("content", ["", "[1]", "{}"])
def test_a_part_whose_end_cannot_be_read_is_not_finished(tmp_path, content):
  write(tmp_path, 0, ["a"], count=1)
  (tmp_path / "parts" / "0-of-1" / parts.DONE).write_text(content)
  with pytest.raises(InputError, match="1 of 1 parts are missing or not finished: 0-of-1;"):
    Parts(tmp_path, None)
