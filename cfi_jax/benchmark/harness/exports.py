"""Exported files as contenders of `fuse`: made by the parent, each run in its own process."""

import pathlib
from collections.abc import Sequence

import numpy as np

from cfi_jax.benchmark.harness.compiled import Fuse
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.benchmark.harness.timing import timed
from cfi_jax.core.types import InputError
from cfi_jax.fusion.fuser import Size
from cfi_jax.fusion.graphs import HasGraph
from cfi_jax.systems import exported, onnx
from cfi_jax.systems.files import load_fuser

FILES = {"stablehlo": "exported.zip", "onnx": "exported.onnx"}


def write(
  names: Sequence[str], folder: pathlib.Path, size: Size, channels: int, dtype: str
) -> list[str]:
  """Exports the weights in the folder as the contenders among `names` need it; notes on sizes."""
  notes = []
  for name in [name for name in names if name in FILES]:
    fuser = load_fuser(folder / "weights.safetensors")
    if not isinstance(fuser, HasGraph):
      raise InputError(f"--contenders: {name}: these weights cannot be exported")
    graph = fuser.fusion_graph(size, channels=channels, dtype=dtype, plain=name == "onnx")
    content = onnx.to_bytes(graph, {}) if name == "onnx" else exported.to_bytes([graph], {})
    (folder / FILES[name]).write_bytes(content)
    notes.append(f"{name}: a file of {len(content) / 1e6:.2f} MB")
  return notes


class Exported(Fuse):
  """The program of a file, from host to host: by JAX, or by onnxruntime on the CPU."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    if self.resident:
      raise InputError(f"{spec.name} is measured from host to host: --no-resident")
    visible, infrared = self.images
    grey = visible.ndim == 3
    images = (visible[..., None] if grey else visible, infrared.reshape(*visible.shape[:3], 1))
    load = onnx.load if spec.name == "onnx" else exported.load
    self.fuse = load(spec.file(FILES[spec.name])).fuse
    self.from_host = lambda: _in_form(self.fuse(*images), grey)

  def prepare(self) -> None:
    """Compiles, by a first run."""
    _, self.compile_seconds = timed(self.from_host)

  def facts(self) -> dict[str, float | str | None]:
    """See `spec.Contender`; nothing is known of the program."""
    unknown = dict.fromkeys(("flops", "bytes", "device_peak_mb", "program_mb"))
    return {"device": "cpu", "compile_seconds": self.compile_seconds, **unknown}


def _in_form(fused: np.ndarray, grey: bool) -> np.ndarray:
  return fused[..., 0] if grey else fused
