"""The loop over jobs: which are computed together, and how far files are read and written ahead."""

import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from cfi_jax.fuse import jobs as jobs_lib
from cfi_jax.fuse.jobs import Options, fuse_jobs
from cfi_jax.images import write as pictures

OPTIONS = Options(gray=False, memory_mb=100, max_pixels=10_000, resize="")


def test_two_threads_and_one_for_each_device_read_and_as_many_write(monkeypatch):
  made = []
  monkeypatch.setattr(
    jobs_lib, "_pool", lambda count: made.append(count) or ThreadPoolExecutor(count)
  )
  fusing = types.SimpleNamespace(
    devices=(0, 1, 2), takes_valid=True, reserve=lambda sizes, memory_mb: None
  )
  assert list(fuse_jobs(fusing, [], OPTIONS, "normalizer")) == []
  assert made == [5, 5]


@pytest.fixture
def flow(monkeypatch):
  """A function of sizes by name: what happens to jobs of two devices, in order, and their ends."""

  def do(sizes):
    events = []

    class Pool(ThreadPoolExecutor):
      """Does what is submitted when its result is asked for, and reads ahead at once."""

      def submit(self, function, *arguments):
        if arguments[:1] == (pictures.write_image,):
          return types.SimpleNamespace(result=lambda: function(*arguments))
        return super().submit(function, *arguments)

    def compute(fusing, pairs, options):
      events.append("".join(job.name for job, _ in pairs))
      return [(job, None) for job, _ in pairs]

    monkeypatch.setattr(jobs_lib, "_pool", Pool)
    monkeypatch.setattr(jobs_lib, "_size", lambda job, options: sizes[job.name])
    monkeypatch.setattr(jobs_lib, "read_ready", lambda *_: types.SimpleNamespace(done=[]))
    monkeypatch.setattr(jobs_lib, "_compute", compute)
    monkeypatch.setattr(pictures, "write_image", lambda path, _: events.append(f"wrote {path}"))
    fusing = types.SimpleNamespace(
      devices=(0, 1),
      takes_valid=True,
      reserve=lambda given, memory_mb: events.append((given, memory_mb)),
      bucket=lambda size: size[0] // 10,
    )
    jobs = [jobs_lib.Job(name, None, None, name) for name in sizes]
    return events, list(fuse_jobs(fusing, jobs, OPTIONS, "normalizer"))

  return do


def test_a_batch_is_of_one_bucket_and_as_many_jobs_as_devices(flow):
  sizes = {"a": (20, 8), "b": (9, 9), "c": (21, 8), "d": (25, 8), "e": (8, 8)}
  events, ends = flow(sizes)
  assert events[0] == (list(sizes.values()), 100)
  assert [event for event in events[1:] if not event.startswith("wrote")] == ["be", "ac", "d"]
  assert [(job.name, job.size, end) for job, end in ends] == [(n, sizes[n], "") for n in "beacd"]


def test_two_results_of_each_device_wait_while_others_are_computed(flow):
  events, _ = flow(dict.fromkeys("abcdefgh", (8, 8)))
  early = ["ab", "cd", "ef", "wrote a", "wrote b", "gh", "wrote c", "wrote d"]
  assert events[1:] == [*early, *(f"wrote {name}" for name in "efgh")]


def test_two_batches_are_read_ahead_of_the_one_that_is_asked_for():
  taken = []
  items = (taken.append(k) or k for k in range(5))
  with ThreadPoolExecutor(1) as pool:
    results = jobs_lib._ahead(pool, lambda k: 10 * k, items)
    assert next(results) == 0 and taken == [0, 1, 2]
    assert list(results) == [10, 20, 30, 40]


def test_after_an_exception_only_the_work_under_way_is_finished():
  begun = threading.Event()
  with pytest.raises(ValueError, match="stop"), jobs_lib._pool(1) as pool:
    first = pool.submit(lambda: begun.set() or time.sleep(0.05))
    second = pool.submit(begun.set)
    begun.wait()
    raise ValueError("stop")
  assert first.done() and not first.cancelled() and second.cancelled()
