"""Changes the package in one place at a time and asks whether its tests notice.

    python tests/mutate.py --seed=1 cfi_jax/engine:50 cfi_jax:100

works in a copy of the checkout, on one processor core, and prints each change with the test that
noticed it, then the survivors and the score. Every argument is a path below cfi_jax/ and the number
of changes to draw there; the seed alone decides which.

A change is drawn by its kind first (`KINDS`), then among all places of that kind. Tests mirror the
package: a change in cfi_jax/ROOM/NAME.py
is shown to the tests in tests/ROOM/, one in cfi_jax/ROOM/NAME/FILE.py to those in tests/ROOM/NAME/
and then tests/ROOM/. A first pass over these test files records the statements
that each test runs, in its own process and in the commands that it starts. Those that run the
changed one come first, then the others of these folders; of both, tests in the file that is named
after the changed one before others, and quick ones before slow ones, until the first failure or
until --seconds of tests have passed. A change that computes for a multiple of
their usual time, or waits for a multiple of that, hangs; it counts as noticed, and is listed. Runs
on Linux, whose /proc tells what a process has computed.

A campaign that was stopped goes on with the same command: what was recorded and noticed is kept in
the files of --map and --noticed.

Not drawn: text, annotations, messages to the log, and what needs a GPU or PyTorch. Changes after
which the package does the same are listed with their reason in tests/mutants_equivalent.txt and
leave the score. Written for this package because mutmut (3.8) changes nothing outside functions and
no decorated function (jit, properties, context managers), and cosmic-ray starts Python, JAX and one
and the same test command for each change.
"""

import argparse
import builtins
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable

import pytest
from mutants import ROOT, Mutant, draw, marked

TRACE = "MUTATE_TRACE"  # names the folder that traced commands write their lines to
LIBRARIES = ["pytest", "xdist", "jax", "jax.numpy", "flax.linen", "optax", "orbax.checkpoint"]
LIBRARIES += ["grain.python", "tensorboardX", "chex", "ml_collections", "absl.flags", "absl.app"]
LIBRARIES += ["absl.logging", "PIL.Image", "scipy.stats", "scipy.ndimage", "scipy.signal", "tqdm"]
LIBRARIES += ["safetensors.numpy"]
# Take minutes, or look at the checkout and not at what the package does.
LONG = ("test_documents", "test_launch", "test_resume", "test_golden", "test_paper")
LONG += ("test_packaging", "test_architecture")
LONGEST = 40  # seconds that a test may take; others are left out
# What a command that a test starts does at its start, where its statements are recorded.
# A server that is forked for each command forgets what to do at its end: it is told in every fork.
COMMAND = f"""
import atexit, builtins, json, os
if folder := os.environ.get({TRACE!r}):
  from multiprocessing import util
  ran = set()
  builtins.MUTATE = ran.add
  def write():
    with open(os.path.join(folder, str(os.getpid()) + ".json"), "w") as file:
      json.dump(sorted(ran), file)
  atexit.register(write)
  def begin(write):
    ran.clear()
    util.Finalize(None, write, exitpriority=1)
  util.register_after_fork(write, begin)
"""
EXTRA = 60  # seconds that a change may take to import, collect and compile
# Times longer than it may compute a change may wait: for ever, or for a processor that others use.
WAITING = 6


def busy_seconds(process: int) -> float:
  """Seconds that a process and those of its children that have ended have computed."""
  _, _, fields = pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")
  return sum(map(int, fields.split()[11:15])) / os.sysconf("SC_CLK_TCK")


def mirrors(path: str) -> list[str]:
  """Test files of a file of the package, from the folder like its own up to that of its room."""
  folder = pathlib.PurePath(path).parent.relative_to("cfi_jax")
  folders = [folder, *list(folder.parents)[:-1]] if folder.parts else [folder]
  found = [test for each in folders for test in sorted((ROOT / "tests" / each).glob("test_*.py"))]
  return [str(test.relative_to(ROOT)) for test in found if test.stem not in LONG]


class Record:
  """Plugin of pytest: the seconds and the outcome of each test, and the statements that it ran."""

  def __init__(self, folder: pathlib.Path):
    self.folder, self.ran, self.tests = folder, set(), {}
    builtins.MUTATE = self.ran.add

  def pytest_runtest_logstart(self, nodeid, location):
    """Begins a test."""
    self.ran.clear()
    self.begun = time.monotonic()
    self.tests[nodeid] = {"passed": True}
    signal.signal(signal.SIGALRM, self.stop)
    signal.setitimer(signal.ITIMER_REAL, LONGEST, LONGEST / 4)  # again, as cleaning up may wait

  def stop(self, signum, frame):
    """Ends a test that takes too long."""
    raise TimeoutError

  def pytest_runtest_logreport(self, report):
    """Notes a failure; a skipped test does not count."""
    self.tests[report.nodeid]["passed"] &= report.passed

  def pytest_runtest_logfinish(self, nodeid, location):
    """Notes the time, and what ran here and in commands."""
    signal.setitimer(signal.ITIMER_REAL, 0)
    for path in self.folder.glob("*.json"):
      self.ran.update(json.loads(path.read_text()))
      path.unlink()
    self.tests[nodeid] |= {"seconds": time.monotonic() - self.begun, "ran": sorted(self.ran)}


