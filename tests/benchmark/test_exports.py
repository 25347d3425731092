"""Exported files as contenders: made of the weights in the folder, and run from host to host."""

import types

import numpy as np
import pytest

from cfi_jax.benchmark.harness import contenders, exports, ours
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.core.types import InputError
from cfi_jax.systems.files import load_fuser


def test_a_file_is_made_and_fuses_as_the_library(tmp_path, monkeypatch, random):
  pytest.importorskip("flatbuffers", reason="the extra `export` is not installed")
  asked = []

  def load(path):
    asked.append(path)
    return load_fuser("average")

  monkeypatch.setattr(exports, "load_fuser", load)
  assert exports.write(["cfi_jax"], tmp_path, (16, 24), 1, "float32") == []
  (note,) = exports.write(["cfi_jax", "stablehlo"], tmp_path, (16, 24), 1, "float32")
  assert asked == [tmp_path / "weights.safetensors"] and note.startswith("stablehlo: a file of 0.0")
  visible, infrared = random.random((2, 3, 16, 24), np.float32)
  np.savez(tmp_path / "inputs.npz", visible=visible, infrared=infrared)
  made = ours.make(Spec("fuse", "stablehlo", str(tmp_path), "float32", resident=False))
  made.prepare()
  made.run(2)
  np.testing.assert_allclose(made.output()["fused"], (visible + infrared) / 2, atol=1e-6)
  assert made.facts()["compile_seconds"] > 0
  with pytest.raises(InputError, match="--no-resident"):
    ours.make(Spec("fuse", "stablehlo", str(tmp_path), "float32", resident=True))


def test_they_run_where_they_are_asked_for():
  asked = types.SimpleNamespace(contenders=["cfi_jax", "stablehlo", "onnx"])
  assert contenders.choose("fuse", (), asked)[0] == asked.contenders
  usual = contenders.JAX_NAMES["fuse"]
  assert contenders.choose("fuse", usual, types.SimpleNamespace(contenders=None))[0] == [*usual]
  with pytest.raises(InputError, match="valid: .*stablehlo, onnx"):
    contenders.choose("fuse", (), types.SimpleNamespace(contenders=["tflite"]))
