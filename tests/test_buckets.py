"""Commands on buckets, by the protocols of Google and of S3 on loopback."""

import copy
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid

import buckets
import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
import toys
from buckets import only_on
from command_line import ROOT, free_port
from etils import epath
from full import only_full
from PIL import Image

from cfi_jax import check, convert, datasets, prepare, systems
from cfi_jax.core import cli, storage
from cfi_jax.core import config as config_lib
from cfi_jax.core.storage import BucketPath, cache, requests
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.data import pipeline
from cfi_jax.engine import loop
from cfi_jax.engine.workdir import lock, logs, mirror, record
from cfi_jax.evaluate import __main__ as evaluate
from cfi_jax.fuse import __main__ as fuse
from cfi_jax.systems import files as systems_files
from cfi_jax.weights import shipped

toys.install()


def run(command, *arguments: str) -> int:
  """The exit status of a command in this process."""
  return cli.status(command.main, command.FLAGS, "", arguments)


def test_objects_appear_whole_and_one_writer_makes_a_lock(bucket):
  path = bucket / "a" / "b c%?.txt"
  assert not path.exists() and not path.parent.is_dir() and bucket.is_dir()
  path.write_bytes(b"one")
  assert path.read_bytes() == b"one" and path.read_bytes(1, 3) == b"ne"
  assert path.is_file() and not path.is_dir() and path.parent.is_dir() and path.stat().st_size == 3
  lock = bucket / "lock"
  assert [lock.create_bytes(text) for text in (b"1", b"2", b"1")] == [True, False, True]
  assert [p.name for p in bucket.iterdir()] == ["a", "lock"]
  path.unlink()
  path.unlink(missing_ok=True)
  assert not path.parent.exists()
  nowhere = storage.path(f"{bucket.scheme}://no-{uuid.uuid4().hex[:8]}") / "x"
  with pytest.raises(FileNotFoundError):
    nowhere.write_bytes(b"")


def test_fusing_and_scoring_from_bucket_to_bucket_is_as_on_this_machine(
  bucket, pairs, tmp_path, capsys
):
  only_on("gs", bucket)
  buckets.put(bucket / "in", pairs)
  done = {}
  for root, out in ((str(pairs), str(tmp_path / "out")), (f"{bucket}/in", f"{bucket}/out")):
    sources = [f"--{name}={root}/{name}" for name in ("visible", "infrared")]
    assert run(fuse, *sources, f"--output={out}/fused", "--weights=average") == 0
    assert run(fuse, *sources, f"--output={out}/fused", "--weights=average", "--skip_existing") == 0
    assert "8 skipped" in capsys.readouterr().out
    fused = f"--fused=mine:{out}/fused"
    assert run(evaluate, *sources, fused, f"--output={out}/scores", "--metrics=EN,SD") == 0
    done[root] = sorted(storage.files_below(storage.path(out)))
    assert run(fuse, *sources, f"--output={root}/visible", "--weights=average") == 2
  local, remote = ({p.name: p.read_bytes() for p in files} for files in done.values())
  assert len(local) == 8 + 3 and local.keys() == remote.keys()
  report = "report.html"  # holds links to its pictures
  assert {k: v for k, v in local.items() if k != report} == {
    k: v for k, v in remote.items() if k != report
  }


def test_shards_write_parts_that_are_joined(bucket, pairs):
  only_on("s3", bucket)
  buckets.put(bucket, pairs)
  sources = [f"--{name}={bucket}/{name}" for name in ("visible", "infrared")]
  fusing = [*sources, f"--output={bucket}/fused", "--weights=average"]
  scored = [f"--fused=mine:{bucket}/fused", "--metrics=EN,SD"]
  scoring = [*sources, *scored, f"--output={bucket}/scores"]
  for command, arguments in ((fuse, fusing), (evaluate, scoring)):
    assert run(command, *arguments, "--join") == 2  # no parts yet
    for index in (0, 1, 1):  # the last is done again
      shard = [f"--process_index={index}", "--process_count=2"]
      assert run(command, *arguments, *shard, "--skip_existing") == 0
    assert run(command, *arguments, "--join") == 0
  names = [line.split(",")[0] for line in (bucket / "fused" / "summary.csv").read_text().split()]
  assert names == ["name", *(f"{k:03d}" for k in range(8))]
  assert run(evaluate, *sources, *scored, f"--output={bucket}/whole") == 0
  joined, whole = (bucket / folder / "scores.csv" for folder in ("scores", "whole"))
  assert joined.read_bytes() == whole.read_bytes()