class Choose:
  """Plugin of pytest: the given tests, in their order; the one that failed."""

  def __init__(self, chosen: list[str]):
    self.order = {name: i for i, name in enumerate(chosen)}
    self.failed = ""

  @pytest.hookimpl(trylast=True)
  def pytest_collection_modifyitems(self, items):
    """Sorts and leaves out."""
    items[:] = sorted(
      (item for item in items if item.nodeid in self.order), key=lambda i: self.order[i.nodeid]
    )

  def pytest_runtest_logreport(self, report):
    """Keeps the name of a failed test."""
    if report.failed:
      self.failed = report.nodeid


class Tree:
  """A copy of the checkout to run tests in, each time in a fork that has the libraries imported."""

  def __init__(self, folder: pathlib.Path):
    self.root, self.scratch = folder / "checkout", folder / "scratch"
    ignored = shutil.ignore_patterns(".git", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, self.root, ignore=ignored, symlinks=True)
    self.scratch.mkdir()
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(COMMAND)
    os.environ["PYTHONPATH"] = f"{self.root}{os.pathsep}{folder / 'site'}"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # or a change of the same size and second is missed
    sys.dont_write_bytecode = True
    for name in LIBRARIES:
      __import__(name)

  def fork(self, work: Callable[[], object], limit: float) -> object:
    """Result of `work` in a process of its own, as JSON; None if it ends otherwise or hangs."""
    answer = self.scratch / "answer.json"
    answer.unlink(missing_ok=True)
    child = os.fork()
    if not child:
      os.setsid()
      signal.signal(signal.SIGTERM, signal.SIG_DFL)
      quiet = os.open(self.scratch / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
      os.dup2(quiet, 1)
      os.dup2(quiet, 2)
      os.chdir(self.root)
      sys.path[:] = [str(self.root), str(self.root / "tests"), *sys.path[1:]]
      answer.write_text(json.dumps(work()))
      os._exit(0)
    end, done = time.monotonic() + WAITING * limit, 0
    try:
      while not (done := os.waitpid(child, os.WNOHANG)[0]):
        if busy_seconds(child) > limit or time.monotonic() > end:
          break
        time.sleep(0.05)
    finally:
      with contextlib.suppress(ProcessLookupError):  # what it started, and itself where it hangs
        os.killpg(child, signal.SIGKILL)
    if not done:
      os.waitpid(child, 0)
      return "hangs"
    return json.loads(answer.read_text()) if answer.exists() else None

  def pytest(self, files: list[str], plugin: object) -> int:
    """Runs tests in this process, up to the first failure."""
    base = f"--basetemp={self.scratch / 'tmp'}"
    given = ["-x", "-n", "0", "-p", "no:cacheprovider", "-p", "no:faulthandler", base]
    return int(pytest.main([*given, *files], plugins=[plugin]))

  def mark(self, on: bool) -> None:
    """Has the package tell which of its statements run, or not."""
    for path in (ROOT / "cfi_jax").rglob("*.py"):
      text = marked(path) if on else path.read_text()
      (self.root / path.relative_to(ROOT)).write_text(text)

  def record(self, file: str) -> dict[str, dict]:
    """The tests of a file, with seconds and the statements that they run; {} where it hangs."""
    folder = self.scratch / "ran"
    folder.mkdir(exist_ok=True)

    def work():
      os.environ[TRACE] = str(folder)
      plugin = Record(folder)
      status = self.pytest(["--maxfail=1000", file], plugin)
      return plugin.tests if status in (0, 1, 5) else None

    tests = self.fork(work, limit=1800)
    if tests == "hangs":
      return {}
    if not isinstance(tests, dict):
      raise SystemExit(f"{file}: {(self.scratch / 'output.txt').read_text()}")
    return tests

  def notices(self, mutant: Mutant, chosen: list[str], seconds: float) -> str:
    """The test that fails after a change; "" if none does."""
    path = self.root / mutant.path
    data = path.read_bytes()

    def work():
      plugin = Choose(chosen)
      files = list(dict.fromkeys(name.split("::")[0] for name in chosen))
      status = self.pytest(files, plugin)
      return plugin.failed or ("" if status in (0, 5) else "collecting")

    try:
      path.write_bytes(mutant.applied(data))
      answer = self.fork(work, limit=EXTRA + 5 * seconds)
      return "crashes" if answer is None else answer
    finally:
      path.write_bytes(data)


def digest(file: str) -> str:
  """Changes with a test file and with the room that it tests."""
  room = ROOT / "cfi_jax" / (*pathlib.PurePath(file).parts[1:-1], "")[0]
  found = hashlib.sha256((ROOT / file).read_bytes())
  for path in sorted(room.rglob("*.py")):
    found.update(path.read_bytes())
  return found.hexdigest()


def load_map(tree: Tree, files: list[str], cache: pathlib.Path) -> dict[str, dict]:
  """The recorded tests of all `files`, from `cache` where `digest` is the same."""
  known = json.loads(cache.read_text()) if cache.exists() else {}
  tests = {}
  tree.mark(True)
  for file in files:
    if known.get(file, {}).get("digest") != digest(file):
      begun = time.monotonic()
      recorded = tree.record(file)
      known[file] = {"digest": digest(file) if recorded else "", "tests": recorded}  # "": again
      cache.write_text(json.dumps(known))
      failed = [name for name, test in recorded.items() if not test["passed"]]
      left_out = failed or "none" if recorded else "all, as it hangs"
      print(f"{file}: {time.monotonic() - begun:.0f} s; left out: {left_out}", flush=True)
    tests |= known[file]["tests"]
  tree.mark(False)
  return tests


def choose(mutant: Mutant, tests: dict[str, dict], seconds: float) -> tuple[list[str], float]:
  """The tests that a change is shown to, and the seconds that they usually take."""
  files = mirrors(mutant.path)
  statement = f"{mutant.path}:{mutant.statement}"
  own = f"test_{pathlib.PurePath(mutant.path).stem}"

  def rank(name):
    ran = tests[name]["ran"]
    touched = any(each.startswith(f"{mutant.path}:") for each in ran)
    is_own = pathlib.PurePath(name.split("::")[0]).stem == own
    return (-(statement in ran) or -touched / 2, not is_own, tests[name]["seconds"])

  chosen, total = [], 0.0
  for name in sorted((n for n in tests if n.split("::")[0] in files), key=rank):
    if tests[name]["passed"] and (not chosen or total + tests[name]["seconds"] <= seconds):
      chosen.append(name)
      total += tests[name]["seconds"]
  return chosen, total


def main() -> None:
  """Runs a campaign."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawTextHelpFormatter
  )
  parser.add_argument("draws", nargs="+", metavar="PATH:COUNT")
  parser.add_argument("--seed", type=int, required=True)
  parser.add_argument("--seconds", type=float, default=25, help="of tests shown to one change")
  parser.add_argument(
    "--map",
    type=pathlib.Path,
    default="/tmp/cfi_jax_mutate_map.json",
    help="file of what tests run",
  )
  parser.add_argument(
    "--noticed",
    type=pathlib.Path,
    default="/tmp/cfi_jax_mutate_noticed.json",
    help="file of changes that were noticed before and are not tried again",
  )
  parser.add_argument("--only", default="", help="only changes whose line holds this text")
  options = parser.parse_args()
  signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))
  wanted = [(path, int(count)) for path, count in (each.split(":") for each in options.draws)]
  drawn = [mutant for mutant in draw(wanted, options.seed) if options.only in str(mutant)]
  files = list(dict.fromkeys(file for mutant in drawn for file in mirrors(mutant.path)))
  survivors, hangs = [], []
  with tempfile.TemporaryDirectory(prefix="mutate") as folder:
    tree = Tree(pathlib.Path(folder))
    tests = load_map(tree, files, options.map)
    before = json.loads(options.noticed.read_text()) if options.noticed.exists() else {}
    for i, mutant in enumerate(drawn):
      begun = time.monotonic()
      chosen, usual = choose(mutant, tests, options.seconds)
      noticed = before.get(mutant.key)
      if noticed is None:
        noticed = tree.notices(mutant, chosen, usual) if chosen else ""
      if noticed:
        before[mutant.key] = noticed
        options.noticed.write_text(json.dumps(before, indent=1))
      survivors += [mutant] * (not noticed)
      hangs += [mutant] * (noticed == "hangs")
      word = noticed or f"SURVIVES {len(chosen)} tests"
      taken = time.monotonic() - begun
      print(f"{i + 1}/{len(drawn)} {taken:.0f} s {mutant.kind}: {mutant}: {word}", flush=True)
  for title, found in (("Hangs", hangs), ("Survivors", survivors)):
    print(f"\n{title}:", *found or ["none"], sep="\n  ")
  killed = len(drawn) - len(survivors)
  print(
    f"\n{killed} of {len(drawn)} noticed, {100 * killed / len(drawn):.1f} %, seed {options.seed}"
  )


if __name__ == "__main__":
  main()
