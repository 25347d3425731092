"""Reading PyTorch files without PyTorch: what is read, and what is refused without running it."""

import copyreg
import io
import os
import pickle
import pickletools
import random
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from command_line import SHARED

from cfi_jax.core.types import InputError
from cfi_jax.weights import torch_checkpoint

OFFICIAL = SHARED / "reference" / "official" / "isfuse_best.pth"


def protocol_2(*instructions):
  return b"\x80\x02" + b"".join(instructions) + b"."


def text(value):
  encoded = value.encode()
  return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value):
  if value < 2**31:
    return b"J" + struct.pack("<i", value)
  return b"\x8a\x08" + struct.pack("<q", value)


def name(module, attribute):
  return f"c{module}\n{attribute}\n".encode()


def storage(key="0", size=6, kind=("torch", "FloatStorage")):
  return b"(" + text("storage") + name(*kind) + text(key) + text("cpu") + number(size) + b"tQ"


def tensor(shape=(2, 3), strides=(3, 1), offset=0, **of_storage):
  sizes = [b"(" + b"".join(map(number, values)) + b"t" for values in (shape, strides)]
  hooks = name("collections", "OrderedDict") + b")R"
  arguments = [storage(**of_storage), number(offset), *sizes, b"\x89", hooks]
  return name("torch._utils", "_rebuild_tensor_v2") + b"(" + b"".join(arguments) + b"tR"


def state_dict(*items):
  pairs = [text(key) + value for key, value in items]
  return protocol_2(name("collections", "OrderedDict") + b")R(" + b"".join(pairs) + b"u")


NUMBERS = np.arange(6, dtype="<f4")


def write(folder, content, storages=None, **options):
  """A zip file like PyTorch's; `options` go to ZipFile."""
  path = folder / "x.pth"
  storages = {"0": NUMBERS.tobytes()} if storages is None else storages
  with zipfile.ZipFile(path, "w", **options) as archive:
    archive.writestr("x/data.pkl", content)
    for key, data in storages.items():
      archive.writestr(f"x/data/{key}" if "/" not in key else key, data)
  return path


def read(folder, *arguments, **options):
  return torch_checkpoint.read_state_dict(write(folder, *arguments, **options))


def test_tensors_share_storages_and_have_strides(tmp_path):
  content = state_dict(
    ("a", tensor()),
    ("b", tensor((3, 2), (1, 3))),
    ("c", tensor((2,), (1,), 4)),
    ("d", tensor((), ())),
  )
  state = read(tmp_path, content)
  matrix = NUMBERS.reshape(2, 3)
  for key, expected in {"a": matrix, "b": matrix.T, "c": NUMBERS[4:], "d": NUMBERS[0]}.items():
    np.testing.assert_array_equal(state[key], expected)
    assert state[key].dtype == np.float32


@pytest.mark.skipif(not OFFICIAL.exists(), reason="needs ../shared/reference/official")
def test_official_file():
  state = torch_checkpoint.read_state_dict(OFFICIAL)
  assert len(state) == 233
  assert state["encoder_vis.module1.0.weight"].shape == (32, 1, 3, 3)
  assert sum(array.size for array in state.values()) > 192_388


def test_what_pytorch_writes_is_read_as_pytorch_reads_it(tmp_path):
  torch = pytest.importorskip("torch")
  state = {
    "double": torch.randn(3, 4, dtype=torch.float64).T,
    "half": torch.randn(5).half(),
    "brain": torch.randn(5).bfloat16(),
    "counter": torch.tensor(7),
    "parameter": torch.nn.Parameter(torch.randn(2, 2)),
  }
  torch.save(state, tmp_path / "x.pth")
  ours = torch_checkpoint.read_state_dict(tmp_path / "x.pth")
  assert ours.keys() == state.keys()
  for key, value in state.items():
    np.testing.assert_array_equal(ours[key].astype(np.float64), value.detach().double().numpy())
  torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
  with pytest.raises(InputError, match="before PyTorch 1.6.*torch.save"):
    torch_checkpoint.read_state_dict(tmp_path / "old.pth")


class Evil:
  def __init__(self, function, *arguments):
    self.call = function, arguments

  def __reduce__(self):
    return self.call


def tuples_of_tuples():
  """2^60 elements when printed or hashed."""
  return b")" + b"".join(b"q" + bytes([i]) + b"h" + bytes([i]) + b"\x86" for i in range(60))