def test_a_pair_of_objects_is_fused_into_an_object(bucket, pairs):
  only_on("s3", bucket)
  buckets.put(bucket, pairs)
  sources = [f"--{name}={bucket}/{name}/003.png" for name in ("visible", "infrared")]
  assert run(fuse, *sources, f"--output={bucket}/one.png", "--weights=average") == 0
  with (bucket / "one.png").open("rb") as file:
    assert np.asarray(Image.open(file)).shape == (24, 24, 3)


def test_checking_and_weights_in_a_bucket(bucket, pairs, capsys):
  only_on("s3", bucket)
  buckets.put(bucket / "data", pairs)
  arguments = ["--config=configs/folder.py", f"--config.data.root={bucket}/data"]
  assert run(check, *arguments, "--config.input.crop=16") == 0
  (bucket / "data" / "visible" / "002.png").write_bytes(b"\x89PNG")
  assert run(check, *arguments, "--config.input.crop=16") == 1
  assert f"{bucket}/data/visible/002.png" in capsys.readouterr().out
  weights = bucket / "mine.safetensors"
  shipped_file = shipped.resolve("visible-infrared")
  weights.upload(shipped_file)
  assert run(convert, f"--checkpoint={weights}", f"--output={bucket}/copy.safetensors") == 0
  assert (bucket / "copy.safetensors").read_bytes() == shipped_file.read_bytes()
  assert (
    run(convert, f"--checkpoint={bucket}/no.safetensors", f"--output={bucket}/x.safetensors") == 2
  )
  assert f"{bucket}/no.safetensors: does not exist" in capsys.readouterr().err


def test_a_cache_that_takes_nothing_ends_a_command_by_one_line(
  bucket, pairs, tmp_path, monkeypatch, capsys
):
  only_on("gs", bucket)
  buckets.put(bucket / "data", pairs)
  (tmp_path / "file").write_bytes(b"")
  monkeypatch.setenv(cache.FOLDER, str(tmp_path / "file"))
  sources = [f"--{m}={bucket}/data/{m}" for m in ("visible", "infrared")]
  shard = ("--process_index=0", "--process_count=1")
  for command, *arguments in (
    (check, "--config=configs/folder.py", f"--config.data.root={bucket}/data"),
    (fuse, *sources, f"--output={tmp_path}/out", "--weights=average"),
    (fuse, *sources, f"--output={tmp_path}/out", "--weights=average", "--normalize_over=folder"),
    (evaluate, *sources, "--weights=average", f"--output={tmp_path}/scores", *shard),
    (evaluate, *sources, "--weights=average", f"--output={tmp_path}/scores"),
  ):
    assert run(command, *arguments) == 2
    told = capsys.readouterr().err
    assert told.count("cannot be kept there") == 1 and "Traceback" not in told, told
    assert f"error: {tmp_path}/file: what is fetched" in told and str(bucket) not in told, told


@pytest.mark.parametrize("fault", (503, 429, "cut", "slow"))
def test_faults_that_pass_are_waited_out(bucket, proxy, monkeypatch, fault):
  only_on("gs" if fault in (503, "cut") else "s3", bucket)
  every = requests._OPTIONS
  for options in (every["gs"], every["s3"]["config_kwargs"], every["az"]):
    for name in ("requests_timeout", "read_timeout"):
      if name in options:
        monkeypatch.setitem(options, name, 0.5 if fault == "slow" else 30)
  buckets.forget_all()
  path = bucket / "key"
  path.write_bytes(b"content" * 1000)
  proxy.faults = [fault] * 2
  assert path.read_bytes() == b"content" * 1000 and proxy.faults == []
  if fault != "slow":
    proxy.faults, proxy.matching = [fault], lambda method, path: method in ("PUT", "POST")
    path.write_bytes(b"new")
    assert path.read_bytes() == b"new" and proxy.faults == []


