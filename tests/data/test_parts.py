"""Parts of a summary: whole or named, of one request, joined in the order of names."""

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
