"""The fusing command's words and exit status, for jobs that end as the test wants."""

import itertools
import types
import warnings

import pytest

from cfi_jax.core import cli, progress
from cfi_jax.core.cli import INTERRUPTED
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.fuse import command, summary, told
from cfi_jax.fuse.__main__ import FLAGS
from cfi_jax.fuse.reading import Job, Options
from cfi_jax.images.read import MAX_PIXELS
from cfi_jax.weights import shipped


def test_flags_that_are_left_out_mean_what_their_words_say():
  needed = ["--visible=v", "--infrared=i", "--output=o"]
  given = cli.parse(FLAGS, needed)
  usual = {"weights": shipped.DEFAULT, "format": "png", "normalize": "auto", "dtype": "float32"}
  usual |= {"normalize_over": "image", "memory_mb": None, "max_pixels": MAX_PIXELS, "flir": None}
  usual |= dict.fromkeys(("visible_valid", "infrared_valid", "resize", "align", "window"), "")
  usual |= dict.fromkeys(("infrared_palette", "slices"), "")
  usual |= dict.fromkeys(("gray", "resample", "skip_existing"), False)
  assert {name: given[name] for name in usual} == usual
  with pytest.raises(InputError, match="--output is missing"):
    cli.parse(FLAGS, needed[:2])


@pytest.fixture
def run(monkeypatch):
  """A function of what becomes of each of three pairs, an error or a reason: the exit status."""

  def do(*ends, problems=(), skipped=0, size=(1000, 2000), part=None):
    jobs = [types.SimpleNamespace(name=f"p{k}", size=size) for k in range(3)]

    def fuse_jobs(fusing, given, *rest):
      assert (fusing, given) == ("fuser", jobs)
      for job, end in zip(jobs, ends, strict=False):
        if isinstance(end, Warning):
          warnings.warn(end, stacklevel=1)
        elif isinstance(end, BaseException):
          raise end
        yield job, "" if isinstance(end, Warning) else end

    clock = itertools.count(5, 2)
    monkeypatch.setattr(command, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(command, "fuse_jobs", fuse_jobs)
    options = Options(False, None, 1, "")
    return command._run("fuser", jobs, options, None, problems, skipped, "net", part)

  return do


def test_all_pairs_and_the_speed(run, capsys):
  assert run("", "", "") == 0
  said = capsys.readouterr()
  assert said.out.endswith("fused 3 of 3 pairs in 2.0 s (3.00 megapixels/s) with net\n")
  assert "failed" not in said.err


def test_what_failed_is_named_and_counted(run, capsys):
  problems = ["x has no partner"]
  assert run("", "too small", "", problems=problems, skipped=4) == 1
  assert problems == ["x has no partner"]
  said = capsys.readouterr()
  assert "fused 2 of 3 pairs in 2.0 s (2.00 megapixels/s) with net, 4 skipped, 2 failed" in said.out
  assert "failed: x has no partner\nfailed: p1: too small\n" in said.err


@pytest.mark.parametrize(("size", "speed"), [((99, 101), "0.00"), ((100, 100), "0.01")])
def test_megapixels_are_counted_to_the_pixel(run, capsys, size, speed):
  """0.00500 megapixels a second are rounded up, one pixel less down."""
  assert run("", size=size) == 0
  assert f"fused 1 of 3 pairs in 2.0 s ({speed} megapixels/s)" in capsys.readouterr().out


def test_warnings_are_taken_at_each_pair_and_told_though_filters_say_no(run, monkeypatch, capsys):
  taken = []

  class Doubts(told.Doubts):
    def take(self, found):
      taken.append(len(found))
      super().take(found)

  monkeypatch.setattr(command.told, "Doubts", Doubts)
  with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    assert run(UserWarning("a"), UserWarning("b"), "") == 0
  assert taken == [1, 1, 0, 0]
  assert capsys.readouterr().err.splitlines() == ["warning: a", "warning: b"]


def test_records_of_a_stretch_are_written_when_it_is_done(run):
  calls = []
  part = types.SimpleNamespace(add=calls.append, flush=lambda: calls.append("flush"))
  run("", "bad", "", part=part)
  ends = {"p0": "", "p1": "bad", "p2": ""}
  assert calls == [*({"name": n, "failure": end} for n, end in ends.items()), "flush"]


def test_results_are_looked_for_with_a_word_on_the_progress(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(progress, "FIRST", 0)
  jobs = [Job(name, tmp_path, tmp_path, tmp_path / name) for name in "ab"]
  jobs[0].output.write_bytes(b"x")
  assert list(command._missing(jobs, None)) == jobs[1:]
  assert "looking for results: 1 of 2 pairs" in capsys.readouterr().err


def test_a_join_without_failures_succeeds(tmp_path, monkeypatch, capsys):
  records = [{"name": name, "failure": ""} for name in ("a", "b\udcff")]
  parts = types.SimpleNamespace(
    records=lambda: iter(records), notes=[{"pairs": 1}, {"pairs": 2}], count=2
  )
  monkeypatch.setattr(summary, "Parts", lambda output, count: parts)
  assert summary.join(tmp_path, 2) == 0
  assert "2 of 3 pairs are fused, by 2 processes; 0 failed" in capsys.readouterr().out
  assert (tmp_path / "summary.csv").read_bytes() == b"name,failure\na,\nb\xff,\n"


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
  searched, ranged, made = [], [], []

  def find(given, shard):
    searched.append(f"{shard.index}/{shard.count}")
    jobs = [
      types.SimpleNamespace(output=tmp_path / name / "x.png", shard=searched[-1]) for name in "ab"
    ]
    return types.SimpleNamespace(jobs=jobs, left_out=[], problems=["x is bad"])

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
    "require_folder": made.append,
    "make_normalizer": lambda jobs, options: ranged.extend(job.shard for job in jobs),
    "load_fuser": lambda weights, dtype, devices: (weights, dtype, devices),
    "label": str.upper,
    "_run": lambda *given: given,
  }
  for name, fake in fakes.items():
    monkeypatch.setattr(command, name, fake)
  monkeypatch.setattr(command.shards, "from_flags", lambda given: None)
  flags = {"join": False, "output": str(tmp_path), "weights": "w", "dtype": "d"}
  fusing, (job, _), _, _, problems, *rest = command.fuse(flags | {"skip_existing": False})
  assert (fusing, job.shard, problems) == (("w", "d", []), f"0/{count}", ["x is bad"])
  assert rest == [0, "W", None] and searched == asked and ranged == asked[-1:] * 2
  assert made == [tmp_path / "a"]  # as a trial, before anything is computed


@pytest.mark.parametrize(("content", "written"), [(None, False), (b"", False), (b"x", True)])
def test_a_result_is_there_where_it_holds_something(tmp_path, content, written):
  job = Job("x", tmp_path / "v.png", tmp_path / "i.png", tmp_path / "o.png")
  if content is not None:
    job.output.write_bytes(content)
  assert command._is_written(job) is written
