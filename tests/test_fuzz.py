"""Commands over damaged images, weights, configs, records, logs and checkpoints.

Whatever the damage, a command ends with 0, 1 or 2, with one `error:` line where it is 2 and never
with a traceback; and a training that ends with 0 has the undisturbed weights. Seeded; --fuzz=N
tries N cases instead of 200, from --fuzz_seed=K on, and a case that fails names its number:

  python -m pytest -n 0 tests/test_fuzz.py --fuzz=1 --fuzz_seed=NUMBER
"""

import importlib
import random
import shutil

import numpy as np
import pytest
import toys
from command_line import FIXTURES, ROOT
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.engine import programs, validation
from cfi_jax.fuse import command as fuse_command
from cfi_jax.images import write as pictures

toys.install()
MODULES = {"main": "main", "check": "check", "convert": "convert", "fuse": "fuse.__main__"}
MODULES |= {"evaluate": "evaluate.__main__"}
STEPS = 4


def truncate(draw, content):
  return content[: draw.randrange(len(content))]


def empty(draw, content):
  return b""


def zero(draw, content):
  return bytes(len(content))


def zero_some(draw, content):
  first = draw.randrange(len(content))
  last = min(len(content), first + draw.choice((1, 16, 512)))
  return content[:first] + bytes(last - first) + content[last:]


def flip(draw, content):
  changed = bytearray(content)
  for _ in range(draw.choice((1, 1, 8))):
    changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
  return bytes(changed)


def flip_early(draw, content):
  """In the first bytes, where headers are."""
  return flip(draw, content[:64]) + content[64:]


def cut_out(draw, content):
  first = draw.randrange(len(content))
  return content[:first] + content[first + draw.choice((1, 7, 100)) :]


def scramble(draw, content):
  return draw.randbytes(len(content))


DAMAGES = (truncate, empty, zero, zero_some, flip, flip, flip_early, flip_early, cut_out, scramble)


def write_images(root):
  """Three pairs, each a visible file of another format, and an output that "fused" them."""
  rng = np.random.default_rng(0)
  for folder in ("visible", "infrared", "fused"):
    (root / folder).mkdir(parents=True)
  for name, ends in (("a", "png jpg"), ("b", "jpg tif"), ("c", "tif webp"), ("d", "bmp png")):
    for folder, end in zip(("visible", "infrared"), ends.split(), strict=True):
      image = rng.integers(0, 256, (20, 28, 3 if folder == "visible" else 1), np.uint8)
      pictures.write_image(root / folder / f"{name}.{end}", image)
    Image.fromarray(image[..., 0]).save(root / "fused" / f"{name}.png")


@pytest.fixture(scope="module")
def originals(tmp_path_factory, write_pairs):
  """A folder of each kind of file, whole."""
  root = tmp_path_factory.mktemp("fuzz")
  write_images(root / "images")
  write_pairs(root / "pairs", 8)
  shutil.copy(FIXTURES / "weights_1.safetensors", root / "w.safetensors")
  shutil.copy(ROOT / "configs" / "folder.py", root / "config.py")
  assert train(root, root / "run") == 0
  return root


def call(name, *arguments):
  module = importlib.import_module(f"cfi_jax.{MODULES[name]}")
  return cli.status(module.main, module.FLAGS, module.__doc__, list(map(str, arguments)))


def train(root, workdir, steps=STEPS):
  values = (f"data.root={root / 'pairs'}", f"steps={steps}", "checkpoint.every=1")
  values += ("checkpoint.keep=2", "validate_every=2")
  config = f"--config={ROOT / 'tests' / 'toys' / 'tiny.py'}:one"
  return call("main", config, f"--workdir={workdir}", *(f"--config.{v}" for v in values))


def images(draw, root):
  return draw.choice([path for path in (root / "images").rglob("*") if path.is_file()])


def run_files(draw, root):
  """The record, the list of images, the log, the lock, or a file of one of the checkpoints."""
  run = root / "run"
  (run / "run.lock").write_text('{"pid": 1, "host": "h", "since": "s", "machine": "m"}')
  whole = [run / name for name in ("run.json", "data.json", "metrics.jsonl")]
  return draw.choice(
    [*whole, *(path for path in (run / "checkpoints").rglob("*") if path.is_file())] + whole * 4
  )


