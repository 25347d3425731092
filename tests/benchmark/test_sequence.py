"""The benchmark of sequences: frames a second and memory by the number of frames."""

import json

import pytest

from cfi_jax.benchmark import __main__ as command
from cfi_jax.core import cli
from cfi_jax.fuse import __main__ as fusing


def test_recordings_of_several_lengths_are_fused(tmp_path, monkeypatch, capsys):
  pytest.importorskip("av", reason="the extra video, PyAV, is not installed")
  from cfi_jax.benchmark import sequence

  def fuse(flags):
    assert cli.status(fusing.main, fusing.FLAGS, "", flags) == 0
    return 2.0, 100.0

  monkeypatch.setattr(sequence, "fuse", fuse)
  output = tmp_path / "sequence.json"
  flags = ("--frames=3,6", "--size=16x24", f"--output={output}")
  assert command.main(["sequence", *flags]) == 0
  rows = json.loads(output.read_text())["rows"]
  assert [(r["frames"], r["written"], r["peak_mb"]) for r in rows] == [(3, 3, 100), (6, 6, 100)]
  assert "     6       3.0      100        6" in output.with_suffix(".txt").read_text()
  assert command.main(["sequence", "--frames=0"]) == 2
  assert "--frames=0; allowed: numbers from 1" in capsys.readouterr().err
