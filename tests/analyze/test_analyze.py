"""The command `python -m cfi_jax.analyze` on tiny models, scenes and folders."""

import csv
import dataclasses
import json
import pathlib
import runpy
import shutil
import sys

import command_line
import jax
import numpy as np
import pytest
from chromium import CHROMIUM, Browser, assert_quiet
from command_line import ROOT
from PIL import Image

from cfi_jax import datasets
from cfi_jax.analyze import Request, _check_memory, analyze, inputs, plots, tables
from cfi_jax.analyze.measures.subject import Subject, from_weights
from cfi_jax.analyze.parts import PARTS, load_models, peers
from cfi_jax.core.types import InputError
from cfi_jax.engine import memory
from cfi_jax.report import figures
from cfi_jax.report.findings import COLUMNS, find
from cfi_jax.systems import files as weights
from cfi_jax.systems import isfuse

ARCHITECTURE = {
  "name": "isfuse",
  "features": 4,
  "grid": 2,
  "shared_encoder": False,
  "gate": "paper",
  "padding": "reflect",
  "levels": 2,
}


def card(seed, **changes):
  return weights.Card(
    "isfuse", {**ARCHITECTURE, **changes}, f"seed {seed}", "none", "2026-01-01", "none"
  )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
  """Two weights files of one tiny architecture with random weights."""
  folder = tmp_path_factory.mktemp("models")
  for seed, name in enumerate(("one", "two")):
    rng = np.random.default_rng(seed)
    shapes = isfuse.shapes(ARCHITECTURE)
    # Positive numbers everywhere, as variances must be; the mean of a filter is not.
    drawn = jax.tree.map(lambda x, rng=rng: rng.uniform(0.5, 1.5, x.shape), shapes)
    signs = jax.tree.map(lambda x, rng=rng: rng.choice([-0.3, 0.3], x.shape), shapes["params"])
    drawn["params"] = jax.tree.map(np.multiply, drawn["params"], signs)
    weights.save(folder / f"{name}.safetensors", drawn, card(seed))
  return folder


@pytest.fixture(scope="module")
def world(models, tmp_path_factory):
  """Files that the command writes of a model on the embedded world, and its output."""
  output = tmp_path_factory.mktemp("world") / "out"
  process = command_line.run(
    "cfi_jax.analyze",
    f"--weights={models}/one.safetensors",
    "--synthetic",
    f"--config={ROOT}/configs/synthetic.py",
    "--config.data.size=32",
    "--pairs=4",
    f"--output={output}",
  )
  assert process.returncode == 0, process.stdout + process.stderr
  with open(output / "findings.csv", newline="") as file:
    return output, list(csv.DictReader(file)), process.stdout


def test_all_is_written(world):
  output, rows, text = world
  assert tuple(rows[0]) == COLUMNS
  assert {row["analysis"] for row in rows} == set(PARTS)
  assert {row["model"] for row in rows} == {"one", "average"}
  names = [*plots.FIGURES, plots.MATRICES]
  expected = {f"{name}.{extension}" for name in names for extension in figures.FORMATS}
  assert {path.name for path in (output / "plots").iterdir()} == expected
  for name in names:
    with Image.open(output / "plots" / f"{name}.png") as picture:
      assert min(picture.size) > 300 and np.unique(np.asarray(picture)).size > 2
    assert (output / "plots" / f"{name}.svg").read_text().rstrip().endswith("</svg>")
  assert f"{len(rows)} findings" in text


def test_every_quantity_is_in_a_table_or_a_plot(world):
  output, rows, _ = world
  described = {(s.part, q) for s in tables.SECTIONS for q in s.quantities}
  found = {(row["analysis"], row["quantity"]) for row in rows}
  assert {q for _, q in found - described} <= set(tables.CURVES)
  drawn = {
    (part, q) for part, panels in plots.FIGURES.values() for p in panels for q in p.quantities
  }
  of_two = {("features", "cka ceiling"), ("features", "consistency")}
  assert drawn - found == of_two | {("effects", "compensation, holes told")}
  summary = (output / "summary.md").read_text()
  page = (output / "report.html").read_text()
  for section in tables.SECTIONS:
    assert f"\n## {section.title}\n" in summary and f"<h3>{section.title}</h3>" in page


def test_numbers_are_those_of_the_table(world):
  """The average fills nothing in, whatever the scenes; the summary shows what the CSV holds."""
  output, rows, _ = world
  (row,) = (
    row
    for row in rows
    if (row["model"], row["quantity"], row["condition"])
    == ("average", "compensation", "hole in visible")
  )
  assert float(row["mean"]) == pytest.approx(1) and row["analysis"] == "effects"
  (line,) = (
    line
    for line in (output / "summary.md").read_text().splitlines()
    if line.startswith("| compensation: hole in visible ")
  )
  assert line.split(" | ")[2].startswith("1.0000 [")


