"""Metric files that survive a crash, finiteness, pictures."""

import errno
import json
import math
import types

import jax
import numpy as np
import pytest
from PIL import Image
from tensorboardX.proto import event_pb2

from cfi_jax.engine.workdir import logs


def test_rows_past_the_restored_step_and_a_cut_off_line_are_dropped(tmp_path):
  with logs.Logs(tmp_path, 0) as writer:
    for step in (1, 2, 3):
      writer.write("train", step, {"loss": step / 2})
    writer.write("validation", 3, {"loss": 1.0})
  path = tmp_path / logs.METRICS_FILE
  with path.open("a") as file:
    file.write('{"kind": "train", "step": 4, "lo')
  with logs.Logs(tmp_path, 2) as writer:
    writer.write("train", 3, {"loss": 9.0})
  rows = [json.loads(line) for line in path.read_text().splitlines()]
  assert [(row["kind"], row["step"], row["loss"]) for row in rows] == [
    ("train", 1, 0.5),
    ("train", 2, 1.0),
    ("train", 3, 9.0),
  ]
  assert logs.read_metrics(path) == rows


def test_tensorboard_events_hold_the_same_values(tmp_path):
  with logs.Logs(tmp_path, 0) as writer:
    writer.write("train", 1, {"loss": 0.25})
  (events,) = (tmp_path / logs.TENSORBOARD).iterdir()
  assert b"train/loss" in events.read_bytes()
  assert writer._file.closed and writer._events._writer._py_recordio_writer._writer.closed


def test_a_new_run_has_no_damaged_lines(tmp_path, capsys):
  with logs.Logs(tmp_path / "new" / "run", 0) as writer:
    writer.write("train", 1, {"loss": 0.25})
  assert capsys.readouterr().out == ""


def test_check_finite_names_step_and_parts():
  logs.check_finite(3, {"loss": 1.0})
  with pytest.raises(logs.DivergedError, match="step 7: gradient = nan, loss = inf"):
    logs.check_finite(7, {"gradient": math.nan, "intensity": 0.5, "loss": math.inf})


def test_pictures_are_named_by_step(tmp_path):
  image = np.arange(24, dtype=np.uint8).reshape(4, 6)
  with logs.Logs(tmp_path, 0) as writer:
    path = writer.picture(12, "a name", image)
  assert path.name == "step0000012_a name.png"
  np.testing.assert_array_equal(np.asarray(Image.open(path)), image)


@pytest.fixture
def clock(monkeypatch):
  """Seconds that pass only when the test says so."""
  clock = types.SimpleNamespace(now=100.0)
  monkeypatch.setattr(logs.time, "perf_counter", lambda: clock.now)
  return clock


CONFIG = types.SimpleNamespace(batch_size=12, log_every=3)


def chunk(last, count, waited=0.0):
  return types.SimpleNamespace(last=last, count=count, waited=waited)


def rows_of(workdir):
  return logs.read_metrics(workdir / logs.METRICS_FILE)


def test_rows_are_of_the_steps_due_and_of_the_last(tmp_path, clock):
  """Dispatches of three, of two and of one step; a dispatch's buffers may be longer."""
  with logs.Writer(tmp_path, CONFIG, 4, 10) as writer:
    writer.add(chunk(7, 3, waited=1.5), {"loss": np.array([5.0, 6.0, 7.0, 0.0])})
    clock.now += 4
    writer.add(chunk(9, 2, waited=0.5), {"loss": np.array([8.0, 9.0, 0.0, 0.0])})
    clock.now += 6
    assert writer.flush(3) == 9
    first = {"step_seconds": 2.0, "samples_per_second": 6.0, "input_wait": 0.2, "compilations": 3}
    assert rows_of(tmp_path) == [
      {"kind": "train", "step": step, "loss": float(step)} | first for step in (6, 9)
    ]
    writer.add(chunk(10, 1, waited=1.0), {"loss": np.array(10.0)})
    clock.now += 4
    assert writer.flush(4) == 10
  course = {"step_seconds": 4.0, "samples_per_second": 3.0, "input_wait": 0.25, "compilations": 4}
  assert rows_of(tmp_path)[2:] == [{"kind": "train", "step": 10, "loss": 10.0} | course]
  assert writer._logs._file.closed


def test_a_validation_does_not_count_as_training_time(tmp_path, clock):
  with logs.Writer(tmp_path, CONFIG, 0, 3) as writer:
    clock.now += 50
    writer.validated(0, {"loss": 0.5}, {"a": np.zeros((2, 2), np.uint8)})
    writer.add(chunk(3, 3), {"loss": np.zeros(3)})
    clock.now += 6
    writer.flush(1)
  validation, train = rows_of(tmp_path)
  assert validation == {"kind": "validation", "step": 0, "loss": 0.5}
  assert train["step_seconds"] == 2 and train["input_wait"] == 0
  assert (tmp_path / logs.PICTURES / "step0000000_a.png").is_file()