def fuse(root):
  return call("fuse", *folders(root), f"--output={root / 'out'}")


def check(root):
  arguments = [f"--config.data.root={root / 'images'}", "--config.input.crop=16"]
  return call("check", f"--config={ROOT / 'configs' / 'folder.py'}", *arguments)


def evaluate(root):
  fused = f"--fused=a:{root / 'images' / 'fused'}"
  return call("evaluate", *folders(root), fused, "--metrics=EN", f"--output={root / 'out'}")


def folders(root):
  return [f"--{name}={root / 'images' / name}" for name in ("visible", "infrared")]


def convert(root):
  return call(
    "convert", f"--checkpoint={root / 'w.safetensors'}", f"--output={root / 'x.safetensors'}"
  )


def convert_run(root):
  return call("convert", f"--checkpoint={root / 'run'}", f"--output={root / 'x.safetensors'}")


def configure(root):
  config = [f"--config={root / 'config.py'}", f"--config.data.root={root / 'images'}"]
  return call("check", *config, "--config.input.crop=16")


def resume(root):
  return train(root, root / "run")


# What is damaged, what then runs, of which files, and how often of twenty.
IMAGES, RUN = ("images",), ("pairs", "run")
KINDS = [(images, fuse, IMAGES)] * 5 + [(images, check, IMAGES)] * 3
KINDS += [(images, evaluate, IMAGES)] * 2
KINDS += [(lambda draw, root: root / "w.safetensors", convert, ("w.safetensors",))] * 3
KINDS += [(lambda draw, root: root / "config.py", configure, ("config.py", *IMAGES))] * 2
KINDS += [(run_files, resume, RUN)] * 4 + [(run_files, convert_run, RUN)]


def copy(names, source, target):
  """Copies files and folders."""
  target.mkdir()
  for name in names:
    kind = shutil.copytree if (source / name).is_dir() else shutil.copy
    kind(source / name, target / name)


def test_damaged_files_end_in_one_line(
  request, originals, tmp_path, small, monkeypatch, capfd, checkpoint_leaves
):
  first = request.config.getoption("--fuzz_seed")
  expected = checkpoint_leaves(originals / "run", STEPS)
  monkeypatch.setattr(fuse_command, "load_fuser", lambda weights, **options: small)
  for name in ("SILENT_AFTER", "RENEW_EVERY"):
    monkeypatch.setattr(f"cfi_jax.engine.workdir.lock.{name}", 0.01)
  compile_once(monkeypatch)
  ends = {0: 0, 1: 0, 2: 0}
  for number in range(first, first + request.config.getoption("--fuzz")):
    draw = random.Random(number)
    root = tmp_path / str(number)
    what, command, names = draw.choice(KINDS)
    copy(names, originals, root)
    path, damage = what(draw, root), draw.choice(DAMAGES)
    content = path.read_bytes()
    path.write_bytes(damage(draw, content) if content else b"\0")
    if command is resume and draw.random() < 0.7:
      shutil.rmtree(root / "run" / "checkpoints" / str(STEPS), ignore_errors=True)
    case = f"case {number}: {damage.__name__} of {path.relative_to(root)}, then {command.__name__}"
    capfd.readouterr()
    try:
      status = command(root)
    except BaseException as error:
      raise AssertionError(case) from error
    err = capfd.readouterr().err
    assert status in ends and "Traceback" not in err, f"{case}\n{err}"
    assert err.count("error: ") == (status == 2), f"{case}\n{err}"
    if command is resume and status == 0:
      leaves = checkpoint_leaves(root / "run", STEPS)
      for name, leaf in expected.items():
        np.testing.assert_array_equal(leaves[name], leaf, err_msg=case)
    ends[status] += 1
    shutil.rmtree(root)
  print(ends)
  assert request.config.getoption("--fuzz") < 200 or min(ends.values()) > 0


def compile_once(monkeypatch):
  """Lets all starts of the one run share its programs."""
  made = {}

  def share(module, name):
    compiled = getattr(module, name)

    def once(run, *arguments):
      if name not in made:
        made[name] = compiled(run, *arguments)
      return made[name]

    monkeypatch.setattr(module, name, once)

  share(programs, "compile_train_step")
  share(validation, "compile_eval_step")