def malicious(marker):
  command = f"touch {marker}"
  code = f"open({str(marker)!r}, 'w')"
  nested = Evil(getattr, Evil(__import__, "os"), "system")
  yield from (
    pickle.dumps(evil, protocol)
    for protocol in (0, 2, 4)
    for evil in (
      Evil(os.system, command),
      Evil(eval, code),
      Evil(exec, code),
      {"weight": Evil(os.system, command)},
      [nested, Evil(map, os.system, [command])],
    )
  )
  run = text(command) + b"\x85R"
  yield protocol_2(name("posix", "system") + run)
  yield b"\x80\x04" + b"\x8c\x05posix\x8c\x06system\x93" + run + b"."  # STACK_GLOBAL
  yield protocol_2(b"(" + text(command) + b"iposix\nsystem\n")  # INST
  yield protocol_2(b"(" + name("posix", "system") + text(command) + b"o")  # OBJ
  yield protocol_2(name("torch", "load") + text(str(marker)) + b"\x85R")
  yield protocol_2(name("collections", "OrderedDict.fromkeys") + run)
  yield protocol_2(name("torch._utils", "_rebuild_tensor_v2") + run)
  # BUILD on a global, a tensor and a dict with something that is no dict
  yield protocol_2(
    name("collections", "OrderedDict") + b"}" + text("__class__") + text("x") + b"sb"
  )
  yield protocol_2(tensor() + b"}b")
  laughs = tuples_of_tuples()
  yield protocol_2(laughs + b"Q")
  yield protocol_2(name("torch._utils", "_rebuild_tensor_v2") + laughs + b"R")
  yield b"\x80\x04" + laughs + laughs + b"\x93."
  yield protocol_2(b"}" + name("collections", "OrderedDict") + b"b")


def test_malicious_pickles_are_refused_and_do_nothing(tmp_path):
  marker = tmp_path / "executed"
  count = 0
  for content in malicious(marker):
    with pytest.raises(InputError):
      read(tmp_path, content)
    count += 1
  assert count == 28 and not marker.exists()


@pytest.mark.parametrize(
  ("content", "words"),
  [
    (state_dict(("a", tensor((3, 3), (3, 1)))), "exceeds its storage"),
    (state_dict(("a", tensor((1000, 1000), (0, 0)))), "exceeds its storage"),
    (state_dict(("a", tensor((2, 3), (3, 1), 1))), "exceeds its storage"),
    (state_dict(("a", tensor((2, 3), (3, -1)))), "refused: a tensor"),
    (state_dict(("a", tensor((1,), (2**62,)))), "damaged"),
    (state_dict(("a", tensor((1,) * 33, (1,) * 33))), "33 dimensions"),
    (state_dict(("a", tensor(size=7))), "24 bytes of float32, declared 28"),
    (state_dict(("a", tensor(key="1"))), "'x/data/1' is missing"),
    (state_dict(("a", tensor(key="../../etc/passwd"))), "refused: storage"),
    (state_dict(("a", tensor(size=2**31 - 1))), "allowed: 2147483648"),
    (state_dict(("a", tensor(size=2**28))), "24 bytes of float32, declared 1073741824"),
    (state_dict(("a", tensor(size=5))), "24 bytes; allowed: 20"),
    (state_dict(("a", tensor(key="a" * 65))), "refused: storage"),
    (state_dict(("a", tensor(kind=("torch", "CharStorage")))), "CharStorage"),
    (state_dict(("a", tensor()), ("b", tensor(kind=("torch", "IntStorage")))), "24 of int32"),
    (state_dict(("epoch", number(3)), ("a", tensor())), "epoch is no tensor"),
    (state_dict(), "not a state dict"),
    (protocol_2(number(3)), "not a state dict"),
    (protocol_2(b"h\x00"), "damaged.*not found at index 0"),
    (protocol_2(b"t"), "damaged"),
    (protocol_2(b"0"), "instruction POP"),
    (protocol_2(b"R"), "refused: the pickle calls"),
    (b"\x80\x02}", "damaged"),
    (b"", "damaged"),
    (b"\xff\xff", "instruction 0xff"),
  ],
)
def test_what_is_no_state_dict_is_refused(tmp_path, content, words):
  with pytest.raises(InputError, match=words) as error:
    read(tmp_path, content)
  assert "x.pth" in str(error.value)


