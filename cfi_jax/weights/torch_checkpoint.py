"""Reads a PyTorch state dict (.pth) without PyTorch and without calling what the file names.

A .pth file is a zip archive of a pickle and one file per storage. The standard library's unpickler
runs the pickle, cut down to the few instructions that a state dict of tensors is made of. Every
name in the file leads to a function or a data type of this module. The unpickler is the one in
Python: that in C takes as much memory as an index in the file asks, and crashes on some keys.
"""

import dataclasses
import io
import math
import os
import pickle
import pickletools
import re
import struct
import types
import zipfile
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np

from cfi_jax.core import storage
from cfi_jax.core.types import InputError

MAX_PICKLE_BYTES = 2**22
MAX_STORAGE_BYTES = 2**31  # of all storages together, and of all tensors, which may share them
MAX_DIMENSIONS = 32
SHOWN = 80  # characters of a name in the file that a message repeats
RESAVE = "load it with a recent PyTorch and write torch.save(model.state_dict(), PATH)"
INSTRUCTIONS = (  # a pattern of their names
  "PROTO|FRAME|MARK|STOP|(STACK_)?GLOBAL|BINPERSID|REDUCE|BUILD|EMPTY_(DICT|TUPLE)|SETITEMS?|"
  "TUPLE[123]?|(LONG_)?BIN(PUT|GET)|MEMOIZE|NONE|NEW(TRUE|FALSE)|(SHORT_)?BINUNICODE|BININT[12]?|"
  "LONG1|BINFLOAT"
)
# What zipfile and pickle raise on damaged bytes. RuntimeError: an unknown zip version, too.
_DAMAGE = (
  *(zipfile.BadZipFile, pickle.UnpicklingError, struct.error, RuntimeError, ValueError),
  *(OverflowError, IndexError, EOFError, MemoryError),
)


@dataclasses.dataclass(frozen=True)
class _Storage:
  dtype: np.dtype
  content: bytes


# Messages below never print a value of the pickle: tuples of tuples can be made exponentially long.
def _tensor(storage, offset, shape, strides, requires_grad=False, hooks=None, metadata=None):
  """Read-only view of a storage, from the arguments of PyTorch's function."""
  if [type(argument) for argument in (storage, shape, strides)] != [_Storage, tuple, tuple]:
    raise InputError("refused: the pickle calls _rebuild_tensor_v2 in a way that makes no tensor")
  # Asked first: one tuple of millions, used again and again, would cost its length each time.
  if not len(shape) == len(strides) <= MAX_DIMENSIONS:
    sizes = f"{len(shape)} dimensions, {len(strides)} strides"
    raise InputError(f"refused: a tensor of {sizes}; allowed: up to {MAX_DIMENSIONS} of both")
  if not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *strides)):
    raise InputError("refused: a tensor whose shape, strides or offset are no natural numbers")
  dtype, each = storage.dtype, storage.dtype.itemsize
  count, size = math.prod(shape), len(storage.content) // each
  if not count:
    return np.ndarray(shape, dtype, b"")
  last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
  if max(count, last + 1) > size:
    raise InputError(f"a tensor of shape {shape} exceeds its storage of {size} elements")
  return np.ndarray(shape, dtype, storage.content, offset * each, [s * each for s in strides])


GLOBALS = {
  "collections.OrderedDict": lambda: dict(),  # `dict` itself would take arguments
  "torch._utils._rebuild_tensor_v2": _tensor,
  "torch._utils._rebuild_parameter": lambda tensor, requires_grad, hooks: tensor,
  "torch.FloatStorage": np.dtype("<f4"),
  "torch.DoubleStorage": np.dtype("<f8"),
  "torch.HalfStorage": np.dtype("<f2"),
  "torch.BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
  "torch.LongStorage": np.dtype("<i8"),
  "torch.IntStorage": np.dtype("<i4"),
}


class _Unpickler(pickle._Unpickler):
  """Unpickler of `INSTRUCTIONS` and `GLOBALS` only; reads the storages at `root` of the archive."""

  def __init__(self, archive: zipfile.ZipFile, root: str):
    super().__init__(io.BytesIO(_contents(archive, f"{root}/data.pkl", MAX_PICKLE_BYTES)))
    self.archive, self.root, self.total = archive, root, 0
    self.storages: dict[str, _Storage] = {}

  def find_class(self, module: str, name: str) -> Any:
    if (full := f"{module}.{name}") not in GLOBALS:
      allowed = ", ".join(sorted(GLOBALS))
      raise InputError(f"refused: the pickle names {full[:SHOWN]!r}; a state dict needs {allowed}")
    return GLOBALS[full]

  def persistent_load(self, pid: Any) -> _Storage:
    match pid:
      case (str("storage"), np.dtype() as dtype, str(key), str(), int(size)):
        if not re.fullmatch("[0-9A-Za-z_]{1,64}", key) or not 0 <= size <= MAX_STORAGE_BYTES:
          raise InputError(f"refused: storage {key[:SHOWN]!r} of {size:.3g} elements")
        name, expected = f"{self.root}/data/{key}", size * dtype.itemsize
        if key not in self.storages:
          self.total += expected
          _check_total(self.total)
          self.storages[key] = _Storage(dtype, _contents(self.archive, name, expected))
        storage = self.storages[key]
        if (storage.dtype, len(storage.content)) != (dtype, expected):
          found = f"{len(storage.content)} bytes of {storage.dtype}"
          raise InputError(f"storage {name!r} has {found}, declared {expected} of {dtype}")
        return storage
    raise InputError(f"refused: the pickle refers to a {type(pid).__name__} that is no storage")

  def load_reduce(self) -> None:
    if [type(value) for value in self.stack[-2:]] != [types.FunctionType, tuple]:
      raise InputError("refused: the pickle calls something other than a function with a tuple")
    super().load_reduce()

  def load_build(self) -> None:  # a state dict's `_metadata`, of no use here
    if not type(self.stack.pop()) is type(self.stack[-1]) is dict:
      raise InputError("refused: the pickle sets attributes of something that is no state dict")

  def load_setitem(self) -> None:
    self.load_setitems([self.stack.pop(-2), self.stack.pop()])

  def load_setitems(self, items: list[Any] | None = None) -> None:
    items = self.pop_mark() if items is None else items
    # Keys are text: to hash a tuple of tuples can take forever.
    if type(self.stack[-1]) is not dict or not all(type(key) is str for key in items[::2]):
      raise InputError("refused: items of something that is no dict, or a key that is no text")
    self.stack[-1].update(zip(items[::2], items[1::2], strict=True))


