"""Metric files that survive a crash, finiteness, pictures."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from cfi_jax import logs
from cfi_jax.types import Fusion, Pair


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


def test_panels_show_visible_infrared_fused_gate_side_by_side(tmp_path):
  full = [np.full((2, 4, 6, 1), v) for v in (0.0, 0.25, 1.0)]
  gates = (np.full((2, 4, 6, 1), 0.5), np.full((2, 2, 3, 1), 0.7))
  fusion = Fusion(fused=full[2], gates=gates, features={}, levels=())
  pictures = logs.panels(Pair(visible=full[0], infrared=full[1]), fusion)
  assert len(pictures) == 2
  np.testing.assert_array_equal(pictures[0][0], np.repeat([0, 64, 255, 153], 6))
  with logs.Logs(tmp_path, 0) as writer:
    path = writer.picture(12, "a name", pictures[1])
  assert path.name == "step0000012_a name.png"
  np.testing.assert_array_equal(np.asarray(Image.open(path)), pictures[1])


def test_to_uint8_rounds_to_nearest_and_clips():
  values = np.array([-0.1, 0.0, 0.49 / 255, 0.51 / 255, 1.0, 1.2])
  np.testing.assert_array_equal(logs.to_uint8(values), [0, 0, 0, 1, 255, 255])
