"""Metric files that survive a crash, finiteness, pictures."""

import json
import math

import numpy as np
import pytest
from PIL import Image

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


def test_events_past_the_restored_step_are_purged(tmp_path, monkeypatch):
  given = {}
  monkeypatch.setattr(logs.tensorboardX, "SummaryWriter", lambda *a, **k: given.update(k))
  logs.Logs(tmp_path, 0)
  assert given["purge_step"] == 1
  logs.Logs(tmp_path, 7)
  assert given["purge_step"] == 8