def test_the_first_step_that_is_not_finite_is_named_and_nothing_of_it_written(tmp_path, clock):
  config = types.SimpleNamespace(batch_size=1, log_every=1)
  with logs.Writer(tmp_path, config, 0, 9) as writer:
    writer.add(chunk(4, 4), {"loss": np.array([1.0, 2.0, np.nan, np.inf])})
    clock.now += 1
    with pytest.raises(logs.DivergedError, match="step 3: loss = nan"):
      writer.flush(1)
  assert [row["step"] for row in rows_of(tmp_path)] == [1, 2]


def test_other_processes_than_the_first_write_nothing(tmp_path, clock, monkeypatch):
  monkeypatch.setattr(jax, "process_index", lambda: 1)
  with logs.Writer(tmp_path, CONFIG, 0, 3) as writer:
    writer.add(chunk(3, 3), {"loss": np.array([1.0, 2.0, 3.0])})
    clock.now += 1
    assert writer.flush(1) == 3
    writer.validated(3, {"loss": 1.0}, {"a": np.zeros((2, 2), np.uint8)})
    writer.add(chunk(4, 1), {"loss": np.array(np.nan)})
    clock.now += 1
    with pytest.raises(logs.DivergedError):
      writer.flush(1)
  assert list(tmp_path.iterdir()) == []


def read_events(path):
  """All events of a file: an 8-byte length and its checksum, the event, its checksum."""
  content, events = path.read_bytes(), []
  while content:
    length = int.from_bytes(content[:8], "little")
    events.append(event_pb2.Event.FromString(content[12 : 12 + length]))
    content = content[16 + length :]
  return events


def test_events_past_the_restored_step_are_purged(tmp_path):
  with logs.Logs(tmp_path, 7) as writer:
    writer.write("train", 8, {"loss": 0.25})
    writer.picture(8, "a", np.zeros((4, 6, 3), np.uint8))
    (path,) = (tmp_path / logs.TENSORBOARD).iterdir()
    version, start, scalar, image = read_events(path)  # without waiting for the end
  assert version.file_version == "brain.Event:2"
  assert start.session_log.status == event_pb2.SessionLog.START and start.step == 8
  assert scalar.step == image.step == 8 and scalar.summary.value[0].simple_value == 0.25
  assert scalar.summary.value[0].tag == "train/loss"
  assert (image.summary.value[0].image.height, image.summary.value[0].image.width) == (4, 6)


def test_grey_and_colour_pictures_are_also_events(tmp_path):
  with logs.Logs(tmp_path, 0) as writer:
    for shape in ((4, 6), (4, 6, 3)):
      writer.picture(2, "a", np.zeros(shape, np.uint8))
    (path,) = (tmp_path / logs.TENSORBOARD).iterdir()
    found = [event.summary.value[0] for event in read_events(path)[2:]]
  assert [value.tag for value in found] == ["validation/a"] * 2
  assert [(value.image.height, value.image.width) for value in found] == [(4, 6)] * 2


ROW = {"kind": "train", "step": 1, "loss": 0.5}
BAD_LINES = [b"", b"{", b"[]", b"7", b"\xff\xfe", b"[" * 100_000, b'{"kind": "train"}']
BAD_LINES += [
  json.dumps(ROW | change).encode()
  for change in ({"kind": "x"}, {"kind": []}, {"step": "1"}, {"step": 1.5}, {"loss": "a"})
]
BAD_LINES += [b'{"kind": "train", "step": 1, "lozs": 1}', b"\x00" * 30]


@pytest.mark.parametrize("bad", BAD_LINES, ids=range(len(BAD_LINES)))
def test_a_damaged_line_costs_itself_alone(tmp_path, bad, capsys):
  path = tmp_path / logs.METRICS_FILE
  rows = [ROW | {"step": step} for step in (1, 2, 3)]
  lines = [json.dumps(row).encode() for row in rows]
  path.write_bytes(b"\n".join([lines[0], bad, lines[1], lines[2], b'{"cut']))
  assert logs.read_metrics(path) == rows
  with logs.Logs(tmp_path, 2):
    pass
  assert logs.read_metrics(path) == rows[:2]
  assert capsys.readouterr().out == f"{path}: 1 damaged lines are left out\n"
  with logs.Logs(tmp_path, 2):
    pass
  assert capsys.readouterr().out == ""


def test_a_full_disk_is_met_where_the_row_is_written(tmp_path, monkeypatch):
  def full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")

  with (
    pytest.raises(OSError, match="No space left"),
    logs.Logs(tmp_path, 0) as writer,
  ):
    monkeypatch.setattr(writer._events._writer._py_recordio_writer._writer, "write", full)
    writer.write("train", 1, {"loss": 0.5})
  assert [row["step"] for row in logs.read_metrics(tmp_path / logs.METRICS_FILE)] == [1]
