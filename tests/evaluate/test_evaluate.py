"""The command `python -m cfi_jax.evaluate` on tiny folders."""

import csv
import io
import pathlib

import command_line
import numpy as np
import pytest
from PIL import Image
from random_weights import random_variables

from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.evaluate import Request, evaluate, through_jpeg
from cfi_jax.evaluate.__main__ import FLAGS, main, parse_methods
from cfi_jax.metrics import METRICS, grey_levels, read_scores
from cfi_jax.systems import files as weights
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.files import load_fuser as load
from cfi_jax.systems.isfuse.model import from_architecture
from cfi_jax.weights import shipped

CHEAP = ("EN", "SF", "CC")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """Three scenes of two sizes: visible (RGB), infrared, and two methods' images."""
  root = tmp_path_factory.mktemp("scenes")
  rng = np.random.default_rng(2)
  for name, size in (("x1", (32, 40)), ("x2", (36, 30)), ("x3", (32, 40))):
    for folder, channels in (("visible", 3), ("infrared", 1), ("good", 1), ("noisy", 3)):
      (root / folder).mkdir(exist_ok=True)
      levels = rng.integers(0, 256, (*size, channels), dtype=np.uint8)
      Image.fromarray(levels.squeeze()).save(root / folder / f"{name}.png")
  return root


def request(root, **changes):
  values = {
    "visible": root / "visible",
    "infrared": root / "infrared",
    "fused": {"good": root / "good", "noisy": root / "noisy"},
    "metrics": CHEAP,
  }
  return Request(**values | changes)


def run(*arguments):
  """The command's exit status and output."""
  process = command_line.run("cfi_jax.evaluate", *arguments)
  return process.returncode, process.stdout + process.stderr


def test_command_writes_the_three_files(root, tmp_path):
  output = tmp_path / "new" / "out"
  status, text = run(
    f"--visible={root}/visible",
    f"--infrared={root}/infrared",
    f"--fused=good:{root}/good",
    f"--fused=noisy:{root}/noisy",
    f"--output={output}",
    "--metrics=en,S-F,CC",
    "--convention=strict",
    "--compare_to=noisy",
  )
  assert status == 0, text
  assert sorted(path.name for path in output.iterdir()) == [
    "report.html",
    "scores.csv",
    "summary.md",
  ]
  with open(output / "scores.csv", newline="") as file:
    rows = list(csv.DictReader(file))
  methods = ["good", "noisy", *BASELINES]
  assert [(r["method"], r["name"], r["metric"]) for r in rows] == [
    (method, name, metric) for method in methods for name in ("x1", "x2", "x3") for metric in CHEAP
  ]
  assert {row["convention"] for row in rows} == {"strict"}
  images = [
    grey_levels(np.asarray(Image.open(root / folder / "x2.png")), "strict")
    for folder in ("visible", "infrared", "noisy")
  ]
  for metric in CHEAP:
    expected = METRICS[metric](*images, convention="strict").value
    (row,) = (r for r in rows if (r["method"], r["name"], r["metric"]) == ("noisy", "x2", metric))
    assert float(row["value"]) == pytest.approx(float(expected), rel=1e-5)
  summary = (output / "summary.md").read_text()
  assert "difference to noisy" in summary and "Noise control" in summary
  assert summary.count("\n| 1 | ") == len(CHEAP)
  head, *means = [m for m in text.splitlines() if m.startswith("mean (*") or ", higher" in m]
  assert head.split()[3:6] == ["good", "noisy", "visible"]
  assert [line.split(",")[0] for line in means] == list(CHEAP)
  (overview,) = (line for line in summary.splitlines() if line.startswith("| noisy"))
  for line, cell in zip(means, overview.split(" | ")[2:], strict=True):
    assert line.split()[3].strip("*") == cell.strip("*| ")
  ranked = next(line for line in text.splitlines() if line.startswith("mean rank, lower "))
  assert ranked.split()[4].strip("*") == overview.split(" | ")[1].strip("* ")


def test_noise_control_raises_what_the_report_says(tmp_path):
  rng = np.random.default_rng(0)
  for folder in ("visible", "infrared", "net"):
    (tmp_path / folder).mkdir()
    coarse = Image.fromarray(rng.integers(60, 190, (4, 5), dtype=np.uint8))
    coarse.resize((40, 32), Image.Resampling.BICUBIC).save(tmp_path / folder / "s.png")
  result = evaluate(
    request(tmp_path, fused={"net": tmp_path / "net"}, metrics=("EN", "SF", "AG")),
    tmp_path / "out",
    progress=False,
  )
  for metric in ("EN", "SF", "AG"):
    mean = {m: result.summary.entries[metric, m].estimate.mean for m in BASELINES}
    assert mean["average + noise"] > mean["average"]
  (note,) = (note for note in result.notes if note.startswith("Noise control"))
  assert all(metric in note for metric in ("EN", "SF", "AG"))