def test_scenes_have_their_truth(world):
  _, rows, text = world
  quantities = {row["quantity"] for row in rows}
  assert {"semantic variance", "mean on objects", "effect on objects"} <= quantities
  assert "one: no ceiling of CKA" in text
  assert "Holes of 64 pixels do not fit into 4 of the 4 pairs, which" in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
def test_page_works_offline(world, tmp_path):
  output, rows, _ = world
  browser = Browser(tmp_path / "profile")
  try:
    url = (output / "report.html").resolve().as_uri()
    browser.open(url)
    script = (
      "JSON.stringify(Array.from(document.querySelectorAll('.chart img'), i => i.naturalWidth))"
    )
    widths = json.loads(browser.evaluate(script))
    assert len(widths) == len(plots.FIGURES) + 1 and min(widths) > 0
    cells = browser.evaluate(
      "Array.from(document.querySelectorAll('#gates tbody tr'), r => r.innerText.split('\\t'))"
    )
    row = next(r for r in rows if (r["model"], r["quantity"]) == ("one", "mean"))
    (shown,) = (c[1] for c in cells if c[0] == f"mean: {row['condition']}")
    assert float(shown.split(" ")[0]) == pytest.approx(float(row["mean"]), rel=1e-3)
    order = (
      "Array.from(document.querySelectorAll('#gates tbody tr'),"
      " r => parseFloat(r.cells[1].innerText))"
    )
    browser.evaluate("document.querySelectorAll('#gates th button')[1].click()")
    values = browser.evaluate(order)
    assert values == sorted(values) and len(set(values)) > 2
    labels = browser.evaluate("Array.from(document.querySelectorAll('#left option'), o => o.text)")
    assert labels[:3] == ["visible", "infrared", "one: fused"] and "average: fused" in labels
    for text in ("one: gate, level 1", "one: change: shared", "one: contribution of infrared"):
      assert text in labels
    assert_quiet(browser.events, url)
  finally:
    browser.close()


def test_names_are_no_formulas():
  """Dollar signs and angle brackets in a name are drawn and written as they are."""
  names = ("a_$x$", r"\\frac{<b>|")
  found = [
    find(name, "gates", quantity, "level 1", np.array([0.2, 0.4]), x)
    for name in names
    for quantity, x in (("mean", np.nan), ("histogram", 0.5), ("histogram", 1.0))
  ]
  drawn = plots.draw(found, names)
  assert set(drawn) == {"gates"} and drawn["gates"]["gates.png"].startswith(b"\x89PNG")
  assert drawn == plots.draw(found, names)  # the same bytes each time
  (table,) = tables.arrange(found, names)
  assert "<b>" not in tables.to_html(table) and "<b>" not in tables.to_markdown(table)


@pytest.fixture(scope="module")
def folders(tmp_path_factory, write_pairs):
  """Six pairs with label images: the left half is class 3, the right one 700."""
  root = tmp_path_factory.mktemp("folders")
  write_pairs(root, 6)
  (root / "labels").mkdir()
  halves = np.where(np.arange(24) < 12, 3, 700).astype(np.uint16)
  for k in range(6):
    Image.fromarray(np.tile(halves, (24, 1))).save(root / "labels" / f"{k:03d}.png")
  return root


def request(models, folders, **changes):
  values = {
    "weights": models / "one.safetensors",
    "visible": folders / "visible",
    "infrared": folders / "infrared",
    "parts": ("features",),
  }
  return Request(**values | changes)


def test_folders_with_labels(models, folders, tmp_path):
  found = analyze(
    request(
      models,
      folders,
      labels=folders / "labels",
      compare=(models / "two.safetensors",),
      parts=("gates", "features"),
      pairs=5,
    ),
    tmp_path,
  )
  assert {f.analysis for f in found.findings} == {"gates", "features"}
  semantic = [f for f in found.findings if f.quantity == "semantic variance"]
  assert len(semantic) == 2 * 4 and all(f.samples == 5 for f in semantic)
  ceilings = {(f.model, f.condition): f.estimate for f in found.findings if "ceiling" in f.quantity}
  assert {model for model, _ in ceilings} == {"one", "two"}
  assert ceilings["one", "visible 1"].mean == pytest.approx(ceilings["two", "visible 1"].mean)
  notes = "\n".join(found.notes)
  assert "no ceiling of CKA" not in notes
  assert "two is of the same architecture" in notes and "one says 'seed 0'" in notes
  # all label maps are alike: those of other images explain as much
  nulls = [f for f in found.findings if f.quantity == "semantic variance null"]
  for own, null in zip(semantic, nulls, strict=True):
    assert own.estimate.mean == pytest.approx(null.estimate.mean, rel=1e-6)
  assert "5 of the 6 pairs" in (tmp_path / "summary.md").read_text()
  assert not (tmp_path / "plots" / "effects.png").exists()


