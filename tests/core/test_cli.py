"""The command line: flags, help, configs by name; and the help of every command."""

import errno
import importlib
import re
import subprocess
import sys

import pytest
from command_line import ROOT, run

import cfi_jax
from cfi_jax import __main__ as console
from cfi_jax.benchmark.flags import PARTS
from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError

MODULES = {
  name: "cfi_jax." + path.removesuffix(".py").removesuffix("/__main__").replace("/", ".")
  for name, path in console.COMMANDS.items()
}
# What comes before the flags of a command, their table, and how its examples name the command.
COMMANDS = {
  name: ([name], vars(importlib.import_module(f"cfi_jax.{path[:-3].replace('/', '.')}")))
  for name, path in console.COMMANDS.items()
  if name != "benchmark"
}
COMMANDS = {name: (words, members["FLAGS"]) for name, (words, members) in COMMANDS.items()}
COMMANDS |= {f"benchmark {part}": (["benchmark", part], flags) for part, flags in PARTS.items()}


@pytest.mark.parametrize("help_flag", ["--help", "-h"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_every_flag_and_an_example_of_known_ones(command, help_flag):
  words, flags = COMMANDS[command]
  done = run("cfi_jax", *words, help_flag)
  assert done.returncode == 0 and not done.stderr
  listed = re.findall(r"^  --(?:\[no\])?(\w+)", done.stdout, re.MULTILINE)
  assert listed == [*flags, *(["config"] if "config" in flags else []), "verbosity", "version"]
  for name, flag in flags.items():
    assert (
      (flag.required and not flag.default)
      or f"default: {flag.default}" in done.stdout
      or (flag.default is None or isinstance(flag.default, str | list))
    ), name
  text = done.stdout.replace("\\\n", " ")
  own = " ".join([MODULES[words[0]], *words[1:]])
  examples = re.findall(rf"^  python -m {re.escape(own)} .*", text, re.MULTILINE)
  assert examples
  for example in examples:
    given = re.findall(r" --(\w+)", example)
    assert set(given) <= set(flags) and "[" not in example


@pytest.mark.parametrize("command", COMMANDS)
def test_a_misspelt_flag_names_the_nearest(command):
  words, flags = COMMANDS[command]
  name = list(flags)[0]
  done = run("cfi_jax", *words, f"--{name[:-1]}=1")
  assert done.returncode == 2
  assert f"error: unexpected argument '--{name[:-1]}' (did you mean '--{name}'?)" in done.stderr
  assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
  ("arguments", "text"),
  [
    (["fuze"], "no command 'fuze' (did you mean 'fuse'?)"),
    ([], "a command is missing; valid: train, fuse"),
    (["benchmark", "trian"], "no command 'trian' (did you mean 'train'?)"),
  ],
)
def test_a_misspelt_command_names_the_nearest(arguments, text):
  done = run("cfi_jax", *arguments)
  assert done.returncode == 2 and text in done.stderr and done.stderr.count("\n") == 1


def test_the_list_of_commands():
  listed = run("cfi_jax", "--help")
  assert listed.returncode == 0
  for name in console.COMMANDS:
    assert re.search(rf"^  {name} +[A-Z].*", listed.stdout, re.MULTILINE), name
  for part in PARTS:
    assert re.search(rf"^  {part} +[A-Z]", run("cfi_jax", "benchmark", "-h").stdout, re.MULTILINE)


@pytest.mark.parametrize("words", [[], ["train"], ["fuse"], ["benchmark"], ["benchmark", "input"]])
def test_every_command_tells_the_version(words):
  done = run("cfi_jax", *words, "--version")
  assert (done.returncode, done.stdout) == (0, f"cfi_jax {cfi_jax.__version__}\n"), done.stderr
  assert re.fullmatch(r"\d+\.\d+\.\d+", cfi_jax.__version__)


CHECK = """
import runpy, sys
sys.argv = ["x", *sys.argv[1:]]
try:
  runpy.run_module("cfi_jax", run_name="__main__", alter_sys=True)
finally:
  assert not {"jax", "flax"} & set(sys.modules), "help imports JAX"
"""


@pytest.mark.parametrize("words", ["", "train", "fuse", "study", "benchmark", "benchmark input"])
def test_help_needs_no_jax(words):
  command = [sys.executable, "-c", CHECK, *words.split(), "--help"]
  subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


CONFIG = """
import pathlib
from ml_collections import ConfigDict

def get_config(size="1"):
  return ConfigDict({"size": int(size), "part": {"sizes": (1, 2), "on": True}, "name": "a b"})

with open(pathlib.Path(__file__).with_suffix(".log"), "a") as log:
  log.write("read ")
"""
FLAGS = {"config": cli.NEEDED_CONFIG, "output": cli.Flag("a folder"), "fast": cli.Flag("-", False)}


@pytest.fixture
def file(tmp_path):
  (tmp_path / "own.py").write_text(CONFIG)
  return tmp_path / "own.py"


@pytest.mark.parametrize("code", [0, 1, 130])
def test_only_what_was_interrupted_ends_at_once(monkeypatch, capfd, code):
  """Taking Python down after Ctrl-C may crash in JAX; else everything is put away in order."""
  left = []

  def leave(status):
    left.append(status)
    raise SystemExit(status)

  def main(given):
    print("said", end="")
    if code == 130:
      raise KeyboardInterrupt
    return code

  # absl's own `run` would change the logging of this process.
  monkeypatch.setattr(cli.app, "run", lambda finish, argv: sys.exit(finish(argv)))
  monkeypatch.setattr(cli.os, "_exit", leave)
  monkeypatch.setattr(cli.sys, "argv", ["command"])
  with pytest.raises(SystemExit) as ended:
    cli.run(main, {}, "Says something.")
  assert ended.value.code == code and left == ([130] if code == 130 else [])
  said = capfd.readouterr()
  assert said.out == "said" and ("interrupted" in said.err) == (code == 130)


def test_the_config_file_is_read_once_per_command(file):
  log = file.with_suffix(".log")
  given = cli.parse(FLAGS, [f"--config={file}:4", "--config.part.sizes=(5, 6)", "--no-fast"])
  assert log.read_text() == "read " and given["fast"] is False
  assert given["config"] == {"size": 4, "part": {"sizes": (5, 6), "on": True}, "name": "a b"}
  done = run("cfi_jax.check", "--config", file, "--noconfig.part.on")
  assert done.returncode == 2 and "config" in done.stderr
  assert log.read_text() == "read read "


def test_help_with_a_config_lists_its_values_as_arguments(file, capsys):
  assert cli.status(lambda given: 1, FLAGS, "Does.", [f"--config={file}", "--helpfull"]) == 0
  text = capsys.readouterr().out
  lines = text[text.index("Values of") :].splitlines()[1:]
  assert lines == [
    '  "--config.name=a b"',
    "  --config.part.on=True",
    '  "--config.part.sizes=(1, 2)"',
    "  --config.size=1",
  ]
  words = [line.strip().strip('"') for line in lines]
  assert cli.read([f"--config={file}", *words]) == cli.read([f"--config={file}"])


@pytest.mark.parametrize(
  "flag", [cli.Flag("x", valid=("a", "b")), cli.Flag("x", "a", valid=("b",))]
)
def test_only_valid_values_are_taken(flag):
  assert cli.parse({"kind": flag}, ["--kind=b"])["kind"] == "b"
  with pytest.raises(InputError, match=r"--kind=c; allowed: (a, )?b"):
    cli.parse({"kind": flag}, ["--kind=c"])


def test_flags_are_parsed_by_the_kind_of_their_default():
  flags = {"n": cli.Flag("", 3), "x": cli.Flag("", kind=float), "l": cli.Flag("", ["a"])}
  flags |= {"m": cli.Flag("", kind=tuple)}
  assert cli.parse(flags, []) == {"n": 3, "x": None, "l": ["a"], "m": None, "verbosity": -2}
  given = cli.parse(flags, ["--n", "4", "--x=1e3", "--l=b,c", "--m=1", "--m=2"])
  assert given == {"n": 4, "x": 1e3, "l": ["b", "c"], "m": ["1", "2"], "verbosity": -2}
  with pytest.raises(InputError, match="--n=four"):
    cli.parse(flags, ["--n=four"])


@pytest.mark.parametrize("name", ["msrs", "msrs.py", "configs/msrs.py"])
def test_configs_of_the_package_are_found_by_name(name, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  assert config_lib.find(name) == ROOT / "configs" / "msrs.py"
  assert config_lib.load(f"{name}:paper").model.gate == "paper"
  own = tmp_path / name
  own.parent.mkdir(exist_ok=True)
  own.write_text("from ml_collections import ConfigDict\nget_config = lambda: ConfigDict({'a': 7})")
  assert config_lib.load(name).a == 7


@pytest.mark.parametrize("name", ["mrsr", "other/msrs.py", "configs/"])
def test_a_missing_config_lists_those_of_the_package(name):
  with pytest.raises(
    InputError, match=r"no such file.*configs of the package: .*ct_mri, .*synthetic"
  ):
    config_lib.load(name)


OTHERS = {
  "count": cli.Flag("how many", 3),
  "root": cli.Flag("where", kind=str),
  "config": cli.CONFIG,
}


@pytest.mark.parametrize(
  ("arguments", "words"),
  [
    (["--conut=4"], "unexpected argument '--conut' .did you mean '--count'.*--help lists all"),
    (["--count=4", "more"], "unexpected argument 'more'; values are given as --flag=value"),
    (["--count=many"], "the command line cannot be read: .*count"),
    (["--config.seed=1"], "--config.seed without --config=FILE"),
    (["--config", "synthetic", "--config.sead=1"], "no key 'sead' in config .did you mean 'seed'"),
    (["--config=synthetic", "--config.seed.x=1"], "no key 'x' in config.seed; valid keys: none"),
  ],
)
def test_a_command_line_that_cannot_be_read_says_why(arguments, words):
  with pytest.raises(InputError, match=words):
    cli.parse(OTHERS, arguments)


def test_a_missing_value_that_is_required_is_named():
  flags = {"root": cli.Flag("where images are", required=True)}
  for arguments in ([], ["--root="]):
    with pytest.raises(InputError, match="^--root is missing; it is required: where images are$"):
      cli.parse(flags, arguments)
  assert cli.parse(flags, ["--root=x"])["root"] == "x"


def outcome(main, *arguments):
  return cli.status(main, OTHERS, "Does something.", arguments)


def fail(error):
  def main(given):
    raise error

  return main


def test_help_is_in_two_columns_of_a_hundred_characters():
  assert cli.Flag("word " * 19 + "word", 3).describe("count").splitlines() == [
    "  --count               " + "word " * 14 + "word",
    " " * 24 + "word word word word word (default: 3)",
  ]
  assert cli.Flag("a", kind=list, valid=("b", "c"), required=True).describe("x" * 18) == (
    f"  --{'x' * 18}  a; one of b, c (required)"
  )
  assert cli.Flag("a", False).describe("on") == "  --[no]on              a (default: False)"
  assert cli.Flag("a", kind=bool).describe("on") == "  --[no]on              a (default: none)"
  assert cli.Flag("a", ["b", "c"]).describe("l") == "  --l                   a (default: b, c)"


def test_help_and_version_are_no_work(capsys):
  assert outcome(fail(ValueError("ran")), "--version", "--nonsense") == 0
  assert capsys.readouterr().out == f"cfi_jax {cfi_jax.__version__}\n"
  assert outcome(fail(ValueError("ran")), "--help") == 0
  assert "Does something." in capsys.readouterr().out


@pytest.mark.parametrize(
  ("error", "said"),
  [
    (InputError("no such thing"), "error: no such thing\n"),
    (PermissionError(errno.EACCES, "x", "a.png"), "error: a.png: Permission denied\n"),
    (
      RuntimeError(f"{cli._NO_DEVICE} cuda\n because"),
      f"error: JAX_PLATFORMS=cuda: {cli._NO_DEVICE}",
    ),
  ],
)
def test_what_is_not_the_programs_fault_is_one_line_and_status_2(error, said, capsys, monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cuda")
  assert outcome(fail(error)) == 2
  printed = capsys.readouterr().err
  assert printed.startswith(said) and printed.count("\n") == 1


@pytest.mark.parametrize(
  "error", [RuntimeError("a bug"), OSError(errno.EPIPE, "x"), AssertionError("a bug"), KeyError(1)]
)
def test_what_may_be_the_programs_fault_keeps_its_traceback(error):
  with pytest.raises(type(error)):
    outcome(fail(error))


def test_ctrl_c_is_status_130_and_any_other_that_of_the_command(capsys):
  assert outcome(fail(KeyboardInterrupt())) == cli.INTERRUPTED == 130
  assert capsys.readouterr().err == "interrupted\n"
  assert outcome(lambda given: given["count"], "--count=7") == 7


def test_a_command_is_chosen_by_its_name(capsys):
  commands = {name: ROOT / "cfi_jax" / f"{name}.py" for name in ("check", "convert")}
  assert cli.choose(commands, "All.", ["check", "--x"]) == "check"
  for flag, text in (("--version", f"cfi_jax {cfi_jax.__version__}"), ("--help", "All.")):
    assert cli.choose(commands, "All.", [flag]) is None
    assert capsys.readouterr().out.startswith(text)
  with pytest.raises(InputError, match="^a command is missing; valid: check, convert$"):
    cli.choose(commands, "All.", [])
  with pytest.raises(InputError, match="no command 'chek' .did you mean 'check'.*; valid: check, "):
    cli.choose(commands, "All.", ["chek"])
