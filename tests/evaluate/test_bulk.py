"""Scoring by several processes: the report of all parts is that of one process."""

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.evaluate import bulk
from cfi_jax.evaluate.__main__ import FLAGS, main
from cfi_jax.metrics import Scores, read_scores, score
from cfi_jax.metrics.table import Triplet
from cfi_jax.report import estimates

FILES = ("scores.csv", "summary.md", "report.html")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Seven pairs and their fused images: one too few, one too many, one of 16 bits, one smaller."""
  root = tmp_path_factory.mktemp("scenes")
  random = np.random.default_rng(2)
  for folder in ("visible", "infrared", "net"):
    (root / folder).mkdir()
    for k in range(8):
      size = (20, 30) if (folder, k) == ("net", 2) else (24, 30)
      Image.fromarray(random.integers(0, 256, size, np.uint8)).save(root / folder / f"s{k}.png")
  wide = random.integers(0, 65536, (24, 30), np.uint16)
  Image.fromarray(wide).save(root / "net" / "s3.png")
  (root / "net" / "s4.png").rename(root / "net" / "t4.png")
  return root


def run(root, output, *flags):
  sources = [f"--visible={root}/visible", f"--infrared={root}/infrared"]
  flags = [*sources, f"--fused=net:{root}/net", f"--output={output}", "--metrics=EN,SF", *flags]
  return main(cli.parse(FLAGS, flags))


def read(output):
  return {name: (output / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def single(root):
  """The report that one process makes at once."""
  assert run(root, root / "single") == 0
  return read(root / "single")


def test_the_report_of_parts_is_that_of_one_process(root, single, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(bulk, "CHUNK", 1)
  real, calls = bulk.score_scenes, []

  def dies(*arguments, **options):
    calls.append(1)
    if len(calls) == 2:
      raise SystemExit("killed")
    return real(*arguments, **options)

  monkeypatch.setattr(bulk, "score_scenes", dies)
  with pytest.raises(SystemExit, match="killed"):
    run(root, tmp_path, "--process_index=0", "--process_count=2")
  assert run(root, tmp_path, "--process_index=1", "--process_count=2") == 0
  with pytest.raises(InputError, match="1 of 2 parts are missing or not finished: 0-of-2;"):
    run(root, tmp_path, "--join")
  calls.clear()
  monkeypatch.setattr(bulk, "score_scenes", real)
  assert run(root, tmp_path, "--process_index=0", "--process_count=2", "--skip_existing") == 0
  capsys.readouterr()
  assert run(root, tmp_path, "--join") == 0
  assert read(tmp_path) == single
  said = capsys.readouterr().out
  assert "sizes differ: s2 (" in said and "lacks 1 of 8 pairs: s4" in said
  assert "1 files hold 16 bits" in said and "belong to no pair: t4" in said
  # What the report alone says may be asked for otherwise; other scores are refused.
  assert run(root, tmp_path, "--join", "--compare_to=average") == 0
  with pytest.raises(InputError, match="--convention=strict of this command"):
    run(root, tmp_path, "--join", "--convention=strict")


def test_images_that_cannot_be_scored_are_listed_and_tried_again(root, tmp_path, capsys):
  damaged = tmp_path / "net"
  damaged.mkdir()
  for path in (root / "net").iterdir():
    (damaged / path.name).write_bytes(path.read_bytes())
  whole = (damaged / "s5.png").read_bytes()
  (damaged / "s5.png").write_bytes(whole[: len(whole) // 2])  # its header can be read
  (damaged / "s6.png").write_bytes(b"no image")
  output = tmp_path / "out"
  flags = (f"--fused=other:{damaged}", "--process_index=0", "--process_count=1")
  assert run(root, output, *flags) == 0
  assert "scored 4 images, 2 failed" in capsys.readouterr().out
  assert run(root, output, *flags[:1], "--join") == 1
  said = capsys.readouterr()
  assert said.err.count("failed: s") == 2 and "s5.png" in said.err and "s6.png" in said.err
  assert "2 images could not be scored: s5: " in (output / "summary.md").read_text()
  for name in ("s5", "s6"):
    (damaged / f"{name}.png").write_bytes((root / "net" / f"{name}.png").read_bytes())
  assert run(root, output, *flags, "--skip_existing") == 0
  assert "scored 6 images, 0 failed" in capsys.readouterr().out
  assert run(root, output, *flags[:1], "--join") == 0


def test_a_table_of_arrays_is_one_of_rows(root, single):
  table = read_scores(root / "single" / "scores.csv")
  names, columns = table.names, []
  for method in table.methods:
    columns += [(method, "tang", metric) for metric in table.metrics]
  by_key = {(row.method, row.metric, row.name): row for row in table.rows}
  rows = [[by_key[m, metric, name] for name in names] for m, _, metric in columns]
  values = np.array([[row.value for row in line] for line in rows])
  degenerate = np.array([[row.degenerate for row in line] for line in rows])
  arrays = bulk.Columns(columns, names, values, degenerate)
  assert arrays.to_csv() == table.to_csv() and len(arrays) == len(table)
  assert (arrays.names, arrays.methods, arrays.metrics) == (names, table.methods, table.metrics)
  assert arrays.conventions == table.conventions
  for metric in table.metrics:
    np.testing.assert_array_equal(arrays.values(metric), table.values(metric))


def test_what_one_process_does_is_refused_of_several(root, tmp_path):
  flags = ("--process_index=0", "--process_count=2")
  clean = [f"--clean_{m}={root}/{m}" for m in ("visible", "infrared")]
  with pytest.raises(InputError, match="one process scores degraded pairs"):
    run(root, tmp_path, *flags, *clean, "--weights=maximum")
  with pytest.raises(InputError, match="--skip_existing is for the part of one"):
    run(root, tmp_path, "--skip_existing")


def test_of_very_many_values_the_interval_is_that_of_the_bootstrap(monkeypatch):
  values = np.random.default_rng(0).gamma(2.0, size=800)
  values[5] = np.nan
  slow = estimates.estimate(values)
  monkeypatch.setattr(estimates, "LARGE", 800)
  quick = estimates.estimate(values)
  assert quick.mean == slow.mean
  width = slow.high - slow.low
  assert abs(quick.low - slow.low) < 0.06 * width and abs(quick.high - slow.high) < 0.06 * width


def test_scores_of_no_image_are_an_empty_table():
  assert len(Scores(())) == 0 and len(score([], ["EN"])) == 0
  image = np.zeros((16, 16), np.uint8)
  assert len(score([Triplet("a", "b", image, image, image)], ["EN"], progress=False)) == 1
