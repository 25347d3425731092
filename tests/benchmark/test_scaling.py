"""What a step on eight devices sends, read from its compiled program, and predictions."""

import json
import os

import pytest
from command_line import run

from cfi_jax.benchmark import scaling
from cfi_jax.benchmark.harness import collectives
from cfi_jax.benchmark.harness.collectives import Traffic
from cfi_jax.benchmark.harness.floors import Cost

HLO = """
HloModule step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

ENTRY %main (p: f32[8,4]) -> f32[4] {
  %p = f32[8,4]{1,0} parameter(0)
  %all-reduce.7 = (f32[4]{0}, bf16[3,2]{1,0}) all-reduce(%p, %q), to_apply=%add
  %gather = (f64[1]{0}, f64[8]{0}) all-gather-start(%p), dimensions={0}
  %end = f64[8]{0} all-gather-done(%gather)
  %call = f32[4]{0} custom-call(%p), custom_call_target="xla_ffi_python_cpu_callback"
  ROOT %dot = f32[4]{0} custom-call(%p), custom_call_target="__onednn$matmul"
}
"""


def test_collectives_and_calls_of_the_host_are_found():
  found = collectives.read(HLO)
  assert found.kinds == {"all-reduce": 1, "all-gather": 1}
  assert found.bytes == 4 * 4 + 2 * 6 + 8 * 1 + 8 * 8
  assert found.host == ("xla_ffi_python_cpu_callback",)


def test_a_prediction_adds_computing_and_communicating():
  chip = scaling.Chip("x", 1e12, 1e14, 8, 1e11, 1e10, 1e-5, 1e-4, "")
  needed, sent = Cost(flops=1e11, bytes=2e9), Traffic({"all-reduce": 30}, 4_000_000, ())
  one, near, far = (scaling.predict(chip, n, 16, needed, sent, 0.5) for n in (1, 8, 64))
  assert one.seconds == pytest.approx(4e-3) and one.share == 0
  assert one.samples == pytest.approx(4000)
  assert near.seconds == pytest.approx(4e-3 + 30e-5 + 1.75 * 4e-5)
  assert far.seconds == pytest.approx(4e-3 + 30e-4 + 2 * 63 / 64 * 4e-4)
  assert far.samples == pytest.approx(64 * 16 / far.seconds)
  assert far.share == pytest.approx(1 - 4e-3 / far.seconds)


def test_a_step_on_eight_devices_only_adds_up(tmp_path, trainer):
  """As launch/README.md says: nothing but all-reduces, and nothing that calls the host."""
  _, _, _, config, _, *overrides = trainer.command(tmp_path)
  output = tmp_path / "scaling.json"
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count=8"
  result = run(
    "cfi_jax.benchmark", "scaling", f"--output={output}", config, *overrides, XLA_FLAGS=flags
  )
  assert result.returncode == 0, result.stderr
  report = json.loads(output.read_text())
  sent = report["traffic"]
  assert list(sent["kinds"]) == ["all-reduce"] and not sent["host"]
  # Each of the two views sends its gradients; the rest are statistics and losses.
  parameters = 4 * report["parameters"]
  assert parameters < sent["bytes"] < 2 * parameters + 40_000
  assert len(report["predictions"]) == len(scaling.CHIPS) * len(scaling.COUNTS)
  assert result.stdout == output.with_suffix(".txt").read_text() + "\n"