def test_one_pair_of_16_bits_whose_name_has_spaces(models, tmp_path):
  rng = np.random.default_rng(0)
  for modality in ("visible", "infrared"):
    (tmp_path / modality).mkdir()
    picture = rng.integers(0, 2**16, (24, 24)).astype(np.uint16)
    Image.fromarray(picture).save(tmp_path / modality / "a b.png")
  output = tmp_path / "out put"
  (output / "plots").mkdir(parents=True)
  for stale in ("cka.svg", "mine.svg"):
    (output / "plots" / stale).write_text("of an earlier analysis")
  parts = ("effects", "gates")
  found = analyze(request(models, tmp_path, parts=parts), output)
  assert {f.analysis for f in found.findings} == set(parts)
  assert all(f.samples <= 1 for f in found.findings)
  assert any("1 pairs are few" in note for note in found.notes)
  assert "a b" in (output / "report.html").read_text()
  drawn = {path.name for path in (output / "plots").iterdir()}
  assert "effects.svg" in drawn and "mine.svg" in drawn and "cka.svg" not in drawn


def test_images_beyond_memory_are_refused(models, folders, monkeypatch):
  monkeypatch.setattr(memory, "available", lambda: 24e9)
  sizes = [(24, 24), (15000, 10000), (10000, 10000)]
  made = load_models([models / "one.safetensors"])
  asked = request(models, folders, parts=("effects", "gates", "features"))
  text = (
    r"gates and features of one need 28.8 GB for the largest pair, 15000x10000, and 24.0 GB are"
  )
  with pytest.raises(InputError, match=text):
    _check_memory(asked, made, sizes)
  _check_memory(asked, made, sizes[:1])
  _check_memory(request(models, folders, parts=("effects",)), made, sizes)
  monkeypatch.setattr(memory, "available", lambda: 29e9)
  _check_memory(asked, made, sizes)


def test_peers_are_of_one_architecture():
  cards = {"a": card(0), "b": card(1), "c": card(0, grid=3), "average": None}
  subjects = [Subject(name, None, None, None, card=its) for name, its in cards.items()]
  found = {s.name: [peer.name for peer in peers(s, subjects)] for s in subjects}
  assert found == {"a": ["b"], "b": ["a"], "c": [], "average": []}


def test_without_labels_there_is_a_note(models, folders, tmp_path):
  found = analyze(request(models, folders), tmp_path)
  assert "No semantic variance: there are no label images." in found.notes
  assert not [f for f in found.findings if f.quantity.startswith("semantic")]


def test_so_many_scenes_of_a_world_are_taken_as_asked_for(monkeypatch):
  made = []
  monkeypatch.setattr(inputs, "scenes", lambda *given: made.append(given) or "scenes")
  monkeypatch.setattr(inputs, "from_scenes", lambda given: (given,))
  small = dataclasses.replace(inputs.WORLD, size=32, test_scenes=5, seed=3)
  for count, expected in ((0, 5), (2, 2)):
    found = inputs.from_world(small, count)
    assert made[-1] == (3, "test", small.options, range(expected))
    assert found.samples == ("scenes",) and found.sizes == ((32, 32),) * expected
    assert found.source == f"{expected} test scenes of the embedded world, 32x32, seed 3"
    assert found.labels is None and found.notes == ()
  with pytest.raises(InputError, match="the world has no test scenes .*: give their number"):
    inputs.from_world(dataclasses.replace(small, test_scenes=0), 0)


def test_weights_of_another_system_are_refused(monkeypatch):
  other = weights.Card("amgfuse", {}, "", "", "", "")
  monkeypatch.setattr(weights, "load", lambda path: ({}, other))
  with pytest.raises(InputError, match="w: weights of the system 'amgfuse'; allowed here: isfuse"):
    from_weights("w")


def test_the_world_is_that_of_the_config():
  config = runpy.run_path(str(ROOT / "configs" / "synthetic.py"))["get_config"]()
  assert datasets.load(config.to_dict()["data"]) == inputs.WORLD


