"""The course of a command: what is set before it, what is out after it, and devices not there."""

import io

import pytest

from cfi_jax.core import cli

FLAGS = {"count": cli.Flag("how many", 3), "config": cli.CONFIG}


def status(main, *arguments):
  return cli.status(main, FLAGS, "Does something.", arguments)


def test_a_line_of_help_has_a_hundred_characters_at_most():
  for length, lines in ((5, 1), (6, 2)):
    text = cli._entry("--x", f"{'a' * 70} {'b' * length}").splitlines()
    assert len(text) == lines and max(map(len, text)) <= 100


def test_what_was_said_is_out_before_an_interrupted_command_ends(monkeypatch):
  class Stream(io.StringIO):
    flushed = 0

    def flush(self):
      self.flushed += 1

  def leave(status):
    raise SystemExit(status, cli.sys.stdout.flushed)

  def main(given):
    raise KeyboardInterrupt

  monkeypatch.setattr(cli.app, "run", lambda finish, argv: finish(argv))
  monkeypatch.setattr(cli.os, "_exit", leave)
  monkeypatch.setattr(cli.sys, "argv", ["command"])
  monkeypatch.setattr(cli.sys, "stdout", Stream())
  with pytest.raises(SystemExit) as ended:
    cli.run(main, {}, "Says something.")
  assert ended.value.args == (130, 1)


def test_what_libraries_report_is_set_before_a_command_begins(monkeypatch):
  told = []
  monkeypatch.setattr(cli.logging, "set_verbosity", told.append)
  for arguments, level in (((), -2), (("--verbosity=-1",), -1)):
    assert status(lambda given: told.append(sorted(given)) or 0, *arguments) == 0
    assert told == [level, ["config", "count"]]
    told.clear()


def test_an_assertion_where_jax_looks_for_devices_is_a_device_that_is_not_there(
  monkeypatch, capsys
):
  def main(given):
    exec(compile("assert False", "xla_bridge.py", "exec"))

  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  assert status(main) == 2
  assert capsys.readouterr().err.startswith(
    "error: JAX_PLATFORMS=cuda: there is no such device, or JAX has no plugin for it; without"
  )


def test_a_config_without_a_file_is_none_and_the_last_one_counts():
  assert cli.parse(FLAGS, ["--config"])["config"] is None
  assert cli._take_config(["--config", "a", "x", "-config=b"]) == ("b", ["x"])