def test_what_is_left_out_is_listed(root, tmp_path):
  partial = tmp_path / "partial"
  partial.mkdir()
  for name in ("x1", "x3"):
    (partial / f"{name}.png").write_bytes((root / "good" / f"{name}.png").read_bytes())
  result = evaluate(
    request(root, fused={"good": root / "good", "partial": partial}, metrics=("SCD", "VIF")),
    tmp_path / "out",
    progress=False,
  )
  assert result.scores.names == ("x1", "x3")
  assert result.summary.images == 2
  notes = "\n".join(result.notes)
  assert "lacks 1 of 3 pairs: x2" in notes
  assert "SCD is not defined on every one of the 2 images" in notes  # visible equals a source
  assert "VIF is not defined" in notes and "good (0)" in notes  # images below 41 pixels
  assert "lacks 1 of 3" in (tmp_path / "out" / "report.html").read_text()
  assert "lacks 1 of 3" in (tmp_path / "out" / "summary.md").read_text()


@pytest.fixture(scope="module")
def weights_file(tmp_path_factory):
  """A tiny model with random weights."""
  architecture = {
    "name": "isfuse",
    "features": 4,
    "grid": 2,
    "shared_encoder": False,
    "gate": "released",
    "padding": "reflect",
    "levels": 3,
  }
  path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
  variables = random_variables(from_architecture(architecture, "float32"))
  weights.save(
    path, variables, weights.Card("isfuse", architecture, "random", "none", "2026-01-01", "none")
  )
  return path


def test_a_model_is_fused_and_scored(root, tmp_path, weights_file):
  result = evaluate(
    request(root, fused={}, weights=weights_file, metrics=("SF",)), tmp_path, progress=False
  )
  assert result.scores.methods[0] == "tiny" and result.summary.compare_to == "tiny"
  model = load(weights_file)
  images = [np.asarray(Image.open(root / f / "x1.png")) for f in ("visible", "infrared")]
  fused = model.fuse(images[0], images[1], gray=True)[..., 0]
  expected = METRICS["SF"](
    grey_levels(images[0], "tang"), images[1], fused, convention="tang"
  ).value
  row = read_scores(tmp_path / "scores.csv").rows[0]
  assert row[:3] == ("tiny", "x1", "SF")
  assert row.value == pytest.approx(float(expected), rel=1e-5)
  assert "tiny: gate" in (tmp_path / "report.html").read_text()


def test_paper_protocol_mixes_conventions_and_saves_as_jpeg(root, tmp_path, weights_file):
  common = {"fused": {}, "weights": weights_file}
  paper = evaluate(
    request(root, **common, metrics=None, protocol="paper_tno"), tmp_path / "a", progress=False
  )
  plain = evaluate(request(root, **common, metrics=("PSNR",)), tmp_path / "b", progress=False)
  assert paper.summary.conventions["AG"] == "cddfuse"
  assert paper.summary.conventions["PSNR"] == "tang"
  model = [e.summary.entries["PSNR", "tiny"].estimate.mean for e in (paper, plain)]
  assert model[0] != model[1]
  assert model[0] == pytest.approx(model[1], abs=0.5)
  baseline = [e.summary.entries["PSNR", "average"].estimate.mean for e in (paper, plain)]
  assert baseline[0] == pytest.approx(baseline[1], rel=1e-6)


def test_the_protocols_jpeg_is_that_of_opencvs_default_quality(random):
  image = random.integers(0, 256, (40, 56, 1), np.uint8)
  saved = {}
  for quality in (90, 94, 95, 96):
    file = io.BytesIO()
    Image.fromarray(image[..., 0]).save(file, "JPEG", quality=quality)
    saved[quality] = np.asarray(Image.open(file))[..., None]
  found = through_jpeg(image)
  assert [quality for quality in saved if np.array_equal(found, saved[quality])] == [95]


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    (
      {"metrics": ("EN", "SSMI")},
      r"unknown metric 'SSMI' \(did you mean 'SSIM'\?\); valid: EN, SD",
    ),
    ({"convention": "matlab"}, r"unknown convention 'matlab'; valid: tang, cddfuse, strict"),
    ({"metrics": ("NMI",)}, "NMI is not defined under convention 'tang'"),
    ({"fused": {}}, "nothing to score"),
    ({"fused": {"average": "good"}}, "'average' is taken"),
    ({"compare_to": "best"}, "no method 'best'.*good, noisy, visible"),
    ({"protocol": "paper_msrs"}, "unknown protocol 'paper_msrs'; valid: paper_tno"),
    ({"protocol": "paper_tno"}, "needs weights"),
    ({"infrared": "nowhere"}, "infrared: .*nowhere does not exist"),
  ],
)
def test_bad_requests(root, tmp_path, changes, message):
  fixed = {
    key: {name: root / folder for name, folder in value.items()} if key == "fused" else value
    for key, value in changes.items()
  }
  if "infrared" in fixed:
    fixed["infrared"] = root / fixed["infrared"]
  with pytest.raises(InputError, match=message):
    evaluate(request(root, **fixed), tmp_path / "out", progress=False)
  assert not (tmp_path / "out").exists()