def test_faults_that_stay_are_one_line_that_names_the_object(
  bucket, proxy, pairs, capsys, tmp_path
):
  only_on("gs", bucket)
  buckets.put(bucket, pairs)
  sources = [f"--{name}={bucket}/{name}" for name in ("visible", "infrared")]
  proxy.faults, proxy.matching = [403] * 99, lambda method, path: "004.png" in path
  assert run(fuse, *sources, f"--output={tmp_path / 'out'}", "--weights=average") == 1
  told = capsys.readouterr().err
  assert told.count(f"{bucket}/visible/004.png: no permission") == 1 and "Traceback" not in told
  assert len(list((tmp_path / "out").iterdir())) == 7
  proxy.matching = lambda method, path: method in ("PUT", "POST")
  assert run(fuse, *sources, f"--output={bucket}/out", "--weights=average") == 2
  told = capsys.readouterr().err
  assert told.count("\n") == 1 and f"{bucket}/out: the output cannot be written: no perm" in told
  proxy.faults = []
  assert buckets.get(bucket / "out") == {}


def tiny(**changes) -> dict:
  """A run of a toy of 8 steps."""
  values = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:one").to_dict()
  values |= {"steps": 8, "validate_every": 4, "validation_pairs": 1, "log_every": 1}
  values["checkpoint"]["every"] = 2
  return values | changes


def train(values: dict, workdir) -> int:
  """Steps of a run when it ends."""
  return loop.train(*systems.configure(values), storage.path(workdir))


def rows(workdir) -> list[dict]:
  """The log without what depends on the clock."""
  read = logs.read_metrics(workdir / logs.METRICS_FILE)
  return [{k: v for k, v in row.items() if k not in logs.CLOCK} for row in read]


class Killed(BaseException):
  """An end that no code catches, as a process that ends catches nothing."""


def test_a_run_in_a_bucket_killed_twice_ends_as_one_on_this_machine(
  bucket, pairs, tmp_path, monkeypatch, checkpoint_leaves, capsys
):
  only_on("s3", bucket)
  buckets.put(bucket / "data", pairs)
  local, there = tiny(), tiny(profile_steps="6:8")
  local["data"]["root"], there["data"]["root"] = str(pairs), f"{bucket}/data"
  for values in (local, there):  # none goes before the mirror has seen it
    values["checkpoint"]["keep"] = 4
  assert train(local, tmp_path / "whole") == 8
  run, upload, write = bucket / "run", BucketPath.upload, BucketPath.write_bytes
  monkeypatch.setattr(mirror, "EVERY", 0.05)

  def end_at(step: int, name: str) -> None:
    """Ends all writing before the object of that step and name."""
    dead = []

    def until(write, path, content):
      if dead or (f"/checkpoints/{step}/" in str(path) and name in path.name):
        dead.append(path)
        raise Killed
      write(path, content)

    monkeypatch.setattr(BucketPath, "upload", lambda path, file: until(upload, path, file))
    monkeypatch.setattr(
      BucketPath, "write_bytes", lambda path, content: until(write, path, content)
    )
    with pytest.raises((Killed, StorageError)):
      train(there, run)
    monkeypatch.setattr(BucketPath, "upload", upload)
    monkeypatch.setattr(BucketPath, "write_bytes", write)
    assert dead and step not in mirror.committed(run), sorted(buckets.get(run))

  monkeypatch.setattr(threading, "excepthook", lambda *_: None)  # threads of what was killed
  end_at(4, "manifest")  # inside a save
  assert mirror.committed(run).keys() <= {2} and any(
    "/checkpoints/4/" in f"/{k}" for k in buckets.get(run)
  )
  end_at(8, mirror.COMMIT)  # all of it but that it is whole
  assert train(there, run) == 8 and train(there, run) == 8
  assert sorted(mirror.committed(run)) == [2, 4, 6, 8] and not (run / "run.lock").exists()
  assert_equal_runs(run, tmp_path / "whole", 8, checkpoint_leaves)
  pictures = sorted((tmp_path / "whole" / logs.PICTURES).iterdir())
  assert pictures and all(
    (run / logs.PICTURES / p.name).read_bytes() == p.read_bytes() for p in pictures
  )
  assert any(key.startswith("tensorboard/events") for key in buckets.get(run))
  traces = run / "profile" / "plugins" / "profile" / "steps_6_to_7"
  assert f"profile of the steps 6 to 7: {traces}\n" in capsys.readouterr().out
  assert (traces / "process_0.xplane.pb").is_file()
  stored = record.read(run)
  assert len(stored["starts"]) == 4 and stored["config"]["data"]["root"] == f"{bucket}/data"
  weights = files_of_weights(run), files_of_weights(tmp_path / "whole")
  assert weights[0] == weights[1]


