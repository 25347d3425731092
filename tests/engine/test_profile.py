"""The trace of some steps: of these alone, one file a process, with the names of the program."""

import re
import types

import jax
import pytest
import toys
from command_line import ROOT

from cfi_jax import systems
from cfi_jax.benchmark.harness import hlo
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.engine import loop, programs
from cfi_jax.engine.config import profiled
from cfi_jax.engine.profile import Profile
from cfi_jax.engine.run import open_run
from cfi_jax.engine.workdir import logs

toys.install()
FOLDER = ("profile", "plugins", "profile", "steps_3_to_5")


def configure(pairs, **changes):
  values = config_lib.load(f"{ROOT}/tests/toys/tiny.py:one").to_dict() | {"steps": 8} | changes
  values["data"]["root"], values["input"]["device_gb"] = str(pairs), 1.0  # cut on the devices
  return systems.configure(values)


def events(path):
  """All events of a trace."""
  planes = jax.profiler.ProfileData.from_file(str(path)).planes
  return [event for plane in planes for line in plane.lines for event in line.events]


def test_a_trace_is_of_its_steps_and_has_the_names_of_the_program(pairs, tmp_path, capsys):
  system, config = configure(pairs, profile_steps="3:6", steps_per_dispatch=4, log_every=4)
  assert loop.train(system, config, tmp_path / "run") == 8
  folder = (tmp_path / "run").joinpath(*FOLDER)
  said = capsys.readouterr().out
  assert f"profile of the steps 3 to 5: {folder}\n" in said
  assert " % in steps, " in said and " % lost\n" in said
  assert (folder / "process_0.xplane.pb").is_file()
  found = [(event.name, dict(event.stats)) for event in events(folder / "process_0.xplane.pb")]
  assert [stats["step_num"] for name, stats in found if name == "train"] == [4, 5]  # last ones
  run = open_run(system, config, tmp_path / "other")
  lowered = programs.lower_train_step(run)
  computations, _ = hlo.parse(lowered.compile().as_text())
  named = {one.name for lines in computations.values() for one in lines}
  traced = {name for name, stats in found if "hlo_op" in stats}
  assert traced and traced <= named, (traced, named)
  sources = re.findall(r'loc\("([^"]*)"', lowered.as_text(debug_info=True))
  assert "input" in {hlo.scope(source, 1) for source in sources}
  rows = logs.read_metrics(tmp_path / "run" / logs.METRICS_FILE)
  shares = [row["goodput"] for row in rows if row["kind"] == "train"]
  assert len(shares) == 2 and all(0 < share < 1 for share in shares)


@pytest.mark.parametrize("text", ["3", "3:", ":3", "0:2", "3:3", "5:3", "a:b", "-1:2", "1:2:3"])
def test_steps_that_cannot_be_traced_are_refused(pairs, text):
  with pytest.raises(InputError, match="config.profile_steps is .*; allowed: FIRST:END, such as"):
    configure(pairs, profile_steps=text)


def test_steps_are_those_of_a_slice():
  assert list(profiled("10:13")) == [10, 11, 12] and not profiled("")


def test_a_trace_waits_for_the_steps_before_it_and_for_its_last(monkeypatch, tmp_path):
  done = []
  monkeypatch.setattr(jax, "block_until_ready", done.append)
  monkeypatch.setattr(jax.profiler, "start_trace", lambda folder: done.append("start"))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: done.append("stop"))
  traced = Profile(tmp_path, range(3, 6))
  assert traced.ends == (2, 5) and traced.close() == ""
  for last in (2, 4, 5, 6):
    traced.before(types.SimpleNamespace(last=last), f"before {last}")
    said = traced.after(last, f"after {last}")
    assert said.startswith("profile of the steps 3 to 5: ") if last == 5 else said == ""
  assert done == ["before 4", "start", "after 5", "stop"]
  assert Profile(tmp_path, range(0)).ends == ()
