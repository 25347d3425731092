"""Shards: every name is one process's, by its flags or its array."""

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data import shards
from cfi_jax.data.shards import ALL, Made, Shard, from_flags, stretches

NOTHING = {name: flag.default for name, flag in shards.FLAGS.items()}


@pytest.mark.parametrize("count", [1, 2, 7, 16])
def test_every_name_is_of_one_shard_and_shards_are_of_like_size(count):
  names = [f"day_{k // 100}/frame_{k:05d}" for k in range(6400)]
  own = [[name for name in names if Shard(i, count).holds(name)] for i in range(count)]
  assert sorted(sum(own, [])) == sorted(names)
  mean = len(names) / count
  assert all(0.6 * mean <= len(each) <= 1.4 * mean for each in own)


def test_a_shard_is_the_same_whatever_other_names_there_are():
  names = [f"{k}" for k in range(300)]
  before = [name for name in names if Shard(3, 8).holds(name)]
  after = [name for name in sorted([*names, "0a", "00"]) if Shard(3, 8).holds(name)]
  assert set(before) == set(after) - {"0a", "00"}
  # Parts that were written once must be those of later versions, too.
  assert before[:4] == ["3", "8", "13", "18"]


@pytest.mark.parametrize(
  ("flags", "environment", "shard"),
  [
    ({}, {"SLURM_ARRAY_TASK_ID": "1", "JOB_COMPLETION_INDEX": "1"}, None),
    ({"process_index": 2, "process_count": 3}, {}, Shard(2, 3)),
    ({"join": True, "process_count": 3}, {}, None),
    (
      {"array": "slurm"},
      {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_COUNT": "8", "SLURM_ARRAY_TASK_MAX": "7"},
      Shard(2, 8),
    ),
    (
      {"array": "slurm", "process_count": 8},  # one task, done again
      {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MAX": "5"},
      Shard(5, 8),
    ),
    ({"array": "kubernetes", "process_count": 4}, {"JOB_COMPLETION_INDEX": "0"}, Shard(0, 4)),
  ],
)
def test_a_shard_is_that_of_the_flags_or_of_the_array(flags, environment, shard):
  assert from_flags(NOTHING | flags, environment) == shard


@pytest.mark.parametrize(
  ("flags", "environment", "words"),
  [
    ({"process_count": 2}, {}, "--process_index=None --process_count=2; both are needed"),
    ({"process_index": 0}, {}, "--process_count=None; both are needed, 0 <= index < count"),
    ({"process_index": 2, "process_count": 2}, {}, "0 <= index < count"),
    ({"process_index": -1, "process_count": 2}, {}, "0 <= index < count"),
    ({"array": "slurm"}, {}, "SLURM_ARRAY_TASK_ID is ''; it is set in tasks of an array"),
    (
      {"array": "slurm"},
      {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_COUNT": "1", "SLURM_ARRAY_TASK_MAX": "5"},
      "1 tasks up to number 5 are no array 0-N; give --process_count=N",
    ),
    ({"array": "kubernetes"}, {"JOB_COMPLETION_INDEX": "0"}, "needs --process_count=N"),
    ({"array": "kubernetes", "process_count": 2}, {"JOB_COMPLETION_INDEX": "2"}, "0 to 1"),
    ({"array": "slurm", "process_index": 1}, {}, "--process_index=1 with --array=slurm"),
    ({"join": True, "process_index": 1}, {}, "--process_index=1 with --join"),
    ({"join": True, "array": "slurm"}, {}, "--array=slurm with --join"),
  ],
)
def test_shards_that_there_are_not_are_refused(flags, environment, words):
  with pytest.raises(InputError) as error:
    from_flags(NOTHING | flags, environment)
  assert words in str(error.value)


def test_items_are_made_when_they_are_asked_for():
  made = []
  items = Made(range(10), lambda k: made.append(k) or 10 * k)
  assert len(items) == 10 and items[3] == 30 and items[2:4] == [20, 30] and made == [3, 2, 3]
  assert [list(part) for part in stretches(items, 4)][-1] == [80, 90]
  assert ALL.holds("anything")


def test_four_thousand_items_are_planned_at_once():
  assert [len(part) for part in stretches(range(4097))] == [4096, 1]
