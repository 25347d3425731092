"""The command that scores sequences over time."""

import csv

import numpy as np
import pytest
import tifffile
import videos
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.evaluate import __main__ as command
from cfi_jax.fuse import __main__ as fusing

CELSIUS = list(videos.world(6))


def run(module, *flags):
  return cli.status(module.main, module.FLAGS, module.__doc__, flags)


@pytest.fixture(scope="module")
def sequences(tmp_path_factory):
  """Photographs, counts, and what a rule makes of them with one range and with each its own."""
  root = tmp_path_factory.mktemp("sequences")
  (root / "vi").mkdir()
  for k, celsius in enumerate(CELSIUS):
    Image.fromarray(videos.photo(celsius)).save(root / "vi" / f"{k}.png")
  counts = np.stack([videos.counts(celsius) for celsius in CELSIUS])
  tifffile.imwrite(root / "ir.tif", counts, photometric="minisblack")
  sources = f"--visible={root / 'vi'}", f"--infrared={root / 'ir.tif'}"
  assert run(fusing, *sources, "--weights=average", f"--output={root / 'one.tif'}") == 0
  (root / "own").mkdir()
  for k, picture in enumerate(tifffile.imread(root / "one.tif")):
    Image.fromarray(np.where(k % 2, picture, 0.8 * picture).astype(np.uint8)).save(
      root / "own" / f"{k}.png"
    )
  return root, sources


def test_a_fused_sequence_is_as_steady_as_its_sources(sequences, capsys):
  root, sources = sequences
  fused = f"--fused=one:{root / 'one.tif'}", f"--fused=own:{root / 'own'}"
  assert run(command, "--temporal", *sources, *fused, f"--output={root / 'scores'}") == 0
  said = capsys.readouterr().out
  assert "BiSWE_ilk" in said and "scored 2 sequences over time" in said
  with open(root / "scores" / "temporal.csv", newline="") as file:
    rows = {
      row.pop("sequence"): {k: float(v) for k, v in row.items()} for row in csv.DictReader(file)
    }
  assert list(rows) == ["visible", "infrared", "one", "own"]
  largest = max(rows[name]["BiSWE_ilk"] for name in ("visible", "infrared"))
  assert rows["one"]["BiSWE_ilk"] <= 1.2 * largest < rows["own"]["BiSWE_ilk"]
  assert rows["one"]["background_step_max"] <= 0.3 < 5 < rows["own"]["background_step_mean"]


@pytest.mark.parametrize(
  ("flags", "words"),
  [
    (["--fused=one:R/one.tif", "--metrics=EN"], "--metrics is for single images; allowed with"),
    (["--fused=infrared:R/one.tif"], "'infrared' is a source; choose another name"),
    ([], "nothing to score: name fused sequences"),
    (["--fused=one:R/nothing"], "does not exist"),
    (["--fused=few:R/few.tif"], "has 4 frames and the sources 6"),
    (["--fused=small:R/small.tif"], "are of 32x24 and 64x48"),
  ],
)
def test_what_cannot_be_scored_is_refused(sequences, capsys, flags, words):
  root, sources = sequences
  tifffile.imwrite(root / "few.tif", np.zeros((4, 48, 64), np.uint8), photometric="minisblack")
  tifffile.imwrite(root / "small.tif", np.zeros((6, 24, 32), np.uint8), photometric="minisblack")
  flags = [flag.replace(":R", f":{root}") for flag in flags]
  assert run(command, "--temporal", *sources, *flags, f"--output={root / 'refused'}") == 2
  assert words in capsys.readouterr().err and not (root / "refused").exists()
