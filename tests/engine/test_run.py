"""Opening a run: what is refused first, who looks at the lock, and who lists a bucket."""

import dataclasses
import json
import types

import jax
import pytest
import toys
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.workdir.lock import Lock

toys.install()


@pytest.fixture
def toy(pairs):
  """A system and its config."""
  values = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:one").to_dict()
  values["data"]["root"] = str(pairs)
  return systems.configure(values)


@pytest.mark.parametrize(("data", "root"), [({"root": "s3://b"}, "s3://b"), ({}, "")])
def test_the_config_is_looked_at_before_any_file_is(monkeypatch, tmp_path, data, root):
  seen = []

  def streams(config):
    raise InputError("no image")

  monkeypatch.setattr(run_lib.storage, "keep_to", lambda gigabytes: seen.append(gigabytes))
  monkeypatch.setattr(run_lib, "share_listing", seen.append)
  system = types.SimpleNamespace(
    procedure=lambda config, steps: seen.append("procedure"), streams=streams
  )
  config = types.SimpleNamespace(
    batch_size=jax.device_count(), data=data, input=types.SimpleNamespace(cache_gb=3.0)
  )
  with pytest.raises(InputError, match="no image"):
    run_lib.open_run(system, config, tmp_path)
  assert seen == ["procedure", 3.0, root]


def test_a_run_that_a_process_writes_is_not_opened(toy, tmp_path, monkeypatch):
  workdir = tmp_path / "run"
  with Lock(workdir) as lock:
    lock.acquire()
    with pytest.raises(InputError, match="run is being written by process"):
      run_lib.open_run(*toy, workdir)
    monkeypatch.setattr(jax, "process_index", lambda: 1)  # the lock is one for all processes
    assert run_lib.open_run(*toy, workdir).steps == 40


def test_rows_of_held_out_samples_must_be_shared_evenly_too(toy, tmp_path, monkeypatch):
  one, config = toy
  mesh = types.SimpleNamespace(size=2)
  monkeypatch.setattr(run_lib.sharding, "make_mesh", lambda rows: mesh)
  system = types.SimpleNamespace(
    procedure=one.procedure,
    streams=one.streams,
    held_out=lambda config: dataclasses.replace(one.held_out(config), rows=3),
  )
  with pytest.raises(InputError, match="'held out' has 3 rows .* 2 devices .* multiples of 2"):
    run_lib.open_run(system, config, tmp_path / "run")


class Images:
  """Six images."""

  keeps_all = False

  def __len__(self):
    return 6

  def files(self, contents):
    return {"a.png": "10 hash" if contents else "10"}

  def formerly(self):
    return "before"


@pytest.mark.parametrize("contents", [False, True])
def test_a_workdir_knows_a_run_by_its_images_and_its_length(contents):
  config = types.SimpleNamespace(
    steps=0, epochs=1.0, hash_contents=contents, OPERATIONAL=("a",), OLDER={}, fixed_length="fixed"
  )
  stream = types.SimpleNamespace(source=Images(), rows=4)
  found = run_lib.identify(config, {"pairs": stream, "more": stream}, stream, {})
  known = {"a.png": "10 hash" if contents else "10"}
  assert found.files == {"train": known, "more": known, "validation": known}
  assert found.formerly["data.more.sha256"] == "before" and len(found.formerly) == 3
  assert (found.length.steps, found.length.fixed) == (2, "fixed")
  for stored, steps in (({"steps": 4.0, "epochs": 0.0}, 4), ({"steps": 0, "epochs": 1.5}, 3)):
    assert found.length.of(stored) == steps and type(found.length.of(stored)) is int


@pytest.mark.parametrize(
  ("root", "processes", "process", "lists", "takes"),
  [
    ("s3://b", 1, 0, False, False),
    ("s3://b", 2, 0, True, True),
    ("s3://b", 2, 1, False, True),
    ("/data", 2, 0, False, False),
  ],
)
def test_process_0_lists_a_bucket_for_all(monkeypatch, root, processes, process, lists, takes):
  looked, told, taken = [], [], []

  def tell(name, content):
    told.append((name, content))
    return b'{"s3://b": [["x.png", 3]]}'

  monkeypatch.setattr(run_lib.storage, "entries", looked.append)
  monkeypatch.setattr(run_lib.storage, "listings", lambda: {"s3://b": ["\udcff"]})
  monkeypatch.setattr(run_lib.storage, "take_listings", taken.append)
  monkeypatch.setattr(run_lib.sharding, "tell", tell)
  monkeypatch.setattr(jax, "process_count", lambda: processes)
  monkeypatch.setattr(jax, "process_index", lambda: process)
  for _ in range(2):  # under each name something is told once
    run_lib.share_listing(root)
  assert looked == [root] * 2 * lists
  assert taken == [{"s3://b": [["x.png", 3]]}] * 2 * takes
  assert len({name for name, _ in told}) == 2 * takes
  if takes:
    assert json.loads(told[0][1]) == ({"s3://b": ["\udcff"]} if lists else {})


@pytest.mark.parametrize("error", [OSError("away"), InputError("a question mark")])
def test_a_bucket_that_cannot_be_listed_is_told_as_nothing(monkeypatch, error):
  told = []

  def refuse(root):
    raise error

  monkeypatch.setattr(run_lib.storage, "entries", refuse)
  monkeypatch.setattr(run_lib.sharding, "tell", lambda name, found: told.append(found) or found)
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  run_lib.share_listing("s3://b")
  assert told == [b"{}"]
