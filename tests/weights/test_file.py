"""The format of weights files, for a template of three variables: strict, the same each time."""

import dataclasses
import json

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cfi_jax.core.types import InputError
from cfi_jax.weights import file

CARD = file.Card("toy", {"levels": 2}, 'paper "x"\n', "Größe", "2026-11-28", "Apache-2.0")
SHAPES = {"params": {"gain": (3,), "table": (2, 2)}, "batch_stats": {"norm": {"var": (3,)}}}
VARIANCE, GAIN = "batch_stats/norm/var", "params/gain"


def template(card):
  assert card.system in ("toy", "isfuse")
  return jax.tree.map(
    lambda shape: jax.ShapeDtypeStruct(shape, np.float32),
    SHAPES,
    is_leaf=lambda x: type(x) is tuple,
  )


def variables():
  random = np.random.default_rng(0)
  return jax.tree.map(lambda leaf: random.random(leaf.shape, np.float32), template(CARD))


@pytest.fixture
def path(tmp_path):
  file.write(tmp_path / "new" / "w.safetensors", variables(), CARD, template)
  return tmp_path / "new" / "w.safetensors"


def rewrite(path, arrays=lambda a: a, metadata=lambda m: m):
  with safetensors.safe_open(path, framework="np") as stored:
    told = stored.metadata()
  safetensors.numpy.save_file(arrays(safetensors.numpy.load_file(path)), path, metadata(told))


def test_what_is_written_is_read(path):
  read, card = file.read(path, template)
  assert card == CARD
  jax.tree.map(np.testing.assert_array_equal, read, variables())


def test_one_content_is_one_file_whatever_its_order(path):
  content = path.read_bytes()
  turned = dict(reversed(variables().items()))
  file.write(path, turned, dataclasses.replace(CARD), template)
  assert path.read_bytes() == content
  size = int.from_bytes(content[:8], "little")
  assert size % 8 == 0 and list(json.loads(content[8 : 8 + size]))[0] == "__metadata__"


def test_doubles_are_stored_as_floats(path):
  doubles = jax.tree.map(lambda x: x.astype(np.float64).copy(order="F"), variables())
  content = path.read_bytes()
  file.write(path, doubles, CARD, template)
  assert path.read_bytes() == content


def spoilt(name, value):
  """A change of one of several numbers."""

  def change(arrays):
    array = arrays[name].copy()
    array.flat[1] = value
    return arrays | {name: array}

  return change


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda a: {k: v for k, v in a.items() if k != GAIN}, f"missing {GAIN}$"),
    (lambda a: a | {"params/more": a[GAIN]}, "unexpected params/more$"),
    (lambda a: a | {GAIN: a[GAIN][None]}, r"gain has shape \(1, 3\), not \(3,\)$"),
    (lambda a: a | {GAIN: a[GAIN].astype(np.int32)}, "gain is int32, not floating point$"),
    (lambda a: a | {GAIN: a[GAIN].astype(ml_dtypes.float8_e4m3fn)}, f"{GAIN} is of type F8_E4M3"),
    (spoilt(GAIN, np.nan), f"{GAIN} holds values that are not finite in float32$"),
    (spoilt(VARIANCE, -1e-3), f"{VARIANCE} is a variance and holds negative values$"),
    (lambda a: {f"x{k}": v for k in range(6) for v in a.values()}, "; unexpected x4 and 1 more$"),
  ],
)
def test_variables_that_do_not_fit_are_named(path, change, words):
  rewrite(path, arrays=change)
  with pytest.raises(InputError, match=f"w.safetensors: .*{words}"):
    file.read(path, template)


def test_a_gain_may_be_negative_and_a_variance_zero(path):
  rewrite(path, arrays=spoilt(GAIN, -1.0))
  rewrite(path, arrays=spoilt(VARIANCE, 0.0))
  read, _ = file.read(path, template)
  assert read["params"]["gain"][1] == -1 and read["batch_stats"]["norm"]["var"][1] == 0


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"format": "pt"}, "no weights of this project: format 'pt', expected 'cfi_jax weights 1' or "),
    ({"architecture": "{"}, "architecture is not JSON"),
    ({"architecture": "[" * 100_000}, "architecture is not JSON"),
    ({"architecture": "[]"}, r"architecture is \[\], not a mapping"),
    ({"data": None}, "missing data; python -m cfi_jax.convert"),
  ],
)
def test_metadata_that_do_not_fit_are_named(path, change, words):
  rewrite(path, metadata=lambda m: {k: v for k, v in (m | change).items() if v is not None})
  with pytest.raises(InputError, match=words):
    file.read(path, template)


def test_what_the_first_format_did_not_say_is_added(path):
  def older(metadata):
    del metadata["system"]
    return metadata | {"format": file.FORMATS[0], "architecture": json.dumps({"grid": 8})}

  rewrite(path, metadata=older)
  _, card = file.read(path, template)
  assert card.system == "isfuse" and card.architecture == {"levels": 3, "grid": 8}


def test_what_is_no_such_file_says_how_to_make_one(path):
  path.write_bytes(path.read_bytes()[:-4])
  for name in ("w.safetensors", "absent.safetensors"):
    with pytest.raises(InputError, match=f"{name}: not a readable .safetensors file .*convert"):
      file.read(path.with_name(name), template)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda v: {"params": v["params"]}, f"missing {VARIANCE}"),
    (lambda v: jax.tree.map(lambda x: x.astype(np.float64) * 1e300, v), "not finite in float32"),
    (lambda v: jax.tree.map(lambda x: x.astype(np.int64), v), "is int64, not floating point"),
  ],
)
def test_what_does_not_fit_is_not_written(tmp_path, change, words):
  with pytest.raises(InputError, match=f"the weights do not fit: .*{words}"):
    file.write(tmp_path / "w.safetensors", change(variables()), CARD, template)
  assert not list(tmp_path.iterdir())
