"""One workdir, one run; what may change while it goes on; and what its record says."""

import dataclasses
import json
import pathlib
import re
import subprocess
import types

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine.workdir import record
from cfi_jax.engine.workdir.record import Identity, Length


@dataclasses.dataclass(frozen=True)
class Settings:
  rate: float
  sizes: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Long:
  steps: int
  epochs: float


SETTINGS, DATA = Settings(0.1, (1, 2)), {"train": {"pairs": 3, "sha256": "abc"}}
SAME = Identity(SETTINGS, DATA)


def test_a_second_start_of_the_same_run_is_added(tmp_path):
  workdir = tmp_path / "new" / "run"
  assert record.read(workdir) is None
  for _ in range(2):
    record.check(workdir, Identity(Settings(0.1, (1, 2)), DATA))
    record.write(workdir, SAME)
  stored = record.read(workdir)
  assert stored["config"] == {"rate": 0.1, "sizes": [1, 2]} and stored["data"] == DATA
  assert len(stored["starts"]) == 2
  start = stored["starts"][0]
  assert start["packages"].keys() == set(record.PACKAGES) and start["devices"]
  assert start["git"] is None or len(start["git"]["commit"]) == 40
  assert [path.name for path in workdir.iterdir()] == [record.FILE]


def test_another_run_is_refused_with_the_differences(tmp_path):
  record.write(tmp_path, SAME)
  before = (tmp_path / record.FILE).read_text()
  other = Identity(Settings(0.2, (1, 2)), {"train": {"pairs": 4, "sha256": "abc"}})
  with pytest.raises(InputError) as error:
    record.check(tmp_path, other)
  for text in ("config.rate: 0.1, 0.2", "data.train.pairs: 3, 4", str(tmp_path)):
    assert text in str(error.value)
  assert "sizes" not in str(error.value)
  assert (tmp_path / record.FILE).read_text() == before


def test_a_folder_of_checkpoints_that_holds_none_is_no_run(tmp_path):
  (tmp_path / record.CHECKPOINTS).mkdir()
  assert record.check(tmp_path, SAME) == []


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
    assert options["capture_output"]
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
    record.check(tmp_path, SAME)


def test_a_package_that_is_not_installed_has_no_version():
  assert record._version("no-such-package") is None and record._version("numpy")


def test_what_only_one_side_has_is_a_difference(tmp_path):
  there = {"train": {"pairs": 3, "gone": 1}, "validation": {"pairs": 1}}
  now = {"train": {"pairs": 3, "new": 2}, "support": {"pairs": 5}}
  record.write(tmp_path, dataclasses.replace(SAME, data=there))
  with pytest.raises(InputError) as error:
    record.check(tmp_path, dataclasses.replace(SAME, data=now))
  for text in (
    "data.train.gone: 1, None",
    "data.train.new: None, 2",
    "data.support: None, {'pairs': 5}",
    "data.validation: {'pairs': 1}, None",
  ):
    assert text in str(error.value)
  assert "data.train.pairs" not in str(error.value)
  named = re.findall(r"data\.[a-z.]+", str(error.value))
  assert len(named) == 4 and named == sorted(named)


def test_checking_writes_nothing(tmp_path):
  record.check(tmp_path / "new", SAME)
  assert not (tmp_path / "new").exists()


def test_a_file_and_checkpoints_without_a_record_are_refused(tmp_path):
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="is a file"):
    record.check(tmp_path / "file", SAME)
  with pytest.raises(InputError, match="must be a folder"):
    record.check(tmp_path / "file" / "below", SAME)
  with pytest.raises(InputError, match="cannot be written"):
    record.write(tmp_path / "file" / "below", SAME)
  (tmp_path / "run" / record.CHECKPOINTS / "3").mkdir(parents=True)
  with pytest.raises(InputError, match="checkpoints but no run.json"):
    record.check(tmp_path / "run", SAME)


def test_a_field_that_was_added_takes_what_older_versions_did_and_is_recorded(tmp_path):
  stored = {"config": {"rate": 0.1}, "data": DATA, "starts": []}
  (tmp_path / record.FILE).write_text(json.dumps(stored))

  def check(**older):
    return record.check(tmp_path, dataclasses.replace(SAME, older=older))

  (line,) = check(**{"sizes": [1, 2], "unknown.field": 3})
  assert line == f"{tmp_path} is of an older version, taken as: sizes=[1, 2]"
  with pytest.raises(InputError, match=r"config.sizes: \[3, 4\], \[1, 2\]"):
    check(sizes=[3, 4])
  with pytest.raises(InputError, match=r"config.sizes: None, \[1, 2\]"):
    check()
  record.write(tmp_path, SAME)
  assert check(sizes=[1, 2]) == []
  assert record.read(tmp_path)["config"]["sizes"] == [1, 2]


