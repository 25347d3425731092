"""One workdir, one run; and what its record says."""

import dataclasses
import json
import pathlib
import subprocess
import types

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir import record


@dataclasses.dataclass(frozen=True)
class Settings:
  rate: float
  sizes: tuple[int, int]


SAME, DATA = Settings(0.1, (1, 2)), {"train": {"pairs": 3, "sha256": "abc"}}


def test_a_second_start_of_the_same_run_is_added(tmp_path):
  workdir = tmp_path / "new" / "run"
  assert record.read(workdir) is None
  for _ in range(2):
    record.check(workdir, Settings(0.1, (1, 2)), DATA)
    record.write(workdir, SAME, DATA)
  stored = record.read(workdir)
  assert stored["config"] == {"rate": 0.1, "sizes": [1, 2]} and stored["data"] == DATA
  assert len(stored["starts"]) == 2
  start = stored["starts"][0]
  assert start["packages"].keys() == set(record.PACKAGES) and start["devices"]
  assert start["git"] is None or len(start["git"]["commit"]) == 40


def test_another_run_is_refused_with_the_differences(tmp_path):
  record.write(tmp_path, SAME, DATA)
  before = (tmp_path / record.FILE).read_text()
  with pytest.raises(InputError) as error:
    record.check(tmp_path, Settings(0.2, (1, 2)), {"train": {"pairs": 4, "sha256": "abc"}})
  for text in ("config.rate: 0.1, 0.2", "data.train.pairs: 3, 4", str(tmp_path)):
    assert text in str(error.value)
  assert "sizes" not in str(error.value)
  assert (tmp_path / record.FILE).read_text() == before


def test_a_folder_of_checkpoints_that_holds_none_is_no_run(tmp_path):
  (tmp_path / record.CHECKPOINTS).mkdir()
  assert record.check(tmp_path, SAME, DATA) == []


@pytest.mark.parametrize(
  ("tracked", "status", "expected"),
  [
    ("record.py", "", {"commit": "abc", "changed": False}),
    ("record.py", " M x.py", {"commit": "abc", "changed": True}),
    ("", "", None),  # installed inside another project's checkout
  ],
)
def test_a_start_names_the_commit_that_ran_and_whether_it_was_changed(
  monkeypatch, tracked, status, expected
):
  answers = {"ls-files": tracked, "rev-parse": "abc", "status": status}

  def git(command, **options):
    assert command[:2] == ["git", "-C"] and options["check"] and options["text"]
    assert pathlib.Path(command[2]) == pathlib.Path(record.__file__).parent
    if command[3] == "ls-files":
      assert command[4:] == ["record.py"]
    return types.SimpleNamespace(stdout=answers[command[3]] + "\n")

  monkeypatch.setattr(record.subprocess, "run", git)
  assert record._git() == expected


@pytest.mark.parametrize(
  "error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "")]
)
def test_a_start_without_git_names_no_commit(monkeypatch, error):
  def git(*arguments, **options):
    raise error

  monkeypatch.setattr(record.subprocess, "run", git)
  assert record._git() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"config": {}}', '{"data": {}}', "null"])
def test_what_is_no_record_is_named(tmp_path, text):
  (tmp_path / record.FILE).write_text(text)
  with pytest.raises(InputError, match=r"run\.json: (damaged|is not the record of a run)"):
    record.read(tmp_path)
  with pytest.raises(InputError, match=r"run\.json"):
    record.check(tmp_path, SAME, DATA)


def test_a_package_that_is_not_installed_has_no_version():
  assert record._version("no-such-package") is None and record._version("numpy")


def test_what_only_one_side_has_is_a_difference(tmp_path):
  record.write(tmp_path, SAME, {"train": {"pairs": 3, "gone": 1}, "validation": {"pairs": 1}})
  with pytest.raises(InputError) as error:
    record.check(tmp_path, SAME, {"train": {"pairs": 3, "new": 2}, "support": {"pairs": 5}})
  for text in (
    "data.train.gone: 1, None",
    "data.train.new: None, 2",
    "data.support: None, {'pairs': 5}",
    "data.validation: {'pairs': 1}, None",
  ):
    assert text in str(error.value)
  assert "data.train.pairs" not in str(error.value)


def test_checking_writes_nothing(tmp_path):
  record.check(tmp_path / "new", SAME, DATA)
  assert not (tmp_path / "new").exists()


def test_a_file_and_checkpoints_without_a_record_are_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="is a file"):
    record.check(tmp_path / "file", SAME, DATA)
  with pytest.raises(InputError, match="cannot be written"):
    record.write(tmp_path / "file" / "below", SAME, DATA)
  (tmp_path / "run" / record.CHECKPOINTS / "3").mkdir(parents=True)
  with pytest.raises(InputError, match="checkpoints but no run.json"):
    record.check(tmp_path / "run", SAME, DATA)


def test_a_field_that_was_added_takes_what_older_versions_did_and_is_recorded(tmp_path):
  stored = {"config": {"rate": 0.1}, "data": DATA, "starts": []}
  (tmp_path / record.FILE).write_text(json.dumps(stored))
  (line,) = record.check(tmp_path, SAME, DATA, {"sizes": [1, 2], "unknown.field": 3})
  assert line == f"{tmp_path} is of an older version, taken as: sizes=[1, 2]"
  with pytest.raises(InputError, match=r"config.sizes: \[3, 4\], \[1, 2\]"):
    record.check(tmp_path, SAME, DATA, {"sizes": [3, 4]})
  with pytest.raises(InputError, match=r"config.sizes: None, \[1, 2\]"):
    record.check(tmp_path, SAME, DATA)
  record.write(tmp_path, SAME, DATA)
  assert record.check(tmp_path, SAME, DATA, {"sizes": [1, 2]}) == []
  assert record.read(tmp_path)["config"]["sizes"] == [1, 2]


def test_a_run_goes_on_computed_in_another_way_and_says_so(tmp_path):
  record.write(tmp_path, SAME, DATA)
  (line,) = record.check(tmp_path, Settings(0.2, (1, 2)), DATA, computed=["rate"])
  assert line == f"{tmp_path} goes on, computed in another way (there, now): config.rate (0.1, 0.2)"
  with pytest.raises(InputError, match="config.sizes"):
    record.check(tmp_path, Settings(0.2, (1, 3)), DATA, computed=["rate"])
  assert record.check(tmp_path, SAME, DATA, computed=["rate"]) == []
