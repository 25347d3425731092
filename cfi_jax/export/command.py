"""The command of exporting: graphs made, written to a file's content, read again, compared."""

import re
from collections.abc import Mapping
from typing import Any

from cfi_jax.core import storage
from cfi_jax.core.files import require_folder, write_atomically
from cfi_jax.core.types import InputError
from cfi_jax.core.version import VERSION
from cfi_jax.fusion.fuser import Size
from cfi_jax.fusion.graphs import COLOUR, GREY, HasGraph
from cfi_jax.systems import exported, onnx
from cfi_jax.systems.files import digest, label, load_fuser

EXTENSIONS = {"stablehlo": ".zip", "onnx": ".onnx"}
# The largest and the mean difference of a pixel from the library in float32 that are allowed.
ALLOWED = {"float32": (2e-5, 2e-5), "bfloat16": (2e-2, 4e-3), "float16": (4e-3, 1e-3)}


def export(given: Mapping[str, Any]) -> int:
  """Exports what the flags name; InputError, and no file, where the comparison does not hold."""
  path, kind, dtype = storage.path(given["output"]), given["format"], given["dtype"]
  sizes = [parse_size(text) for text in given["sizes"]]
  if path.suffix != EXTENSIONS[kind]:
    raise InputError(f"--output={path}; the name of --format={kind} ends in {EXTENSIONS[kind]}")
  if kind == "onnx" and len(sizes) != 1:
    raise InputError(f"--sizes has {len(sizes)} sizes; a file of --format=onnx has one")
  require_folder(path.parent)
  if kind == "onnx":
    onnx.require_converter()
  else:
    exported.require_serialisation()
  fuser, name = load_fuser(given["weights"]), label(given["weights"])
  if not isinstance(fuser, HasGraph):
    raise InputError(f"{name}: these weights have no computation that can be exported")
  channels = GREY if given["gray"] else COLOUR
  made = [
    fuser.fusion_graph(size, channels=channels, dtype=dtype, plain=kind == "onnx")
    for size in sorted(set(sizes))
  ]
  about = {
    "cfi_jax": VERSION,
    "weights": name,
    "sha256": digest(given["weights"]),
    "dtype": dtype,
  }
  if kind == "onnx":
    content = onnx.to_bytes(made[0], about)
    loaded = onnx.from_bytes(content)
  else:
    content = exported.to_bytes(made, about)
    loaded = exported.from_bytes(content)
  for entry in loaded.entries:
    compared = exported.compare(loaded, fuser, entry)
    print(describe(compared))
    require_close(compared, dtype)
  write_atomically(path, content)
  print(f"written to {path}: {len(content) / 1e6:.2f} MB, {name}, {kind}, {dtype}")
  return 0


def parse_size(text: str) -> Size:
  """Height and width of "HEIGHTxWIDTH"."""
  match = re.fullmatch(r"(\d+)x(\d+)", text.strip())
  if match is None:
    raise InputError(f"--sizes has {text!r}; allowed: HEIGHTxWIDTH with commas, such as 480x640")
  return int(match[1]), int(match[2])


def describe(compared: exported.Compared) -> str:
  """One line on a comparison."""
  sizes = ", ".join(map(exported.name_of, compared.sizes))
  return (
    f"{exported.name_of(compared.frame)}: images of {sizes} differ from the library by at most "
    f"{compared.largest:.1e}, on average by {compared.mean:.1e}"
  )


def require_close(compared: exported.Compared, dtype: str) -> None:
  """Raises InputError where a comparison does not hold."""
  largest, mean = ALLOWED[dtype]
  if not (compared.largest <= largest and compared.mean <= mean):
    hint = "" if dtype == "float32" else "; --dtype=float32 is exact"
    raise InputError(
      f"{describe(compared)}; allowed in {dtype}: {largest:.0e} and {mean:.0e}{hint}; nothing is "
      "written"
    )