def test_a_run_goes_on_with_other_operational_values_and_says_so(tmp_path):
  record.write(tmp_path, SAME)
  changed = Identity(Settings(0.2, (1, 2)), DATA, operational=("rate",))
  (line,) = record.check(tmp_path, changed)
  assert line == (
    f"{tmp_path} goes on with other values, which do not decide its result (there, now): "
    "config.rate (0.1, 0.2)"
  )
  record.write(tmp_path, changed)
  assert record.check(tmp_path, changed) == []
  both = dataclasses.replace(changed, config=Settings(0.3, (1, 3)))
  with pytest.raises(InputError, match="config.sizes") as error:
    record.check(tmp_path, both)
  assert "config.rate" not in str(error.value)


def long(steps, epochs=0.0, fixed=""):
  """A run of so many steps, or of ten to the epoch."""
  return Identity(
    Long(steps, epochs), DATA,
    length=Length(steps or int(10 * epochs), lambda c: c["steps"] or int(10 * c["epochs"]), fixed),
  )  # fmt: skip


@pytest.mark.parametrize(
  ("before", "after", "line"),
  [
    (long(4), long(6), "goes on to step 6 instead of 4"),
    (long(0, 1.0), long(0, 1.5), "goes on to step 15 instead of 10"),
    (long(0, 1.0), long(11), "goes on to step 11 instead of 10"),
    (long(0, 1.0), long(10), None),
    (long(10), long(0, 1.0), None),
    (long(4), long(4, fixed="it is fixed"), None),
    (long(0, 1.0), long(10, fixed="it is fixed"), None),
  ],
)
def test_a_run_may_become_longer(tmp_path, before, after, line):
  record.write(tmp_path, before)
  assert record.check(tmp_path, after) == ([f"{tmp_path} {line}"] if line else [])


def test_a_run_may_not_become_shorter_nor_longer_where_its_length_decides(tmp_path):
  record.write(tmp_path, long(4))
  with pytest.raises(InputError, match="run of 4 steps and cannot become one of 3; allowed: 4 or"):
    record.check(tmp_path, long(3))
  with pytest.raises(InputError) as error:
    record.check(tmp_path, long(5, fixed="the schedule ends"))
  assert "cannot go on to 5: the schedule ends" in str(error.value)
  assert f"--config.init_from={tmp_path}" in str(error.value)


def test_a_config_without_a_length_may_not_change_its_steps(tmp_path):
  record.write(tmp_path, dataclasses.replace(long(4), length=None))
  with pytest.raises(InputError, match="config.steps: 4, 5"):
    record.check(tmp_path, dataclasses.replace(long(5), length=None))


IMAGES = {"train": {"visible/0.png": "10", "visible/1.png": "11"}, "validation": {"v": "1"}}


def with_images(sha256, train, **more):
  data = {"train": {"pairs": 3, "sha256": sha256}}
  return Identity(SETTINGS, data, files=IMAGES | {"train": train}, **more)


def test_images_that_changed_are_named(tmp_path):
  record.write(tmp_path, with_images("abc", IMAGES["train"]))
  assert record.check(tmp_path, with_images("abc", IMAGES["train"])) == []
  with pytest.raises(InputError) as error:
    record.check(tmp_path, with_images("def", {"visible/0.png": "12", "visible/2.png": "11"}))
  assert (
    "(there, now): data.train: gone: visible/1.png; new: visible/2.png; changed: visible/0.png "
    "(10 bytes, now 12 bytes)." in str(error.value)
  )
  assert "sha256" not in str(error.value) and "validation" not in str(error.value)
  assert record.check(tmp_path, SAME) == []  # which knows no file by its name
  for content in ("", "{", "[]", '{"train": []}', '{"train": {"v": 1}}'):  # the hash still tells
    (tmp_path / record.IMAGES).write_text(content)
    assert record.check(tmp_path, with_images("abc", IMAGES["train"])) == []
    with pytest.raises(InputError, match="data.train.sha256: 'abc', 'def'"):
      record.check(tmp_path, with_images("def", {"visible/0.png": "12"}))


@pytest.mark.parametrize(
  "bad", [["v"], {"v": ""}, {"v": 1}, {"v": "1", "w": ""}, {"v": 1, "w": "1"}]
)
def test_a_damaged_part_of_the_list_of_images_does_not_hide_the_others(tmp_path, bad):
  record.write(tmp_path, with_images("abc", IMAGES["train"]))
  (tmp_path / record.IMAGES).write_text(json.dumps({"validation": bad, "train": IMAGES["train"]}))
  with pytest.raises(InputError) as caught:
    record.check(tmp_path, with_images("new", {"visible/0.png": "10"}))
  assert "data.train: gone: visible/1.png" in str(caught.value)
  assert "data.validation" not in str(caught.value)


