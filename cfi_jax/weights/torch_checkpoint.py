"""Reads a PyTorch state dict (.pth) without PyTorch and without running the pickle in it.

A .pth file is a zip archive of a pickle and one file per storage. A pickle is a program; this
module interprets only the few instructions that a state dict of tensors is made of, on plain
values, and calls nothing that the file names.
"""

import dataclasses
import math
import os
import pickletools
import re
import struct
import zipfile
from typing import Any

import ml_dtypes
import numpy as np

from cfi_jax.core.types import InputError

MAX_PICKLE_BYTES = 2**24
MAX_STORAGE_BYTES = 2**31  # of all storages together, and of all tensors, which may share them
MAX_DIMENSIONS = 32
SHOWN = 80  # characters of a name in the file that a message repeats

STORAGES = {
  "torch FloatStorage": np.dtype("<f4"),
  "torch DoubleStorage": np.dtype("<f8"),
  "torch HalfStorage": np.dtype("<f2"),
  "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
  "torch LongStorage": np.dtype("<i8"),
  "torch IntStorage": np.dtype("<i4"),
}
ORDERED_DICT = "collections OrderedDict"
TENSOR = "torch._utils _rebuild_tensor_v2"
PARAMETER = "torch._utils _rebuild_parameter"
GLOBALS = {ORDERED_DICT, TENSOR, PARAMETER, *STORAGES}
RESAVE = "load it with a recent PyTorch and write torch.save(model.state_dict(), PATH)"


@dataclasses.dataclass(frozen=True)
class _Global:
  """A name in the pickle, never imported."""

  name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
  dtype: np.dtype
  key: str
  size: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


_MARK = object()
# What zipfile and pickletools raise on damaged bytes.
_DAMAGE = (
  zipfile.BadZipFile,
  struct.error,
  RuntimeError,  # also of a zip version or a compression that zipfile does not know
  ValueError,
  OverflowError,
  IndexError,
  EOFError,
)


def read_state_dict(path: str | os.PathLike) -> dict[str, np.ndarray]:
  """The tensors of a state dict by name, in their stored dtypes.

  Raises InputError, naming the file, for anything that is not exactly a state dict in PyTorch's zip
  format: other formats (with advice), a global outside `GLOBALS`, an unknown instruction, a storage
  that is missing, truncated or larger than declared, a path outside the archive, absurd sizes.
  """
  try:
    with open(path, "rb") as file:
      _refuse_other_formats(file.read(8))
      with zipfile.ZipFile(file) as archive:
        return _read(archive)
  except InputError as error:
    raise InputError(f"{path}: {error}") from error
  except OSError as error:
    raise InputError(f"{path}: {error.strerror or error}") from error
  except _DAMAGE as error:
    raise InputError(f"{path}: damaged or not a PyTorch checkpoint ({error})") from error


def _refuse_other_formats(start: bytes) -> None:
  if start[:4] == b"PK\x03\x04":
    return
  if start[:1] == b"\x80":
    raise InputError(f"a checkpoint in the format before PyTorch 1.6, a bare pickle; {RESAVE}")
  raise InputError(f"not a PyTorch checkpoint (a zip archive); if it was one of old, {RESAVE}")


