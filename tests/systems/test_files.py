"""Weights files: complete, strict, and telling what is wrong."""

import dataclasses
import json
import pathlib

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from cfi_jax.core.types import InputError
from cfi_jax.systems import files as weights

ARCHITECTURE = {
  "name": "isfuse",
  "features": 4,
  "grid": 8,
  "shared_encoder": True,
  "gate": "paper",
  "padding": "reflect",
  "levels": 3,
}
CARD = weights.Card("isfuse", ARCHITECTURE, "paper", "synthetic", "2026-11-20", "Apache-2.0")


def variables():
  shapes = weights.shapes(CARD)
  random = np.random.default_rng(0)
  return jax.tree.map(lambda s: random.random(s.shape, np.float32), shapes)


@pytest.fixture
def path(tmp_path) -> pathlib.Path:
  weights.save(tmp_path / "new" / "w.safetensors", variables(), CARD)
  return tmp_path / "new" / "w.safetensors"


def test_what_is_saved_is_loaded(path):
  loaded, card = weights.load(path)
  assert card == CARD
  jax.tree.map(np.testing.assert_array_equal, loaded, variables())
  assert [file.name for file in path.parent.iterdir()] == ["w.safetensors"]


def test_the_same_weights_make_the_same_file(path, tmp_path):
  card = dataclasses.replace(CARD, licence='Großes Lob: "frei"\n')
  for name in ("a.safetensors", "b.safetensors"):
    weights.save(tmp_path / name, variables(), card)
  first, second = ((tmp_path / name).read_bytes() for name in ("a.safetensors", "b.safetensors"))
  assert first == second
  assert weights.load(tmp_path / "a.safetensors")[1] == card
  assert safetensors.numpy.load_file(path).keys() == safetensors.numpy.load(first).keys()


def rewrite(path, change_arrays=lambda a: a, change_metadata=lambda m: m):
  """The file with its arrays and metadata changed."""
  with safetensors.safe_open(path, framework="np") as file:
    metadata = file.metadata()
  arrays = change_arrays(safetensors.numpy.load_file(path))
  safetensors.numpy.save_file(arrays, path, change_metadata(metadata))


BIAS, VARIANCE = "params/head/bias", "batch_stats/cfi1/refine/norm1/var"


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda a: {k: v for k, v in a.items() if k != BIAS}, f"missing {BIAS}"),
    (lambda a: a | {"params/more": a[BIAS]}, "unexpected params/more"),
    (lambda a: a | {BIAS: a[BIAS][None]}, "has shape"),
    (lambda a: a | {BIAS: a[BIAS].astype(np.int32)}, "not floating point"),
    (lambda a: a | {BIAS: a[BIAS] * np.nan}, "not finite"),
    (lambda a: a | {BIAS: a[BIAS].astype(ml_dtypes.float8_e4m3fn)}, f"{BIAS} is of type F8_E4M3"),
    (lambda a: a | {VARIANCE: -a[VARIANCE]}, f"{VARIANCE} is a variance and holds negative"),
  ],
)
def test_leaves_that_do_not_fit_are_named(path, change, words):
  rewrite(path, change_arrays=change)
  with pytest.raises(InputError, match=words) as error:
    weights.load(path)
  assert str(path) in str(error.value)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"format": "pt"}, "format 'pt', expected"),
    ({"architecture": "{"}, "not JSON"),
    ({"architecture": "[" * 100_000}, "not JSON"),
    ({"architecture": "[]"}, "not a mapping"),
    ({"architecture": json.dumps(ARCHITECTURE | {"padding": []})}, r"padding=\[\]"),
    ({"architecture": json.dumps(ARCHITECTURE | {"features": 8})}, "has shape"),
    ({"architecture": json.dumps(ARCHITECTURE | {"features": "8"})}, "features='8'"),
    ({"architecture": json.dumps(ARCHITECTURE | {"padding": "wrap"})}, "padding='wrap'"),
    ({"architecture": json.dumps(ARCHITECTURE | {"name": "other"})}, "no model 'other'"),
    ({"architecture": json.dumps(ARCHITECTURE | {"depth": 3})}, "depth=3"),
  ],
)
def test_metadata_that_does_not_fit_is_named(path, change, words):
  rewrite(path, change_metadata=lambda m: m | change)
  with pytest.raises(InputError, match=words):
    weights.load(path)


def test_missing_metadata_are_named(path):
  rewrite(path, change_metadata=lambda m: {k: v for k, v in m.items() if k != "licence"})
  with pytest.raises(InputError, match="missing licence"):
    weights.load(path)


def test_files_that_are_no_weights_are_refused(path):
  path.write_bytes(path.read_bytes()[:-100])
  with pytest.raises(InputError, match="not a readable .safetensors"):
    weights.load(path)
  with pytest.raises(InputError, match="absent.safetensors: does not exist"):
    weights.load(path.with_name("absent.safetensors"))


def test_incomplete_variables_are_not_saved(tmp_path):
  incomplete = {"params": variables()["params"]}
  with pytest.raises(InputError, match="missing batch_stats"):
    weights.save(tmp_path / "w.safetensors", incomplete, CARD)
  wrong = dataclasses.replace(CARD, architecture=ARCHITECTURE | {"gate": "open"})
  with pytest.raises(InputError, match="gate='open'"):
    weights.save(tmp_path / "w.safetensors", variables(), wrong)
  large = jax.tree.map(lambda a: a.astype(np.float64) * 1e300, variables())
  with pytest.raises(InputError, match="not finite in float32"):
    weights.save(tmp_path / "w.safetensors", large, CARD)
  assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="cannot be written"):
    weights.save(tmp_path / "file" / "w.safetensors", variables(), CARD)
