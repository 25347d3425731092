"""Limits of the config that every run has: hit exactly, and exceeded by one."""

import copy
import functools
from types import SimpleNamespace

import pytest
import toys
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import run
from cfi_jax.engine.config import Config

toys.install()


def configure(**changes):
  """The config of a toy with other values."""
  values = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:one").to_dict()
  return systems.configure(values | changes)[1]


@pytest.mark.parametrize(
  ("name", "value"),
  [
    *((n, 1) for n in ("batch_size", "steps_per_dispatch", "log_every", "validate_every")),
    ("validation_pairs", 1),
    *((n, 0) for n in ("epochs", "pictures", "memory_gb")),
    *(("seed", value) for value in (0, 2**31 - 1)),
  ],
)
def test_limits_themselves_are_allowed(name, value):
  assert getattr(configure(**{name: value}), name) == value


@pytest.mark.parametrize(
  ("name", "value", "message"),
  [
    *(
      (n, 0, f"config.{n} is 0; allowed: 1 or more")
      for n in ("batch_size", "steps_per_dispatch", "log_every", "validate_every")
    ),
    ("validation_pairs", 0, "config.validation_pairs is 0; allowed: 1 or more"),
    ("steps", -1, "config.steps is -1; allowed: 0 or more"),
    ("pictures", -1, "config.pictures is -1; allowed: 0 or more"),
    *((n, -0.1, f"config.{n} is -0.1; allowed: 0 or more") for n in ("epochs", "memory_gb")),
    ("seed", -1, "config.seed is -1; allowed: 0 to 2147483647"),
    ("seed", 2**31, "config.seed is 2147483648; allowed: 0 to 2147483647"),
  ],
)
def test_values_beyond_the_limits_are_refused(name, value, message):
  with pytest.raises(InputError, match=message):
    configure(**{name: value})


def test_a_system_that_says_no_more_may_train_longer_and_is_judged_by_its_loss():
  assert Config.fixed_length.fget(configure()) == ""
  assert Config.judges.fget(configure()) == {"loss": "lower"}


def test_a_config_of_before_these_fields_is_taken_as_what_runs_did_then():
  whole = config_lib.load(f"{ROOT / 'tests' / 'toys' / 'tiny.py'}:one").to_dict()
  whole |= {"system": "isfuse", "input": whole["input"] | {"normalize": "full"}}
  older = copy.deepcopy(whole)
  for path in Config.OLDER:
    *parents, key = path.replace("data:folder", "data").split(".")
    del functools.reduce(dict.__getitem__, parents, older)[key]
  assert len(older) < len(whole) and len(older["data"]) < len(whole["data"])
  assert config_lib.complete(older, Config.OLDER)[0] == whole


def test_a_run_has_a_length():
  assert configure(steps=0, epochs=0.01).epochs == 0.01
  assert configure(steps=1, epochs=0.0).steps == 1
  with pytest.raises(InputError, match="config.steps and config.epochs are both 0"):
    configure(steps=0, epochs=0.0)


@pytest.mark.parametrize("changed", [{"best": "SSIM"}, {"direction": "higher"}])
def test_the_best_checkpoint_is_judged_by_what_a_system_validates(changed):
  checkpoint = {"every": 5, "keep": 2, "best": "loss", "direction": "lower"}
  assert configure(checkpoint=checkpoint).judges == {"loss": "lower"}
  with pytest.raises(InputError, match="checkpoint.best is .*valid: loss .lower."):
    configure(checkpoint=checkpoint | changed)


@pytest.mark.parametrize("kept", [(True, True), (True, False), (False, True), (False, False)])
def test_an_older_run_is_taken_by_the_rules_of_now_where_they_change_no_image(kept):
  streams = [SimpleNamespace(source=SimpleNamespace(keeps_all=each)) for each in kept]
  older = run._older(configure(), streams)
  assert older["input.normalize"] == ("auto" if all(kept) else "full")
  assert {name: value for name, value in older.items() if name != "input.normalize"} == {
    name: value for name, value in Config.OLDER.items() if name != "input.normalize"
  }
