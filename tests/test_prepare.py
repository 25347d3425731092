from command_line import run
from PIL import Image

from cfi_jax import datasets


def command(**values):
  flags = [f"--{name}={value}" for name, value in values.items()]
  return run("cfi_jax.prepare", *flags)


def test_the_command_writes_what_can_be_read(tmp_path):
  for folder in ("Vis", "Ir"):
    (tmp_path / "raw" / folder).mkdir(parents=True)
    Image.new("L", (8, 6), len(folder)).save(tmp_path / "raw" / folder / "1.png")
  done = command(dataset="m3fd", root=tmp_path / "raw", data_dir=tmp_path / "tfds")
  assert done.returncode == 0, done.stderr
  assert "written to" in done.stdout
  options = {"builder": "m3fd", "validation_fraction": 0.0}
  options |= {"split_by": "shipped", "test_fraction": 0.0}
  dataset = datasets.load({"name": "tfds", "root": str(tmp_path / "tfds"), **options})
  source = dataset.source("train")
  assert source.names == ("1",)
  assert {name: image.max() for name, image in source[0].items()} == {"visible": 3, "infrared": 2}


def test_the_command_names_a_missing_flag_and_a_bad_root(tmp_path):
  missing = command(dataset="m3fd", data_dir=tmp_path)
  assert missing.returncode == 2 and "--root is missing" in missing.stderr
  absent = command(dataset="m3fd", root=tmp_path / "absent", data_dir=tmp_path)
  assert absent.returncode == 2 and "the root does not exist" in absent.stderr
  assert "Traceback" not in missing.stderr + absent.stderr
