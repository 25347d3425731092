"""The fusing command's words and exit status, for jobs that end as the test wants."""

import itertools
import types

import pytest

from cfi_jax.core.cli import INTERRUPTED
from cfi_jax.core.types import StorageError
from cfi_jax.fuse import command
from cfi_jax.fuse.reading import Job, Options


@pytest.fixture
def run(monkeypatch):
  """A function of what becomes of each of three pairs, an error or a reason: the exit status."""

  def do(*ends, problems=(), skipped=0):
    jobs = [types.SimpleNamespace(name=f"p{k}", size=(1000, 2000)) for k in range(3)]

    def fuse_jobs(fusing, given, *rest):
      assert (fusing, given) == ("fuser", jobs)
      for job, end in zip(jobs, ends, strict=False):
        if isinstance(end, BaseException):
          raise end
        yield job, end

    clock = itertools.count(step=2)
    monkeypatch.setattr(command, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(command, "fuse_jobs", fuse_jobs)
    options = Options(False, None, 1, "")
    return command._run("fuser", jobs, options, None, list(problems), skipped, "net")

  return do


def test_all_pairs_and_the_speed(run, capsys):
  assert run("", "", "") == 0
  said = capsys.readouterr()
  assert said.out.endswith("fused 3 of 3 pairs in 2.0 s (3.00 megapixels/s) with net\n")
  assert "failed" not in said.err


def test_what_failed_is_named_and_counted(run, capsys):
  assert run("", "too small", "", problems=["x has no partner"], skipped=4) == 1
  said = capsys.readouterr()
  assert "fused 2 of 3 pairs in 2.0 s (2.00 megapixels/s) with net, 4 skipped, 2 failed" in said.out
  assert "failed: x has no partner\nfailed: p1: too small\n" in said.err


def test_an_interruption_says_what_is_whole(run, capsys):
  assert run("", KeyboardInterrupt()) == INTERRUPTED
  words = "interrupted: 1 of 3 pairs are fused; with --skip_existing the same command goes on\n"
  assert capsys.readouterr().err.endswith(words)


def test_a_full_disk_says_what_is_whole(run):
  with pytest.raises(StorageError, match="^full; 2 of 3 pairs are fused; with --skip_existing"):
    run("", "", StorageError("full"))


@pytest.mark.parametrize(
  ("count", "over", "asked"),
  [(1, "folder", ["0/1"]), (2, "folder", ["0/2", "0/1"]), (2, "image", ["0/2"])],
)
def test_a_range_of_a_folder_is_one_of_all_its_images(monkeypatch, tmp_path, count, over, asked):
  searched, ranged = [], []

  def find(given, shard):
    searched.append(f"{shard.index}/{shard.count}")
    job = types.SimpleNamespace(output=tmp_path / "a.png", shard=searched[-1])
    return types.SimpleNamespace(jobs=[job], left_out=[], problems=["x is bad"])

  fakes = {
    "jax": types.SimpleNamespace(
      process_index=lambda: 0, process_count=lambda: count, local_devices=list
    ),
    "sequence": types.SimpleNamespace(
      options_of=lambda given: types.SimpleNamespace(normalize_over=over)
    ),
    "is_sequence": lambda given: False,
    "volumes": types.SimpleNamespace(are_volumes=lambda given: False),
    "_find": find,
    "make_normalizer": lambda jobs, options: ranged.extend(job.shard for job in jobs),
    "load_fuser": lambda weights, dtype, devices: (weights, dtype, devices),
    "label": str.upper,
    "_run": lambda *given: given,
  }
  for name, fake in fakes.items():
    monkeypatch.setattr(command, name, fake)
  monkeypatch.setattr(command.shards, "from_flags", lambda given: None)
  flags = {"join": False, "output": str(tmp_path), "weights": "w", "dtype": "d"}
  fusing, (job,), _, _, problems, *rest = command.fuse(flags | {"skip_existing": False})
  assert (fusing, job.shard, problems) == (("w", "d", []), f"0/{count}", ["x is bad"])
  assert rest == [0, "W", None] and searched == asked and ranged == asked[-1:]


@pytest.mark.parametrize(("content", "written"), [(None, False), (b"", False), (b"x", True)])
def test_a_result_is_there_where_it_holds_something(tmp_path, content, written):
  job = Job("x", tmp_path / "v.png", tmp_path / "i.png", tmp_path / "o.png")
  if content is not None:
    job.output.write_bytes(content)
  assert command._is_written(job) is written