def test_bad_archives_are_refused(tmp_path):
  good = state_dict(("a", tensor()))
  with pytest.raises(InputError, match="outside the archive"):
    read(tmp_path, good, {"0": NUMBERS.tobytes(), "x/../../evil": b""})
  with pytest.raises(InputError, match="outside the archive"):
    read(tmp_path, good, {"0": NUMBERS.tobytes(), "/etc/evil": b""})
  with pytest.raises(InputError, match="compressed"):
    read(tmp_path, good, compression=zipfile.ZIP_DEFLATED)
  with pytest.raises(InputError, match="byte order b'big'"):
    read(tmp_path, good, {"0": NUMBERS.tobytes(), "x/byteorder": b"big"})
  with pytest.raises(InputError, match="TorchScript"):
    read(tmp_path, good, {"x/constants.pkl": b""})
  with pytest.raises(InputError, match="0 members named NAME/data.pkl"):
    buffer = io.BytesIO()
    zipfile.ZipFile(buffer, "w").writestr("a", b"")
    (tmp_path / "y.pth").write_bytes(buffer.getvalue())
    torch_checkpoint.read_state_dict(tmp_path / "y.pth")
  whole = write(tmp_path, good).read_bytes()
  place = whole.index(b"PK\x01\x02") + 6  # the zip version that its first member needs
  newer = whole[:place] + b"\xff" + whole[place + 1 :]
  cases = [(whole[:200], "damaged"), (newer, "damaged .* version 25.5")]
  cases += [(b"hello", "not a PyTorch"), (b"", "not a PyTorch")]
  cases += [(b"\x80\x02}q\x00.", "format before PyTorch 1.6, a bare pickle")]
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as archive, warnings.catch_warnings(action="ignore"):
    for content in (good, good):
      archive.writestr("x/data.pkl", content)
  cases += [(buffer.getvalue(), "two members of one name in the archive")]
  for content, words in cases:
    (tmp_path / "z.pth").write_bytes(content)
    with pytest.raises(InputError, match=words):
      torch_checkpoint.read_state_dict(tmp_path / "z.pth")
  with pytest.raises(InputError, match="No such file"):
    torch_checkpoint.read_state_dict(tmp_path / "absent.pth")


def test_a_damaged_storage_is_refused(tmp_path):
  path = write(tmp_path, state_dict(("a", tensor())))
  content = path.read_bytes()
  position = content.index(NUMBERS.tobytes())
  path.write_bytes(content[:position] + b"\xaa" * 8 + content[position + 8 :])
  with pytest.raises(InputError, match="damaged"):
    torch_checkpoint.read_state_dict(path)


@pytest.mark.parametrize(
  ("content", "words"),
  [
    (protocol_2(b"}r\xff\xff\xff\xff"), "not a state dict"),  # an index of the memo
    (protocol_2(b"}X\xff\xff\xff\xff"), "damaged"),  # the length of a text
    (b"\x80\x04\x95" + b"\xff" * 7 + b"\x0f}.", "not a state dict"),  # a frame
    (protocol_2(b"}" + tuples_of_tuples() + b"Ns"), "key that is no text"),
    (protocol_2(b"}(" + tuples_of_tuples() + b"Nu"), "key that is no text"),
    (protocol_2(b"})" + b"\x85" * 200_000 + b"Ns"), "key that is no text"),  # deeper than C's stack
    (protocol_2(tuples_of_tuples() + b"K\x01R"), "refused: the pickle calls"),
    (protocol_2(name("collections", "OrderedDict") + b"K\x01R"), "refused: the pickle calls"),
    (protocol_2(name("collections", "OrderedDict") + b"N\x85R"), "wrong call"),
    (protocol_2(tensor() + text("a") + b"Ns"), "items of something that is no dict"),
    (protocol_2(tensor((0,), (1,)) + tuples_of_tuples() + b"Ns"), "items of something"),
    (protocol_2(name("torch._utils", "_rebuild_tensor_v2") + b"}b"), "sets attributes"),
    (protocol_2(name("torch._utils", "_rebuild_tensor_v2") + b"N}\x86b"), "sets attributes"),
    (protocol_2(tensor(size=int.from_bytes(b"\x7f" * 8, "little"))), "refused: storage"),
    (  # one storage in many tensors: 1 MiB in the file, 2 GiB in memory
      state_dict(*((f"{i}", tensor((2**18,), (1,), key="1", size=2**18)) for i in range(2049))),
      "2.15e\\+09 bytes.*allowed: 2147483648",
    ),
  ],
)
def test_bombs_are_refused_before_they_take_memory(tmp_path, content, words):
  path = write(tmp_path, content, {"0": NUMBERS.tobytes(), "1": bytes(2**20)})
  tracemalloc.start()
  with pytest.raises(InputError, match=words) as error:
    torch_checkpoint.read_state_dict(path)
  assert tracemalloc.get_traced_memory()[1] < 2**25
  tracemalloc.stop()
  assert len(str(error.value)) < 1000