def files_of_weights(workdir) -> list:
  """The variables of a run's best checkpoint."""
  return jax.tree.map(lambda leaf: leaf.tolist(), systems_files.read(workdir)[0])


def test_one_process_writes_a_workdir_in_a_bucket(bucket, monkeypatch):
  monkeypatch.setattr(lock, "RENEW_EVERY", 0.05)
  run = bucket / "run"
  with lock.Lock(run) as held:
    held.acquire()
    with pytest.raises(InputError, match="is being written by process"):
      lock.Lock(run).acquire()
    (run / lock.FILE).write_bytes(b'{"token": "other"}')
    deadline = time.monotonic() + 20
    while not held._lost.is_set() and time.monotonic() < deadline:
      time.sleep(0.05)
    with pytest.raises(InputError, match="was taken over"):
      held.require()
  assert buckets.get(run).keys() == {lock.FILE}  # another's
  (run / lock.FILE).write_bytes(
    json.dumps(lock._self() | {"token": "dead", "started": "0"}).encode()
  )
  with lock.Lock(run) as taken:
    taken.acquire()
    first = lock._renewed(run / lock.FILE)
    while lock._renewed(run / lock.FILE) == first and time.monotonic() < deadline:
      time.sleep(0.1)
    assert lock._renewed(run / lock.FILE) > first
  assert not buckets.get(run) and lock._renewed(run / lock.FILE) is None


def test_orbax_reads_what_a_mirror_writes(bucket, server, tmp_path, monkeypatch):
  """On gs:// Orbax knows the checkpoint, and its marker, as its own."""
  run = bucket / "run"
  with mirror.Mirror(run, lambda: None) as here:
    folder = here.folder / "checkpoints"
    with ocp.CheckpointManager(folder, item_handlers=ocp.StandardCheckpointHandler()) as manager:
      manager.save(3, args=ocp.args.StandardSave({"x": np.arange(5)}))
  if bucket.scheme != "gs":
    return
  monkeypatch.setenv("TENSORSTORE_GCS_HTTP_URL", server[1])
  remote = epath.Path(f"{run}/checkpoints")
  with ocp.CheckpointManager(remote, item_handlers=ocp.StandardCheckpointHandler()) as manager:
    assert list(manager.all_steps()) == [3]
    restored = manager.restore(3, args=ocp.args.StandardRestore({"x": np.zeros(5, int)}))
  np.testing.assert_array_equal(restored["x"], np.arange(5))