def test_the_output_must_be_a_folder(root):
  with pytest.raises(InputError, match=r"x1\.png: the output must be a folder"):
    evaluate(request(root), root / "good" / "x1.png", progress=False)
  with pytest.raises(InputError, match=r"deep: the output must be a folder, .*x1\.png is a file"):
    evaluate(request(root), root / "good" / "x1.png" / "deep", progress=False)


def test_bad_command_lines(root, tmp_path):
  status, text = run(f"--visible={root}/visible", f"--output={tmp_path}/out")
  assert status == 2 and "--infrared is missing" in text and "Traceback" not in text
  with pytest.raises(InputError, match="expected NAME:DIR"):
    parse_methods(["/some/folder"])
  with pytest.raises(InputError, match="given twice"):
    parse_methods(["a:x", "a:y"])
  assert parse_methods(["a:/x:y"]) == {"a": pathlib.Path("/x:y")}


PUBLISHED = """Convention: `tang`

# Ours (n=3)
| method | EN | SF | CC |
|---|---|---|---|
| best | 7.999 | 300 | 0.99 |
| worst | 0.001 | 0.001 | -0.9 |
| half | 5 | - | 0.5 |

# Others (n=40)
| method | EN | SF | CC |
|---|---|---|---|
| good | 7 | 3 | 0.9 |
"""


def test_methods_are_ranked_among_published_ones(root, tmp_path, capsys):
  table = tmp_path / "published.md"
  table.write_text(PUBLISHED)
  folders = [f"--{name}={root / name}" for name in ("visible", "infrared")]
  arguments = [*folders, f"--fused=good:{root / 'good'}", "--metrics=EN,SF,CC"]
  arguments += [f"--baselines={table}#Ours", f"--output={tmp_path / 'out'}"]
  assert cli.status(main, FLAGS, "", arguments) == 0
  text = capsys.readouterr().out
  listed = text.split("\n\n")[1].split("\nnote: ")[0].splitlines()[1:]
  ranked = [line.rsplit(maxsplit=1) for line in listed]
  methods = ["good", *BASELINES, "best (published)", "worst (published)"]
  assert {name.strip() for name, _ in ranked} == set(methods)
  assert ranked[0] == ["best (published)", "1.0000"]
  assert len(methods) == 10 and ranked[-1] == ["worst (published)", "10.000"]
  assert f"{table}, table 'Ours (n=3)' as they stand there, of 3 images; nothing tells" in text
  page = (tmp_path / "out" / "report.html").read_text()
  summary = (tmp_path / "out" / "summary.md").read_text()
  assert "| half (published) | - | 5.0000 | - | 0.5000 |" in summary
  assert page.count("half (published)") > 3 and "best (published)" in page
  assert "(published)" not in (tmp_path / "out" / "scores.csv").read_text()
  other = request(root, fused={"good": root / "good"}, published=f"{table}#Others")
  notes = evaluate(other, tmp_path / "other", progress=False).notes
  assert any("of 40 images; 3 were scored here: not the same ones" in note for note in notes)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"metrics": None}, "need the columns AG, SD, .*MS_SSIM, which it lacks; .*--metrics=EN,SF,CC"),
    ({"convention": "strict"}, "scores of the convention 'tang', which must not be compared"),
    ({"fused": {"best (published)": "good"}}, r"'best \(published\)' is taken by .*published.md"),
    ({"protocol": "paper_tno", "weights": "medical"}, "--baselines=.* of one convention, --protoc"),
    ({"clean": {"visible": "x", "infrared": "y"}}, "--baselines=.* does not say which pairs"),
    ({"compare_to": "best (published)"}, "no method 'best .published.' to compare to"),
  ],
)
def test_published_means_that_cannot_stand_beside(root, tmp_path, changes, message):
  (tmp_path / "published.md").write_text(PUBLISHED)
  values = {"fused": {"good": root / "good"}, "published": f"{tmp_path / 'published.md'}#Ours"}
  with pytest.raises(InputError, match=message):
    evaluate(request(root, **values | changes), tmp_path / "out", progress=False)
  assert not (tmp_path / "out").exists()


def test_pairs_that_shipped_weights_were_chosen_by_are_named(root, tmp_path, monkeypatch):
  assert "wavelet" not in shipped.CHOSEN
  choice = shipped.Choice("the night pairs", ("tno",))
  monkeypatch.setitem(shipped.CHOSEN, "wavelet", choice)  # which compiles in no time
  asked = request(root, fused={}, weights="wavelet")
  note = f"wavelet: {choice}."
  assert "chosen by the scores on the night pairs, where scores flatter them." in note
  assert note in evaluate(asked, tmp_path, progress=False).notes
  assert note in (tmp_path / "summary.md").read_text()


def test_damaged_pixels_are_named(root, tmp_path):
  """A file whose header is whole and whose data is not is found while scoring."""
  broken = tmp_path / "broken"
  broken.mkdir()
  for name in ("x1", "x2", "x3"):
    content = bytearray((root / "good" / f"{name}.png").read_bytes())
    if name == "x2":
      content[60:90] = bytes(30)
    (broken / f"{name}.png").write_bytes(content)
  with pytest.raises(InputError, match=r"broken/x2\.png"):
    evaluate(request(root, fused={"broken": broken}), tmp_path / "out", progress=False)
