"""Weights of a system in files of any kind: strict, and telling what is wrong."""

import dataclasses
import hashlib
import json
import os
import pathlib
import types

import jax
import numpy as np
import pytest
import safetensors.numpy

from cfi_jax.core.types import InputError
from cfi_jax.fusion.fuser import Fuser
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


def rewrite(path, change):
  """The file with other metadata."""
  with safetensors.safe_open(path, framework="np") as file:
    metadata = file.metadata()
  safetensors.numpy.save_file(safetensors.numpy.load_file(path), path, metadata | change)


@pytest.mark.parametrize(
  ("change", "words"),
  [
    ({"architecture": json.dumps(ARCHITECTURE | {"padding": []})}, r"padding=\[\]"),
    ({"architecture": json.dumps(ARCHITECTURE | {"features": 8})}, "has shape"),
    ({"architecture": json.dumps(ARCHITECTURE | {"features": "8"})}, "features='8'"),
    ({"architecture": json.dumps(ARCHITECTURE | {"padding": "wrap"})}, "padding='wrap'"),
    ({"architecture": json.dumps(ARCHITECTURE | {"name": "other"})}, "no model 'other'"),
    ({"architecture": json.dumps(ARCHITECTURE | {"depth": 3})}, "depth=3"),
  ],
)
def test_metadata_that_does_not_fit_is_named(path, change, words):
  rewrite(path, change)
  with pytest.raises(InputError, match=words):
    weights.load(path)


def test_weights_that_are_not_there_are_named(path):
  with pytest.raises(InputError, match="absent.safetensors: does not exist"):
    weights.load(path.with_name("absent.safetensors"))


def test_incomplete_variables_are_not_saved(tmp_path):
  incomplete = {"params": variables()["params"]}
  with pytest.raises(InputError, match="missing batch_stats"):
    weights.save(tmp_path / "w.safetensors", incomplete, CARD)
  wrong = dataclasses.replace(CARD, architecture=ARCHITECTURE | {"gate": "open"})
  with pytest.raises(InputError, match="gate='open'"):
    weights.save(tmp_path / "w.safetensors", variables(), wrong)
  assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="cannot be written"):
    weights.save(tmp_path / "file" / "w.safetensors", variables(), CARD)


def test_a_fuser_is_made_of_variables_and_their_card(path):
  for made in (weights.make_fuser(variables(), CARD), weights.load_fuser(path)):
    assert isinstance(made, Fuser) and made.bucket((40, 48)) >= (40, 48)
  assert isinstance(weights.load_any(path), Fuser)


def test_a_system_that_does_not_fuse_is_no_fuser(monkeypatch):
  system = types.SimpleNamespace(load=lambda variables, architecture, **options: "no fuser")
  monkeypatch.setattr(weights.systems, "find", lambda name: system)
  with pytest.raises(InputError, match="w: weights of the system 'isfuse', which fuses no images"):
    weights.make_fuser({}, CARD, "w")


def test_a_rule_is_a_fuser_and_no_weights():
  assert isinstance(weights.load_fuser("maximum"), Fuser)
  assert weights.label("maximum") == "rule maximum"
  assert weights.label("a/b.c.safetensors") == "b.c"
  with pytest.raises(InputError, match="average is a rule without weights; allowed here: weights"):
    weights.load("average")


def test_a_digest_is_of_a_files_bytes_or_a_rules_options(path):
  assert weights.digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
  label = weights.label("wavelet:gain=1.2")
  assert "gain=1.2" in label and "planes=4" in label
  assert weights.digest("wavelet:gain=1.2") == hashlib.sha256(label.encode()).hexdigest()


def test_weights_are_read_from_whatever_holds_them(path, tmp_path, monkeypatch):
  loaded, card = weights.read(path)
  assert card == CARD and jax.tree.structure(loaded) == jax.tree.structure(variables())
  with pytest.raises(InputError, match="absent.pth: does not exist"):
    weights.read(tmp_path / "absent.pth")
  with pytest.raises(InputError, match="new: no workdir of a run, there is no run.json in it"):
    weights.read(path.parent)
  asked = []
  monkeypatch.setattr(weights, "from_workdir", lambda *given: asked.append(given))
  for folder in (tmp_path / "checkpoints" / "12", tmp_path / "12"):
    folder.mkdir(parents=True)
    weights.read(folder)
  assert asked == [(tmp_path, 12), (tmp_path / "12",)]


def test_a_release_is_read_by_the_first_system_that_can(tmp_path, monkeypatch):
  path = tmp_path / "x.pth"
  path.write_bytes(b"anything")
  os.utime(path, (86400 * 365.25, 86400 * 365.25))

  def refuse(path):
    raise InputError("not mine")

  origin = {"recipe": "r", "data": "d", "licence": "l"}
  known = {
    "first": types.SimpleNamespace(),
    "second": types.SimpleNamespace(read_release=refuse),
    "third": types.SimpleNamespace(read_release=lambda path: ({"a": 1}, {"b": 2}, origin)),
    "fourth": types.SimpleNamespace(read_release=refuse),
  }
  monkeypatch.setattr(weights.systems, "names", lambda: tuple(known))
  monkeypatch.setattr(weights.systems, "find", known.get)
  found, card = weights.read(path)
  assert found == {"a": 1}
  assert card == weights.Card("third", {"b": 2}, "r", "d", "1971-01-01", "l")
  del known["third"]
  with pytest.raises(InputError, match="^not mine$"):  # said once
    weights.from_release(path)