def start(values: dict, workdir, *flags: str) -> subprocess.Popen:
  """The command that trains a toy, in a process of its own."""
  config = [f"--config={ROOT / 'tests' / 'toys' / 'tiny.py'}:one"]
  config += [f"--config.{name}={values[name]}" for name in ("steps", "log_every", "validate_every")]
  config += [f"--config.checkpoint.every={values['checkpoint']['every']}"]
  config += [f"--config.data.root={values['data']['root']}", "--config.validation_pairs=1"]
  command = [sys.executable, str(ROOT / "tests" / "toys" / "train.py"), *config, *flags]
  return subprocess.Popen(
    [*command, f"--workdir={workdir}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
  )  # fmt: skip


def assert_equal_runs(run, whole, step: int, checkpoint_leaves) -> None:
  """A run in a bucket and one on this machine end alike."""
  ours, theirs = (checkpoint_leaves(mirror.fetched(where), step) for where in (run, whole))
  assert ours.keys() == theirs.keys()
  for name, leaf in theirs.items():
    np.testing.assert_array_equal(ours[name], leaf, err_msg=name)
  assert rows(run) == rows(whole)


@only_full
def test_a_process_killed_twice_goes_on_in_a_bucket(bucket, pairs, tmp_path, checkpoint_leaves):
  buckets.put(bucket / "data", pairs)
  values = tiny(steps=1200, log_every=100, validate_every=600)
  values["checkpoint"]["every"] = 200
  local, there = copy.deepcopy(values), copy.deepcopy(values)
  local["data"]["root"], there["data"]["root"] = str(pairs), f"{bucket}/data"
  whole, run = tmp_path / "whole", bucket / "run"
  assert start(local, whole).wait(300) == 0

  def is_saving() -> bool:
    steps = {int(f.name) for f in mirror._folders(run / "checkpoints") if f.name.isdigit()}
    return bool(steps - set(mirror.committed(run)))

  for ready in (lambda: mirror.committed(run), is_saving):
    process = start(there, run)
    while not ready() and process.poll() is None:
      time.sleep(0.01)
    process.kill()
    assert process.wait() == -signal.SIGKILL, process.stdout.read()
    assert (run / lock.FILE).exists()
  process = start(there, run)
  output = process.communicate(timeout=300)[0]
  assert process.returncode == 0 and "which is no more" in output and "going on after" in output
  assert_equal_runs(run, whole, 1200, checkpoint_leaves)


@only_full
def test_two_processes_share_a_workdir_in_a_bucket(bucket, pairs, tmp_path, checkpoint_leaves):
  buckets.put(bucket / "data", pairs)
  values = tiny(steps=8)
  for root, workdir in ((str(pairs), tmp_path / "whole"), (f"{bucket}/data", bucket / "run")):
    values["data"]["root"] = root
    for steps in (4, 8):  # the second start goes on
      values["steps"] = steps
      flags = (f"--coordinator=localhost:{free_port()}", "--processes=2")
      flags += ("--config.profile_steps=2:4",)
      both = [start(values, workdir, *flags, f"--process={k}") for k in (0, 1)]
      outputs = [process.communicate(timeout=300)[0] for process in both]
      assert [process.returncode for process in both] == [0, 0], outputs
  assert_equal_runs(bucket / "run", tmp_path / "whole", 8, checkpoint_leaves)
  assert {key.rpartition("/")[2] for key in buckets.get(bucket / "run" / "profile")} == {
    f"process_{k}.{kind}" for k in (0, 1) for kind in ("xplane.pb", "trace.json.gz")
  }


def test_prepared_records_come_from_a_bucket_shard_by_shard(bucket, pairs, tmp_path, monkeypatch):
  only_on("gs", bucket)
  for name, folder in (("visible", "visible"), ("infrared", "infrared")):
    for part in ("train", "test"):
      buckets.put(bucket / "raw" / folder / part, pairs / name)
  root, out = f"{bucket}/raw", f"{bucket}/prepared"
  flags = ["--dataset=llvip", f"--root={root}", f"--data_dir={out}"]
  assert run(prepare, *flags) == 0 and run(prepare, *flags) == 0
  assert any("array_record" in key for key in buckets.get(bucket / "prepared"))
  plain = {"validation_fraction": 0.25}
  data = {"name": "tfds", "builder": "llvip", "split_by": "shipped", "test_fraction": 0.0}
  ours = datasets.load(plain | data | {"root": out}).source("train")
  theirs = datasets.load(plain | {"name": "llvip", "root": root}).source("train")
  assert ours.names == theirs.names and ours.fingerprint() == theirs.fingerprint()
  assert set(ours.shards()) == {0} and theirs.shards() == ()
  options = pipeline.Input(16, True, True, 0, 1, 1, 0.0, shuffle="shards")
  assert len({pipeline.Samples(ours, options, 0)._place(k) for k in range(len(ours))}) == len(ours)
  with pytest.raises(InputError, match="input.shuffle='shards': Llvip train has no shards"):
    pipeline.Samples(theirs, options, 0)
  monkeypatch.setenv(cache.BOUND, "1e-6")  # 1000 bytes: each shard replaces the other
  for k in range(len(ours)):
    for name, image in theirs[k].items():
      np.testing.assert_array_equal(ours[k][name], image)
  (bucket / "raw" / "visible" / "train" / "007.png").unlink()
  (bucket / "raw" / "infrared" / "train" / "007.png").unlink()
  assert run(prepare, *flags) == 2
