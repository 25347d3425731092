"""Fusing by several processes: every pair once, one summary, a lost part done again alone."""

import base64
import contextlib
import csv
import hashlib
import os
import resource
import subprocess
import sys

import numpy as np
import pytest
from command_line import ROOT
from full import only_full
from PIL import Image

from cfi_jax.core import cli, storage
from cfi_jax.core.storage import listing, pages, requests
from cfi_jax.core.types import InputError
from cfi_jax.data import pairs
from cfi_jax.data.shards import Shard
from cfi_jax.fuse import command
from cfi_jax.fuse.__main__ import FLAGS
from cfi_jax.fuse.finding import find_embedded_jobs, find_jobs


def write_pairs(root, count):
  random = np.random.default_rng(0)
  for folder in ("visible", "infrared"):
    (root / folder).mkdir()
    for k in range(count):
      levels = random.integers(0, 256, (8, 8), np.uint8)
      Image.fromarray(levels).save(root / folder / f"{k:03d}.png", compress_level=1)


def fuse(root, output, *flags):
  """The exit status of the command on the pairs of `root`."""
  sources = [f"--visible={root}/visible", f"--infrared={root}/infrared"]
  flags = [*sources, f"--output={output}", "--weights=average", *flags]
  return command.fuse(cli.parse(FLAGS, flags))


def results(folder):
  return {path.name: path.read_bytes() for path in folder.glob("*.png")}


