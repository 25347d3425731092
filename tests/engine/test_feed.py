"""Two ways of samples to the devices, how one is chosen, and what is said of it."""

import dataclasses

import jax
import numpy as np
import pytest

from cfi_jax.core import keys
from cfi_jax.data import pipeline
from cfi_jax.engine import feed
from cfi_jax.engine.procedure import Stream
from cfi_jax.images.read import Header

OPTIONS = pipeline.Input(
  crop=16, flip=True, transpose=True, workers=0, threads=1, prefetch=1, device_gb=0
)


class Headers:
  """A source of the size of MSRS, of which no file is read."""

  def check_headers(self):
    header = Header(480, 640, np.uint8, 1)
    return [{"visible": header, "infrared": header}] * 1083


def stream(device_gb):
  return Stream(Headers(), 16, dataclasses.replace(OPTIONS, device_gb=device_gb), None)


@pytest.mark.parametrize(
  ("device_gb", "kind"), [(0, feed.Streamed), (0.665, feed.Streamed), (0.666, feed.Resident)]
)
def test_a_set_of_the_size_of_msrs_stays_if_it_fits(device_gb, kind):
  chosen = feed.choose(stream(device_gb), seed=0)
  assert type(chosen) is kind and chosen.gigabytes == pytest.approx(2 * 1083 * 480 * 640 / 1e9)
  assert "0.665 GB" in chosen.description and ("stay on" in chosen.description) == (
    kind is feed.Resident
  )
  assert ("device_gb=0" in chosen.advice) == (kind is feed.Resident)


def test_a_set_as_large_as_its_limit_stays():
  size = feed.choose(stream(0), seed=0).gigabytes
  assert type(feed.choose(stream(size), seed=0)) is feed.Resident


def test_held_out_samples_are_read_anew_and_count_for_nothing():
  held = feed.held_out(stream(device_gb=9))
  assert type(held) is feed.Streamed and held.channels == {"visible": 1, "infrared": 1}
  assert (held.seed, held.gigabytes, held.canvases) == (0, 0.0, ())


def test_shapes_are_those_of_a_step():
  streamed, kept = (feed.choose(stream(gb), seed=0) for gb in (0, 1))
  assert {k: v.shape for k, v in streamed.item.items()} == dict.fromkeys(
    ("visible", "infrared"), (16, 16, 16, 1)
  )
  assert streamed.canvases == () and kept.item.shape == (16, 6)
  assert {k: v.dtype for k, v in kept.canvases.items()} == dict.fromkeys(
    ("visible", "infrared"), np.uint8
  )


def test_the_first_stream_has_the_seed_of_the_run_and_others_one_of_their_name():
  assert feed.seeds(7, ["pairs"]) == {"pairs": 7}
  found = feed.seeds(7, ["pairs", "support", "more"])
  assert found["pairs"] == 7 and len(set(found.values())) == 3
  assert (
    found["more"]
    == feed.seeds(7, ["pairs", "more"])["more"]
    != feed.seeds(8, ["x", "more"])["more"]
  )
  names = [f"stream {i}" for i in range(20)]
  drawn = feed.seeds(7, names)
  assert drawn[names[0]] == 7
  for name in names[1:]:
    words = np.random.SeedSequence((7, keys.name_number(name))).generate_state(1)
    assert drawn[name] == words[0] % 2**31


def test_samples_are_finished_one_by_one_with_a_key_each():
  def finish(images, key):
    assert images["a"].shape == (2, 2, 1)
    return images["a"].sum(), jax.random.uniform(key)

  given = Stream(None, 3, OPTIONS, finish)
  images = {"a": np.arange(12.0).reshape(3, 2, 2, 1)}
  sums, drawn = feed.finish(given, images, jax.random.key(0), "pairs")
  np.testing.assert_array_equal(sums, [6, 22, 38])
  assert len(np.unique(drawn)) == 3
  other = feed.finish(given, images, jax.random.key(0), "support")[1]
  assert not np.intersect1d(drawn, other).size


@pytest.mark.parametrize("count", [0, 1, 2])
def test_channels_are_those_of_the_records(count):
  headers = [{"visible": Header(2, 2, np.uint8, 3), "infrared": Header(2, 2, np.uint8, 1)}] * count
  assert feed._channels(headers) == ({"visible": 3, "infrared": 1} if count else {})


def test_the_items_of_a_step_are_those_of_every_stream():
  class Counted:
    def __init__(self, name):
      self.name = name

    def items(self, start, stop):
      return iter([f"{self.name}{step}" for step in range(start + 1, stop + 1)])

  found = list(feed.items({"a": Counted("a"), "b": Counted("b")}, 2, 4))
  assert found == [{"a": "a3", "b": "b3"}, {"a": "a4", "b": "b4"}]