def _read(archive: zipfile.ZipFile) -> dict[str, np.ndarray]:
  members = {info.filename: info for info in archive.infolist()}
  if len(members) != len(archive.infolist()):
    raise InputError("two members of one name in the archive")
  for name in members:
    if name.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", name) or ":" in name:
      raise InputError(f"member {name!r} lies outside the archive")
  pickles = [name for name in members if re.fullmatch(r"[^/]+/data\.pkl", name)]
  if len(pickles) != 1:
    raise InputError(f"not a PyTorch checkpoint: {len(pickles)} members named NAME/data.pkl")
  root = pickles[0].split("/")[0]
  if f"{root}/constants.pkl" in members:
    raise InputError(f"a TorchScript model, which holds code; {RESAVE}")
  if f"{root}/byteorder" in members:
    order = _contents(archive, members[f"{root}/byteorder"], 16)
    if order != b"little":
      raise InputError(f"byte order {order!r}; allowed: little")
  state = _interpret(_contents(archive, members[pickles[0]], MAX_PICKLE_BYTES))
  if not isinstance(state, dict) or not state:
    raise InputError(f"holds a {type(state).__name__}, not a state dict; {RESAVE}")
  wrong = [k for k, v in state.items() if not (isinstance(k, str) and isinstance(v, _Tensor))]
  if wrong:
    names = ", ".join(str(k)[:SHOWN] for k in wrong[:5])
    raise InputError(f"not a plain state dict: {names} is no tensor; {RESAVE}")
  used = {tensor.storage.key: tensor.storage for tensor in state.values()}
  stored = sum(storage.size * storage.dtype.itemsize for storage in used.values())
  copied = sum(math.prod(t.shape) * t.storage.dtype.itemsize for t in state.values())
  for total in (stored, copied):
    if total > MAX_STORAGE_BYTES:
      raise InputError(f"declares {total:.3g} bytes of tensors; allowed: {MAX_STORAGE_BYTES}")
  storages = {key: _storage(archive, members, root, s) for key, s in used.items()}
  return {name: _array(name, tensor, storages) for name, tensor in state.items()}