@pytest.mark.parametrize("bad", [{}, {"visible/0.png": "12"}, {"visible/0.pnh": "10"}, {"v": " "}])
def test_a_damaged_list_of_images_that_did_not_change_is_not_believed(tmp_path, bad):
  record.write(tmp_path, with_images("abc", IMAGES["train"]))
  (tmp_path / record.IMAGES).write_text(json.dumps({"train": bad}))
  assert record.check(tmp_path, with_images("abc", IMAGES["train"])) == []
  with pytest.raises(InputError, match="data.train"):
    record.check(tmp_path, with_images("def", {"visible/0.png": "10"}))
  record.write(tmp_path, with_images("abc", IMAGES["train"]))
  listed = json.loads((tmp_path / record.IMAGES).read_text())["train"]
  assert listed.keys() == IMAGES["train"].keys()


def test_hashes_of_contents_count_once_they_are_known(tmp_path):
  plain, first, second = ({"a.png": f"10{end}"} for end in ("", " 1234567890", " 2234567890"))
  record.write(tmp_path, with_images("abc", plain))
  assert record.check(tmp_path, with_images("abc", first)) == []
  record.write(tmp_path, with_images("abc", first))
  for _ in range(2):  # a start that does not ask for hashes leaves them known
    with pytest.raises(InputError, match="SHA-256 12345678, now 10 bytes with SHA-256 22345678"):
      record.check(tmp_path, with_images("abc", second))
    assert record.check(tmp_path, with_images("abc", plain)) == []
    record.write(tmp_path, with_images("abc", plain))


def test_a_hash_that_an_earlier_version_made_of_the_same_images_is_known(tmp_path):
  record.write(tmp_path, SAME)
  known = {"data.train.sha256": "abc"}
  assert record.check(tmp_path, with_images("new", IMAGES["train"], formerly=known)) == []
  with pytest.raises(InputError, match="sha256: 'abc', 'new'"):
    record.check(tmp_path, with_images("new", IMAGES["train"], formerly={"data.train.sha256": "x"}))


DAMAGES = ("", "{", "[]", "{}", '{"config": {}}', "[" * 100_000, "\xff\x00")
DAMAGES += ('{"config": [], "data": {}}', '{"config": {}, "data": 3}')
DAMAGES += ('{"config": {}, "data": {}, "starts": 1}', '{"config": null, "data": {}}')


@pytest.mark.parametrize("content", DAMAGES)
def test_a_damaged_record_is_named(tmp_path, content):
  (tmp_path / record.FILE).write_bytes(content.encode("latin-1"))
  for call in (lambda: record.read(tmp_path), lambda: record.check(tmp_path, SAME)):
    with pytest.raises(InputError, match=r"run\.json: (damaged|is not the record)"):
      call()


@pytest.mark.parametrize("content", [None, *DAMAGES])
def test_a_lost_record_is_made_again_of_the_newest_checkpoint(tmp_path, content):
  for step, rate in ((9, 0.3), (80, 0.1), (100, None)):
    folder = tmp_path / record.CHECKPOINTS / str(step)
    folder.mkdir(parents=True)
    about = record.about(Identity(Settings(rate, (1, 2)), DATA))
    text = "{" if rate is None else json.dumps({"custom_metadata": about})
    (folder / record.METADATA).write_text(text)
  if content is not None:
    (tmp_path / record.FILE).write_bytes(content.encode("latin-1"))
  (line,) = record.check(tmp_path, SAME)
  assert line.startswith(f"{tmp_path / record.FILE}") and line.endswith(
    f"; made again of {tmp_path / record.CHECKPOINTS / '80'}"
  )
  with pytest.raises(InputError, match="config.rate: 0.1, 0.2"):
    record.check(tmp_path, Identity(Settings(0.2, (1, 2)), DATA))
  record.write(tmp_path, SAME)
  assert record.check(tmp_path, SAME) == [] and len(record.read(tmp_path)["starts"]) == 1


def test_records_are_read_by_people_too(tmp_path):
  record.write(tmp_path, with_images("abc", IMAGES["train"]))
  lines = (tmp_path / record.FILE).read_text().splitlines()
  assert lines[0] == "{" and '  "config": {' in lines and '    "rate": 0.1,' in lines
  lines = (tmp_path / record.IMAGES).read_text().splitlines()
  assert lines[:3] == ["{", '"train": {', '"visible/0.png": "10",']  # one image a line
