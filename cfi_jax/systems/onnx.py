"""ONNX files of graphs (`fusion.graphs`): made by jax2onnx, run by onnxruntime."""

import importlib
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from cfi_jax.core import storage
from cfi_jax.core.types import InputError
from cfi_jax.fusion.graphs import FusionGraph
from cfi_jax.systems.exported import Entry, Exported, name_of

INPUTS, OUTPUT = ("visible", "infrared", "size"), "fused"
FORMAT = "cfi_jax onnx 1"
BATCH = "B"
INSTALL = 'pip install "cfi_jax[onnx]" && pip install --no-deps "jax2onnx>=0.17,<0.18"'


def require_converter() -> None:
  """Raises InputError, which says what to install, where ONNX cannot be made and checked."""
  for name in ("jax2onnx", "onnx", "onnxruntime"):
    _import(name)


def to_bytes(graph: FusionGraph, about: Mapping[str, Any]) -> bytes:
  """The content of a file with one graph; about: into its metadata, beside the frame."""
  require_converter()
  names, shapes = [*INPUTS[:2]], [(BATCH, *graph.frame, c) for c in (graph.channels, 1)]
  if graph.smallest is not None:
    names, shapes = [*INPUTS], [*shapes, jax.ShapeDtypeStruct((2,), jnp.int32)]
  logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # on types of constants that it leaves out
  try:
    model = _import("jax2onnx").to_onnx(
      graph.function, inputs=shapes, model_name="cfi_jax", input_names=names, output_names=[OUTPUT]
    )
  except Exception as error:  # of operations that it does not know, it raises any type
    reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
    raise InputError(
      f"jax2onnx cannot convert this computation ({reason}); --format=stablehlo takes it"
    ) from error
  entry = {"frame": graph.frame, "channels": graph.channels, "smallest": graph.smallest}
  metadata = {"format": FORMAT, "graph": json.dumps(entry), "about": json.dumps(dict(about))}
  for key, value in metadata.items():
    found = model.metadata_props.add()
    found.key, found.value = key, value
  return model.SerializeToString()


def load(path: str | os.PathLike, threads: int = 0) -> Exported:
  """The graph of a file, for the CPU; threads: 0 leaves their number to onnxruntime."""
  try:
    return from_bytes(storage.path(path).read_bytes(), threads)
  except OSError as error:
    raise InputError(f"{path}: {error.strerror or error}") from error
  except InputError as error:
    raise InputError(f"{path}: {error}") from error


def from_bytes(content: bytes, threads: int = 0) -> Exported:
  """The graph of a file's content; InputError where it is none of this format."""
  runtime = _import("onnxruntime")
  options = runtime.SessionOptions()
  options.intra_op_num_threads = threads
  options.log_severity_level = 3
  try:
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    metadata = session.get_modelmeta().custom_metadata_map
    if metadata.get("format") != FORMAT:
      raise InputError(f"format {metadata.get('format')!r}, expected {FORMAT!r}")
    found = json.loads(metadata["graph"])
    about = json.loads(metadata["about"])
  except InputError:
    raise
  except Exception as error:  # onnxruntime's errors have no class in common
    raise InputError(f"no ONNX file that onnxruntime runs ({error})") from error
  frame = tuple(found["frame"])
  entry = Entry(frame, found["channels"], found["smallest"], name_of(frame))

  def run(*arguments):
    given = zip(INPUTS, arguments, strict=False)
    return session.run([OUTPUT], dict(given))[0]

  return Exported([entry], {entry.file: run}, about)


def _import(name: str) -> Any:
  try:
    return importlib.import_module(name)
  except ImportError as error:
    raise InputError(f"{name} is not installed, which --format=onnx needs: {INSTALL}") from error