def test_the_storages_that_the_pickle_refers_to_count_together(tmp_path, monkeypatch):
  content = state_dict(("a", tensor()), ("b", tensor(key="1")))
  storages = {"0": NUMBERS.tobytes(), "1": NUMBERS.tobytes()}
  assert len(read(tmp_path, content, storages)) == 2
  monkeypatch.setattr(torch_checkpoint, "MAX_STORAGE_BYTES", 47)
  with pytest.raises(InputError, match="48 bytes of tensors; allowed: 47"):
    read(tmp_path, content, storages)


def test_registered_extensions_are_refused(tmp_path):
  marker = tmp_path / "executed"
  copyreg.add_extension("posix", "system", 255)
  try:
    for opcode in (b"\x82\xff", b"\x83\xff\0", b"\x84\xff\0\0\0"):
      with pytest.raises(InputError, match="instruction EXT"):
        read(tmp_path, protocol_2(opcode + text(f"touch {marker}") + b"\x85R"))
  finally:
    copyreg.remove_extension("posix", "system", 255)
  assert not marker.exists()


@pytest.mark.parametrize("kind", ["Double", "Half", "BFloat16", "Long", "Int"])
def test_all_kinds_of_storages_are_read_also_as_parameters(tmp_path, kind):
  values = np.arange(6).astype(torch_checkpoint.GLOBALS[f"torch.{kind}Storage"])
  of_kind = tensor((3, 2), (1, 3), kind=("torch", f"{kind}Storage"))
  hooks = name("collections", "OrderedDict") + b")R"
  parameter = name("torch._utils", "_rebuild_parameter") + of_kind + b"\x88" + hooks + b"\x87R"
  state = read(tmp_path, state_dict(("a", of_kind), ("b", parameter)), {"0": values.tobytes()})
  for array in state.values():
    assert array.dtype == values.dtype
    np.testing.assert_array_equal(array, values.reshape(2, 3).T)


def test_tensors_without_elements_and_metadata(tmp_path):
  metadata = b"}" + text("_metadata") + b"}sb"
  content = state_dict(("a", tensor((0, 3), (3, 1), size=0, key="1")), ("b", tensor()))
  state = read(tmp_path, content[:-1] + metadata + b".", {"0": NUMBERS.tobytes(), "1": b""})
  assert state["a"].shape == (0, 3) and state["a"].dtype == np.float32
  assert state["b"].flags.writeable and state.keys() == {"a", "b"}


def mutated(generator, path, content):
  """The bytes of the file at `path`, which holds the pickle `content`, with one kind of damage."""
  kind = generator.randrange(4)
  if kind > 1:  # in the pickle, with a valid checksum
    place = generator.randrange(len(content))
    opcodes = [opcode.code.encode("latin1") for opcode in pickletools.opcodes]
    new = b"".join(generator.choice(opcodes) for _ in range(generator.randint(1, 3)))
    removed = generator.randint(0, 3) if kind == 2 else 0
    write(path.parent, content[:place] + new + content[place + removed :])
  damaged = bytearray(path.read_bytes())
  if kind == 0:
    damaged = damaged[: generator.randrange(len(damaged))]
  if kind == 1:
    for _ in range(generator.randint(1, 4)):
      damaged[generator.randrange(len(damaged))] ^= 1 << generator.randrange(8)
  return bytes(damaged)


def test_damage_of_any_kind_is_read_or_refused(tmp_path):
  generator = random.Random(0)
  content = state_dict(("a", tensor()), ("b", tensor((3, 2), (1, 3))), ("c", tensor((), ())))
  refused = 0
  for _ in range(200):
    path = write(tmp_path, content)
    path.write_bytes(mutated(generator, path, content))
    try:
      assert torch_checkpoint.read_state_dict(path)
    except InputError as error:
      assert "x.pth" in str(error)
      refused += 1
  assert 100 < refused < 200