def summary(folder):
  with open(folder / "summary.csv", newline="") as file:
    return [tuple(line) for line in csv.reader(file)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Eleven pairs, of which one cannot be read, and two images without a partner."""
  root = tmp_path_factory.mktemp("bulk")
  write_pairs(root, 12)
  (root / "infrared" / "003.png").write_bytes(b"no image")
  (root / "visible" / "007.png").rename(root / "visible" / "alone.png")
  return root


@pytest.fixture(scope="module")
def single(root):
  """Results and summary of one process."""
  output = root / "single"
  assert fuse(root, output, "--process_index=0", "--process_count=1") == 0
  assert fuse(root, output, "--join") == 1
  return results(output), summary(output)


def test_the_summary_of_one_process_names_what_failed(root, single):
  pictures, lines = single
  assert fuse(root, root / "plain") == 1
  assert results(root / "plain") == pictures and len(pictures) == 10
  assert lines[0] == ("name", "failure")
  assert [name for name, _ in lines[1:]] == sorted([f"{k:03d}" for k in range(12)] + ["alone"])
  failed = {name: why for name, why in lines[1:] if why}
  assert "003.png" in failed["003"] and "no image of the same name in" in failed["alone"]
  assert failed["007"] == f"no image of the same name in {root.resolve()}/visible"
  assert len(failed) == 3 and not (root / "plain" / "summary.csv").exists()


def test_the_parts_of_several_are_those_of_one_and_a_lost_one_is_done_again(
  root, single, tmp_path, capsys, monkeypatch
):
  # One process dies amid its work; the flags of an array say which each is.
  real, calls = command.fuse_jobs, []

  def dies(*arguments):
    for done in real(*arguments):
      yield done
      if len(calls) == 1:
        raise SystemExit("killed")

  monkeypatch.setattr(command, "fuse_jobs", lambda *given: calls.append(1) or dies(*given))
  for index in range(3):
    monkeypatch.setenv("JOB_COMPLETION_INDEX", str(index))
    flags = ("--array=kubernetes", "--process_count=3", "--skip_existing")
    if index == 0:
      with pytest.raises(SystemExit, match="killed"):
        fuse(root, tmp_path, *flags)
      assert 0 < len(results(tmp_path)) < 4
    else:
      assert fuse(root, tmp_path, *flags) == 0
  with pytest.raises(InputError, match="1 of 3 parts are missing or not finished: 0-of-3; do"):
    fuse(root, tmp_path, "--join")
  before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.png")}
  assert fuse(root, tmp_path, "--process_index=0", "--process_count=3", "--skip_existing") == 0
  assert all(path.stat().st_mtime_ns == time for path, time in before.items())
  capsys.readouterr()
  assert fuse(root, tmp_path, "--join") == 1
  said = capsys.readouterr()
  assert "10 of 11 pairs are fused, by 3 processes; 3 failed" in said.out
  assert said.err.count("failed: ") == 3
  assert results(tmp_path) == single[0] and summary(tmp_path) == single[1]


def test_one_file_is_fused_by_one_process(root, tmp_path):
  files = [root / folder / "001.png" for folder in ("visible", "infrared")]
  found = [find_jobs(*files, tmp_path / "x.png", ".png", shard=Shard(k, 3)).jobs for k in range(3)]
  assert sorted(map(len, found)) == [0, 0, 1]
  one = root / "visible" / "001.png"
  found = [find_embedded_jobs(one, tmp_path / "x.png", ".png", shard=Shard(k, 3)) for k in range(3)]
  assert sorted(len(each.jobs) for each in found) == [0, 0, 1]


class Entry:
  """A made up file of a folder."""

  def __init__(self, folder, name, is_folder=False):
    self.name, self.path, self._is_folder = name, os.path.join(folder, name), is_folder

  def is_dir(self):
    return self._is_folder

  def stat(self):
    return os.stat_result((0, 0, 0, 0, 0, 0, 100_000 + len(self.name), 0, 0, 0))


def made_up(folders, files):
  """A scandir of so many folders of so many files each."""

  def scan(path):
    if path.endswith(("visible", "infrared")):
      return [Entry(path, f"day_{k:04d}", True) for k in range(folders)]
    return [Entry(path, f"frame_{k:07d}.png") for k in range(files)]

  return scan


class Google:
  """Stands for a file system of gs://: two folders of so many made up objects, told in pages."""

  def __init__(self, folders, files):
    self._folders, self._files = folders, files

  def split_path(self, key):
    return *key.partition("/")[::2], None

  def info(self, key):
    return {"type": "directory", "size": 0}

  def call(self, method, path, bucket, prefix, pageToken, maxResults, fields, json_out):
    first, count = int(pageToken or 0), self._folders * self._files
    items = []
    for k in range(first, min(first + maxResults, count)):
      md5 = base64.b64encode(hashlib.md5(b"%d" % k).digest()).decode()
      name = f"{prefix}day_{k // self._files:04d}/frame_{k % self._files:07d}.png"
      times = {"updated": "2026-01-01T00:00:00.000Z", "etag": f"C{k}"}
      items.append({"name": name, "size": str(100_000 + k), "md5Hash": md5, **times})
    last = first + maxResults >= count
    return {"items": items} | ({} if last else {"nextPageToken": str(first + maxResults)})


LISTING = """
import resource, sys, time
sys.path.append("tests"); sys.path.append("tests/fuse")
import test_bulk
from cfi_jax.core import storage
from cfi_jax.core.storage import listing, requests
from cfi_jax.fuse.finding import find_jobs
root, folders = storage.path(sys.argv[1]), int(sys.argv[2])
listing.os = test_bulk.Namespace(listing.os, scandir=test_bulk.made_up(folders, 1000))
requests._filesystem = lambda *_: test_bulk.Google(folders, 1000)
began, cpu = time.perf_counter(), time.process_time()
found = find_jobs(root / "visible", root / "infrared", root / "out", ".png")
seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
print(len(found.jobs), found.jobs[-1].name, f"{seconds:.1f} {cpu:.1f} {memory:.3f}")
"""


class Namespace:
  """A module with other values of some names."""

  def __init__(self, module, **changes):
    self._module = module
    self.__dict__.update(changes)

  def __getattr__(self, name):
    return getattr(self._module, name)


def list_made_up(root, monkeypatch, folders, files, shard=None):
  for folder in ("visible", "infrared"):
    (root / folder).mkdir(exist_ok=True)
  monkeypatch.setattr(listing, "os", Namespace(os, scandir=made_up(folders, files)))
  return find_jobs(
    root / "visible", root / "infrared", root / "out", ".png", **({"shard": shard} if shard else {})
  )


def test_jobs_of_many_names_are_made_when_they_are_asked_for(tmp_path, monkeypatch):
  found = list_made_up(tmp_path, monkeypatch, 3, 50)
  assert len(found.jobs) == 150 and found.failures == [] == found.problems
  made = []
  real = pairs.PairFiles
  monkeypatch.setattr(pairs, "PairFiles", lambda *a, **k: made.append(a) or real(*a, **k))
  assert found.jobs[149].name == "day_0002/frame_0000049" and len(made) == 1
  own = [list_made_up(tmp_path, monkeypatch, 3, 50, Shard(k, 4)).jobs for k in range(4)]
  names = sorted(job.name for jobs in own for job in jobs)
  assert names == [job.name for job in found.jobs]


@only_full
def test_twenty_thousand_pairs_in_eight_shards(tmp_path, monkeypatch):
  """One is killed and done again; memory does not grow with the number of pairs."""
  write_pairs(tmp_path, 20_000)
  real, calls = command.fuse_jobs, []

  def dies(*arguments):
    for count, done in enumerate(real(*arguments)):
      yield done
      if len(calls) == 6 and count == 800:
        raise SystemExit("killed")

  monkeypatch.setattr(command, "fuse_jobs", lambda *given: calls.append(1) or dies(*given))
  output = tmp_path / "shards"
  shard = ("--process_count=8", "--skip_existing")
  for index in range(8):
    with pytest.raises(SystemExit) if index == 5 else contextlib.nullcontext():
      assert fuse(tmp_path, output, f"--process_index={index}", *shard) == 0
  with pytest.raises(InputError, match="1 of 8 parts are missing or not finished: 5-of-8; do"):
    fuse(tmp_path, output, "--join")
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
  assert fuse(tmp_path, output, "--process_index=5", *shard) == 0
  assert fuse(tmp_path, output, "--join") == 0
  single = tmp_path / "single"
  assert fuse(tmp_path, single, "--process_index=0", "--process_count=1") == 0
  assert fuse(tmp_path, single, "--join") == 0
  after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
  assert (output / "summary.csv").read_bytes() == (single / "summary.csv").read_bytes()
  names = [path.name for path in output.glob("*.png")]
  assert len(names) == 20_000 and len(summary(output)) == 20_001
  assert all((output / n).read_bytes() == (single / n).read_bytes() for n in names)
  assert after - before < 100  # MB; the names of 20,000 pairs


def test_pairs_of_a_bucket_come_from_pages_of_its_listing(monkeypatch):
  monkeypatch.setattr(pages, "PAGE", 7)
  monkeypatch.setattr(requests, "_filesystem", lambda *_: Google(3, 5))
  monkeypatch.setattr(listing, "_listings", {})
  visible, infrared = (storage.path(f"gs://b/{name}") for name in ("visible", "infrared"))
  jobs = find_jobs(visible, infrared, "out", ".png").jobs
  assert [job.name for job in jobs] == [
    f"day_{k:04d}/frame_{j:07d}" for k in range(3) for j in range(5)
  ]
  found = listing.entry(str(jobs[8].visible)).stat()
  assert (found.st_size, found.md5) == (100_008, hashlib.md5(b"8").hexdigest())


@only_full
@pytest.mark.parametrize("place", ("here", "bucket"))
def test_a_million_names_are_listed_in_a_minute_and_a_gigabyte(place, tmp_path):
  """A million pairs of this machine; of a bucket half of them, whose listing is kept."""
  for folder in ("visible", "infrared"):
    (tmp_path / folder).mkdir()
  folders, root = {"here": (1000, str(tmp_path)), "bucket": (500, "gs://data")}[place]
  command = [sys.executable, "-c", LISTING, root, str(folders)]
  done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
  count, last, _, cpu, memory = done.stdout.split()
  print(done.stdout)
  assert (count, last) == (f"{folders}000", f"day_{folders - 1:04d}/frame_0000999")
  assert float(cpu) < 60 and float(memory) < 1