def _contents(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
  # PyTorch stores without compression, so a member cannot be larger than its share of the file.
  if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
    raise InputError(f"member {info.filename!r} is compressed, which PyTorch never does")
  if info.file_size > limit:
    raise InputError(f"member {info.filename!r} has {info.file_size} bytes; allowed: {limit}")
  return archive.read(info)


def _storage(archive: zipfile.ZipFile, members: dict, root: str, storage: _Storage) -> np.ndarray:
  name = f"{root}/data/{storage.key}"
  if name not in members:
    raise InputError(f"storage {name!r} is missing")
  expected = storage.size * storage.dtype.itemsize
  if members[name].file_size != expected:
    raise InputError(f"storage {name!r} has {members[name].file_size} bytes, declared {expected}")
  return np.frombuffer(_contents(archive, members[name], expected), storage.dtype)


def _array(name: str, tensor: _Tensor, storages: dict[str, np.ndarray]) -> np.ndarray:
  data = storages[tensor.storage.key]
  if data.dtype != tensor.storage.dtype or data.size != tensor.storage.size:
    raise InputError(f"{name}: its storage is declared in two ways")
  count = math.prod(tensor.shape)
  last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
  if count > data.size or (count and last >= data.size):
    raise InputError(f"{name}: shape {tensor.shape} exceeds its storage of {data.size} elements")
  if not count:
    return np.zeros(tensor.shape, data.dtype)
  strides = [s * data.itemsize for s in tensor.strides]
  view = np.lib.stride_tricks.as_strided(data[tensor.offset :], tensor.shape, strides)
  return np.array(view)


class _Machine:
  """The stack and memo of a pickle; one method per kind of instruction."""

  def __init__(self):
    self.stack: list[Any] = []
    self.memo: dict[int, Any] = {}

  def pop(self) -> Any:
    """The top of the stack."""
    if not self.stack or self.stack[-1] is _MARK:
      raise InputError("the pickle is malformed: its stack is empty")
    return self.stack.pop()

  def pop_to_mark(self) -> list[Any]:
    """All above the last mark."""
    items = []
    while self.stack and self.stack[-1] is not _MARK:
      items.append(self.stack.pop())
    if not self.stack:
      raise InputError("the pickle is malformed: no mark on its stack")
    self.stack.pop()
    return items[::-1]

  def set_items(self, items: list[Any]) -> None:
    """Key, value, key, value ... into the dict on the stack."""
    target = self.stack[-1] if self.stack else None
    if not isinstance(target, dict) or len(items) % 2:
      raise InputError("the pickle is malformed: items for something that is no dict")
    for key, value in zip(items[::2], items[1::2], strict=True):
      if not isinstance(key, (str, int)):
        raise InputError(f"a key of the state dict is a {type(key).__name__}")
      target[key] = value


def _interpret(pickle: bytes) -> Any:
  """The value that the pickle describes, with `_Tensor` for tensors."""
  machine = _Machine()
  for opcode, argument, _ in pickletools.genops(pickle):
    if opcode.name == "STOP":
      return machine.pop()
    _step(machine, opcode.name, argument)
  raise InputError("the pickle has no end")


_LITERALS = {"NEWFALSE": False, "NEWTRUE": True, "NONE": None}
_VALUES = ("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT")
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _step(machine: _Machine, name: str, argument: Any) -> None:
  """One instruction; anything unknown is refused."""
  stack, memo = machine.stack, machine.memo
  match name:
    case "PROTO" | "FRAME":
      pass
    case "MARK":
      stack.append(_MARK)
    case "EMPTY_DICT":
      stack.append({})
    case "TUPLE":
      stack.append(tuple(machine.pop_to_mark()))
    case "BINPUT" | "LONG_BINPUT" | "MEMOIZE":
      memo[len(memo) if name == "MEMOIZE" else argument] = stack[-1] if stack else machine.pop()
    case "BINGET" | "LONG_BINGET":
      if argument not in memo:
        raise InputError(f"the pickle is malformed: no value {argument} in its memo")
      stack.append(memo[argument])
    case "GLOBAL":
      stack.append(_global(argument))
    case "STACK_GLOBAL":
      attribute, module = machine.pop(), machine.pop()
      if not isinstance(attribute, str) or not isinstance(module, str):
        raise InputError("refused: the pickle names something by what is no text")
      stack.append(_global(f"{module} {attribute}"))
    case "BINPERSID":
      stack.append(_persistent(machine.pop()))
    case "REDUCE":
      arguments, function = machine.pop(), machine.pop()
      stack.append(_reduce(function, arguments))
    case "SETITEM":
      value, key = machine.pop(), machine.pop()
      machine.set_items([key, value])
    case "SETITEMS":
      machine.set_items(machine.pop_to_mark())
    case "BUILD":  # a state dict's `_metadata`, of no use here
      attributes = machine.pop()
      if not isinstance(attributes, dict) or not stack or not isinstance(stack[-1], dict):
        raise InputError("the pickle sets attributes of something that is no state dict")
    case _ if name in _LITERALS:
      stack.append(_LITERALS[name])
    case _ if name in _VALUES:
      stack.append(argument)
    case _ if name in _TUPLES:
      stack.append(tuple([machine.pop() for _ in range(_TUPLES[name])][::-1]))
    case _:
      raise InputError(f"refused: the pickle instruction {name} has no place in a state dict")


def _global(name: str) -> _Global:
  if name not in GLOBALS:
    raise InputError(
      f"refused: the pickle names {name[:SHOWN].replace(' ', '.')!r}; a state dict needs only "
      f"{', '.join(sorted(n.replace(' ', '.') for n in GLOBALS))}"
    )
  return _Global(name)


# Messages below never print a value of the pickle: tuples of tuples can be made exponentially long.
def _persistent(value: Any) -> _Storage:
  match value:
    case ("storage", _Global(name), str(key), str(), int(size)) if name in STORAGES:
      if not re.fullmatch("[0-9A-Za-z_]+", key) or not 0 <= size <= MAX_STORAGE_BYTES:
        raise InputError(f"refused: storage {key[:SHOWN]!r} of {size:.3g} elements")
      return _Storage(STORAGES[name], key, size)
  raise InputError(f"refused: the pickle refers to a {type(value).__name__} that is no storage")


def _reduce(function: Any, arguments: Any) -> Any:
  """The result of a call, for the three functions of a state dict."""
  match function, arguments:
    case _Global(name), () if name == ORDERED_DICT:
      return {}
    case _Global(name), (_Tensor() as tensor, bool(), dict()) if name == PARAMETER:
      return tensor
    case _Global(name), (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_) if (
      name == TENSOR
    ):
      # Asked first: one tuple of millions, used again and again, would cost its length each time.
      if not len(shape) == len(strides) <= MAX_DIMENSIONS:
        raise InputError(
          f"refused: a tensor of {len(shape)} dimensions with {len(strides)} strides; "
          f"allowed: equally many, up to {MAX_DIMENSIONS}"
        )
      if not all(type(n) is int and 0 <= n < 2**63 for n in (offset, *shape, *strides)):
        raise InputError("refused: a tensor whose shape, strides or offset are no natural numbers")
      return _Tensor(storage, offset, shape, strides)
  called = function.name if isinstance(function, _Global) else type(function).__name__
  raise InputError(f"refused: the pickle calls {called} in a way that makes no tensor")