BAD = {
  "unknown part": ({"parts": ("gates", "colour")}, "'colour' given; valid: effects, gates"),
  "no part": ({"parts": ()}, "none given; valid: effects"),
  "part twice": ({"parts": ("gates", "gates")}, "each may be named once"),
  "negative pairs": ({"pairs": -1}, "pairs is -1; allowed: 1 or more"),
  "negative seed": ({"seed": -1}, "seed is -1; allowed: 0 to 2147483647"),
  "large seed": ({"seed": 2**31}, "seed is 2147483648"),
  "few pairs": ({"pairs": 3}, "features need 4 pairs or more, there are 3"),
  "both": ({"world": inputs.WORLD}, "both given"),
  "no folder": ({"infrared": None}, "nothing to analyse"),
  "missing folder": ({"visible": pathlib.Path("nowhere")}, "visible: nowhere does not exist"),
  "missing weights": ({"weights": pathlib.Path("no.safetensors")}, "no.safetensors: does not"),
  "taken name": ({"weights": pathlib.Path("average.safetensors")}, "'average' is taken"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests(models, folders, tmp_path, case):
  changes, text = BAD[case]
  with pytest.raises(InputError, match=text):
    analyze(request(models, folders, **changes), tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_classes_of_a_palette_are_its_indices(tmp_path):
  classes = np.arange(64, dtype=np.uint8).reshape(8, 8) % 5
  picture = Image.fromarray(classes)
  picture.putpalette([9, 9, 9] * 256)  # no colour tells its classes apart
  picture.save(tmp_path / "a.png")
  with Image.open(tmp_path / "a.png") as saved:
    assert saved.mode == "P"
  (found,) = inputs._labels([tmp_path / "a.png"])
  np.testing.assert_array_equal(found, classes)
  (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:60])
  with pytest.raises(InputError, match="b.png"):
    inputs._labels([tmp_path / "b.png"])


def test_bad_files(models, folders, tmp_path):
  with pytest.raises(InputError, match="name 'one' is taken"):
    analyze(request(models, folders, compare=(models / "one.safetensors",)), tmp_path / "out")
  (tmp_path / "file").write_text("")
  with pytest.raises(InputError, match="the output must be a folder"):
    analyze(request(models, folders), tmp_path / "file")
  shutil.copytree(folders / "visible", tmp_path / "coloured")
  with pytest.raises(InputError, match="000.png: 3 channels; a label image has one"):
    analyze(request(models, folders, labels=tmp_path / "coloured"), tmp_path / "out")
  (tmp_path / "labels").mkdir()
  for k in range(6):
    picture = np.arange(24 * 24, dtype=np.uint16).reshape(24, 24)
    Image.fromarray(picture).save(tmp_path / "labels" / f"{k:03d}.png")
  with pytest.raises(InputError, match="labels: the label maps hold 576 different values"):
    analyze(request(models, folders, labels=tmp_path / "labels"), tmp_path / "out")
  for modality in ("visible", "infrared"):
    (tmp_path / modality).mkdir()
    Image.new("L", (24, 7)).save(tmp_path / modality / "small.png")
  with pytest.raises(InputError, match="small is 7x24; allowed: height and width from 8"):
    analyze(request(models, tmp_path), tmp_path / "out")
  assert not (tmp_path / "out").exists()


def test_damaged_pixels_are_found_before_work(models, folders, tmp_path):
  shutil.copytree(folders / "visible", tmp_path / "visible")
  content = bytearray((tmp_path / "visible" / "004.png").read_bytes())
  content[60:90] = bytes(30)
  (tmp_path / "visible" / "004.png").write_bytes(content)
  with pytest.raises(InputError, match="visible/004.png"):
    analyze(request(models, folders, visible=tmp_path / "visible"), tmp_path / "out")


def test_missing_matplotlib_is_said_before_work(models, folders, tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "matplotlib", None)
  with pytest.raises(InputError, match=r"matplotlib is not installed.*\[analyze\]"):
    analyze(request(models, folders), tmp_path / "out")
  assert not (tmp_path / "out").exists()


COMMANDS = {
  "no weights": (["--synthetic", "--output=o"], "--weights is missing"),
  "no images": (["--weights=w", "--output=o"], "or --synthetic"),
  "one folder": (["--weights=w", "--output=o", "--visible=v"], "or --synthetic"),
  "two sources": (
    ["--weights=w", "--output=o", "--visible=v", "--synthetic"],
    "--visible and --synthetic are both given",
  ),
  "world without need": (
    ["--weights=w", "--output=o", "--visible=v", "--infrared=i", "--config=configs/synthetic.py"],
    "--config gives the world of --synthetic",
  ),
  "no world": (
    ["--weights=w", "--output=o", "--synthetic", "--config=configs/msrs.py"],
    "its data is 'msrs'",
  ),
  "no data": (
    ["--weights=w", "--output=o", "--synthetic", "--config=configs/shift.py"],
    "--config: it has no data, only order, published, recipes",
  ),
  "argument": (["x"], "unexpected argument 'x'"),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_bad_commands(case):
  arguments, text = COMMANDS[case]
  process = command_line.run("cfi_jax.analyze", *arguments)
  assert process.returncode == 2 and "Traceback" not in process.stderr
  assert text in process.stderr