_Unpickler.dispatch = {
  code: getattr(_Unpickler, load.__name__)
  for code, load in pickle._Unpickler.dispatch.items()
  if re.fullmatch(INSTRUCTIONS, pickletools.code2op[chr(code)].name)
}


def _check_total(size: int) -> None:
  if size > MAX_STORAGE_BYTES:
    raise InputError(f"declares {size:.3g} bytes of tensors; allowed: {MAX_STORAGE_BYTES}")


def read_state_dict(
  path: str | os.PathLike, containers: Sequence[str] = ()
) -> dict[str, np.ndarray]:
  """The tensors of a state dict by name, in their stored dtypes.

  containers: names under which the file may hold the state dict, beside other values that are left
    out; the first that is there counts.

  Raises InputError, naming the file, for anything that is not exactly a state dict in PyTorch's zip
  format, with advice where PyTorch can write it anew.
  """
  try:
    with storage.open_binary(path) as file:
      start = file.read(4)
      if start[:1] == b"\x80":
        raise InputError(f"a checkpoint in the format before PyTorch 1.6, a bare pickle; {RESAVE}")
      if start != b"PK\x03\x04":
        raise InputError(f"not a PyTorch checkpoint (a zip archive); if it was one, {RESAVE}")
      with zipfile.ZipFile(file) as archive:
        return _read(archive, containers)
  except (InputError, OSError) as error:
    raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
  except _DAMAGE as error:
    kind = type(error).__name__
    raise InputError(f"{path}: damaged or not a PyTorch checkpoint ({kind}: {error})") from error


def _read(archive: zipfile.ZipFile, containers: Sequence[str]) -> dict[str, np.ndarray]:
  names = archive.namelist()
  if len(names) != len(set(names)):
    raise InputError("two members of one name in the archive")
  for name in names:
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
      raise InputError(f"member {name!r} lies outside the archive")
  roots = [name.split("/")[0] for name in names if re.fullmatch(r"[^/]+/data\.pkl", name)]
  if len(roots) != 1:
    raise InputError(f"not a PyTorch checkpoint: {len(roots)} members named NAME/data.pkl")
  if f"{roots[0]}/constants.pkl" in names:
    raise InputError(f"a TorchScript model, which holds code; {RESAVE}")
  order = f"{roots[0]}/byteorder"
  if order in names and (found := _contents(archive, order, 16)) != b"little":
    raise InputError(f"byte order {found!r}; allowed: little")
  try:
    state = _Unpickler(archive, roots[0]).load()
  except KeyError as error:  # not in `dispatch`
    opcode = pickletools.code2op.get(chr(error.args[0]))
    called = opcode.name if opcode else hex(error.args[0])
    raise InputError(f"refused: the pickle instruction {called} is not of a state dict") from error
  except TypeError as error:
    raise InputError(f"refused: the pickle makes a wrong call ({error})") from error
  if type(state) is dict:
    state = next((state[key] for key in containers if type(state.get(key)) is dict), state)
  if type(state) is not dict or not state:
    raise InputError(f"not a state dict, or an empty one; {RESAVE}")
  if wrong := [name for name, value in state.items() if not isinstance(value, np.ndarray)]:
    shown = ", ".join(str(name)[:SHOWN] for name in wrong[:5])
    raise InputError(f"not a plain state dict: {shown} is no tensor; {RESAVE}")
  _check_total(sum(view.nbytes for view in state.values()))
  return {name: np.array(view) for name, view in state.items()}


def _contents(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
  try:
    info = archive.getinfo(name)
  except KeyError:
    raise InputError(f"member {name!r} is missing") from None
  # PyTorch stores without compression, so a member cannot be larger than its share of the file.
  if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
    raise InputError(f"member {name!r} is compressed, which PyTorch never does")
  if info.file_size > limit:
    raise InputError(f"member {name!r} has {info.file_size} bytes; allowed: {limit}")
  return archive.read(info)
