"""The study of downstream tasks: rows, what is measured, tables; with trainings that only count."""

import csv
import dataclasses
import types

import numpy as np
import pytest
from command_line import ROOT
from full import only_full
from PIL import Image

from cfi_jax import datasets
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.datasets.labelled.classes import IGNORED
from cfi_jax.downstream import __main__ as door
from cfi_jax.engine.workdir import record
from cfi_jax.metrics import detection, segmentation
from cfi_jax.metrics.detection import Boxes
from cfi_jax.report import resampling
from cfi_jax.study import __main__ as command
from cfi_jax.study import models
from cfi_jax.study.downstream import measure, report
from cfi_jax.study.downstream.settings import Study
from cfi_jax.systems.perception import recipes
from cfi_jax.systems.perception.inference import Seen
from cfi_jax.systems.perception.scores import Measured

TINY = str(ROOT / "tests" / "systems" / "perception" / "tiny.py")
PERCEPTION = str(ROOT / "configs" / "perception.py")
CAR = 2


def values(cache, **changes):
  """A study of the smallest world, which other tests have compiled."""
  made = config_lib.load(str(ROOT / "configs" / "downstream.py")).to_dict()
  made["probe"] = config_lib.load(f"{TINY}:visible").to_dict()
  made["probe"]["data"]["test_scenes"] = 4
  made["probe"]["fused"]["cache"] = str(cache)
  made |= dict(fused={"average": "average"}, order=("visible", "infrared", "both", "average"))
  return made | dict(seeds=(0, 1)) | changes


@dataclasses.dataclass(frozen=True)
class Threshold:
  """Perceives cars where an image is bright, and one box; other seeds are bolder."""

  fusion: str
  seed: int

  @property
  def architecture(self):
    return types.SimpleNamespace(colour=False)

  def __call__(self, visible, infrared):
    image = {"infrared": infrared, "early": (visible + infrared) / 2}.get(self.fusion, visible)
    labels = np.where(image[..., 0] > 0.6 - 0.1 * self.seed, CAR, 0).astype(np.uint8)
    rows, columns = np.nonzero(labels)
    box = [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1] if rows.size else None
    boxes = np.array([box] if box else np.empty((0, 4)), float).reshape(-1, 4)
    return Seen(labels, Boxes(boxes, np.full(len(boxes), CAR), np.full(len(boxes), 0.5)))


@pytest.fixture
def trained(monkeypatch):
  """The runs that were trained; the next are stopped where it holds None."""
  done = []

  def train(config, folder, steps):
    if None in done:
      return False
    record.write(folder, record.Identity(config, {}))
    done.append((folder.name, config.model.fusion, config.fused.weights, config.fused.folder))
    return True

  def of_folder(folder, steps):
    row, _, seed = folder.name.rpartition("-")
    fusion = {"both": "early"}.get(row, row)
    return {"fusion": fusion, "seed": int(seed)}, None

  monkeypatch.setattr(models, "train", train)
  monkeypatch.setattr(models, "count_steps", lambda config, folder: config.steps)
  monkeypatch.setattr(models, "trained", of_folder)
  monkeypatch.setattr(models, "load", lambda variables, card: Threshold(**variables))
  return done


def found_in(workdir):
  with open(workdir / "findings.csv", newline="") as file:
    return {
      (line["model"], line["quantity"], line["condition"], line["analysis"]): line
      for line in csv.DictReader(file)
    }


def test_every_row_is_the_same_probe_and_the_table_joins_them(trained, tmp_path):
  workdir = tmp_path / "study"
  assert command.run(values(tmp_path / "cache", seeds=(0,)), workdir)
  assert command.run(values(tmp_path / "cache"), workdir)
  assert trained[:4] == [
    ("visible-0", "visible", "", ""),
    ("infrared-0", "infrared", "", ""),
    ("both-0", "early", "", ""),
    ("average-0", "fused", "average", ""),
  ]
  assert [name for name, *_ in trained[4:]] == ["visible-1", "infrared-1", "both-1", "average-1"]
  found = found_in(workdir)
  study = config_lib.build(Study, {k: v for k, v in values(tmp_path).items() if k != "study"})
  source = datasets.load(study.probe.data).source("test")
  means = {}
  for row, name in (("visible", "visible"), ("infrared", "infrared")):
    own = []
    for seed in study.seeds:
      seen = [Threshold(row, seed)(*(source[i][m] / 255 for m in ("visible", "infrared"))).labels
              for i in range(4)]  # fmt: skip
      matrices = [
        segmentation.confusion(source[i]["labels"][..., 0], seen[i], 8, IGNORED) for i in range(4)
      ]
      own.append(segmentation.mean_iou(np.stack(matrices)))
    means[name] = np.mean(own)
    line = found[row, "mIoU", "", report.VALUE]
    assert float(line["mean"]) == pytest.approx(means[name], rel=1e-6)
    assert float(line["low"]) <= means[name] <= float(line["high"]) and line["samples"] == "2"
  difference = found["visible", "mIoU", "", "minus infrared"]
  assert float(difference["mean"]) == pytest.approx(means["visible"] - means["infrared"], abs=1e-9)
  # The same thresholds on an image and on the average of both.
  both, average = (float(found[r, "mIoU", "", report.VALUE]["mean"]) for r in ("both", "average"))
  assert both == pytest.approx(average, abs=0.02) and both not in means.values()
  text = (workdir / "summary.md").read_text()
  assert "Scored are 4 images of the split test" in text and "average: `rule average`" in text
  better = max(means, key=means.get)
  assert f"mIoU, minus {better}" in text and "| average | " in text
  assert "**" not in text.split("## Scores\n")[1].split("##")[0]  # values; differences may be bold
  assert "On objects that the infrared image alone carries, both is" in text
  page = (workdir / "report.html").read_text()
  assert "average, fused" in page and "both, perceived" in page and page.count("<svg") == 4


@only_full
def test_probes_are_trained_and_measured(tmp_path):
  given = values(tmp_path / "cache", seeds=(0,), order=("visible", "infrared", "average"))
  given["probe"] |= dict(steps=2, validate_every=2)
  given["probe"]["checkpoint"]["every"] = 2
  assert command.run(given, tmp_path / "study")
  found = found_in(tmp_path / "study")
  for row in given["order"]:
    assert 0 <= float(found[row, "mIoU", "", report.VALUE]["mean"]) < 1
    assert 0 <= float(found[row, "AP50", "", report.VALUE]["mean"]) < 1
  differ = found["average", "mIoU", "", "minus visible"]
  assert float(differ["mean"]) != 0


def test_what_is_there_is_kept_and_what_is_stopped_goes_on(trained, tmp_path):
  workdir = tmp_path / "study"
  trained.append(None)
  assert not command.run(values(tmp_path / "cache"), workdir)
  assert not (workdir / "summary.md").exists()
  trained.clear()
  assert command.run(values(tmp_path / "cache", seeds=(0,)), workdir)
  kept = {p.name: p.stat().st_mtime_ns for p in (workdir / "measured").glob("*.npz")}
  assert set(kept) == {f"{row}-0.npz" for row in ("visible", "infrared", "both", "average")}
  trained.clear()
  added = values(tmp_path / "cache", seeds=(0,))
  added["fused"]["maximum"] = "maximum"
  assert command.run(added | {"order": (*added["order"], "maximum")}, workdir)
  assert [name for name, *_ in trained] == ["maximum-0"]
  assert all((workdir / "measured" / n).stat().st_mtime_ns == time for n, time in kept.items())
  (workdir / "measured" / "both-0.npz").write_bytes(b"no file of NumPy")
  with pytest.raises(InputError, match="both-0.npz: damaged .*; remove it to measure again"):
    command.run(values(tmp_path / "cache", seeds=(0,)), workdir)
  other = values(tmp_path / "cache", seeds=(0,))
  other["probe"]["data"]["seed"] = 5
  with pytest.raises(InputError, match="measured/visible holds another run"):
    command.run(other, workdir)


def test_a_folder_of_fused_images_is_checked_before_anything_is_trained(trained, tmp_path):
  folder = tmp_path / "mine"
  folder.mkdir()
  given = values(tmp_path / "cache", seeds=(0,), fused={"mine": str(folder)})
  given["order"] = ("visible", "infrared", "both", "mine")
  for index in range(3):
    Image.new("L", (32, 32)).save(folder / f"test-{index:06d}.png")
  with pytest.raises(InputError, match="1 of 4 images have no fused one .*: test-000003"):
    command.run(given, tmp_path / "study")
  Image.new("L", (32, 30)).save(folder / "test-000003.png")
  with pytest.raises(InputError, match="test-000003.png has 30 rows and 32 columns"):
    command.run(given, tmp_path / "study")
  assert not trained and not (tmp_path / "study").exists()
  Image.new("L", (32, 32)).save(folder / "test-000003.png")
  assert command.run(given, tmp_path / "study")
  assert trained[-1] == ("mine-0", "fused", "", str(folder))


@pytest.mark.parametrize(
  ("changes", "words"),
  [
    (
      {"order": ("visible", "laplacian")},
      "no 'laplacian'; valid: visible, infrared, both, av",
    ),
    ({"both": "fused"}, "config.both is 'fused'; allowed: a fusion of two images"),
    ({"both": "pixels"}, "model.fusion is 'pixels'; valid"),
    ({"split": "train"}, "config.split is 'train'; allowed: test, validation"),
    (
      {"probe": config_lib.load(f"{PERCEPTION}:visible:m3fd_boxes").to_dict()},
      "config.split is 'test'; allowed with data.name='m3fd_boxes': validation",
    ),
    ({"fused": {"a": "maximum:x"}, "order": ("a",)}, "config.fused.a: .*'maximum:x'"),
    ({"fused": {"both": "average"}}, "config.fused has 'both', which is a row of its own"),
    ({"fused": {"a/b": "average"}}, "config.fused has 'a/b'; allowed: names that files can have"),
    ({"fused": {"a": "nowhere/x"}}, "config.fused.a is 'nowhere/x', which does not exist"),
    ({"probe": {"system": "isfuse"}}, "config.probe: missing"),
  ],
)
def test_bad_values_are_named(tmp_path, changes, words):
  with pytest.raises(InputError, match=words):
    command.run(values(tmp_path, **changes), tmp_path / "study")
  assert not (tmp_path / "study").exists()


@pytest.mark.parametrize("data", recipes.DATA)
def test_every_data_set_is_scored_on_a_split_that_it_has(data):
  made = config_lib.load(f"{ROOT / 'configs' / 'downstream.py'}:{data}").to_dict()
  del made["study"]
  study = config_lib.build(Study, made)
  expected = "validation" if data in ("m3fd_boxes", "labelled_folder") else "test"
  assert study.split == expected and study.probe.data["name"] == data


def test_a_split_without_images_is_refused_before_anything_is_trained(trained, tmp_path):
  given = values(tmp_path / "cache")
  given["probe"]["data"]["test_scenes"] = 0
  with pytest.raises(InputError, match="Synthetic test has no image to be scored on"):
    command.run(given, tmp_path / "study")
  assert not trained and not (tmp_path / "study").exists()


def test_statistics_are_those_of_the_metrics_on_the_images_that_count():
  rng = np.random.default_rng(0)
  study = config_lib.load(str(ROOT / "configs" / "downstream.py")).to_dict()
  del study["study"]
  classes = dataclasses.replace(config_lib.build(Study, study).probe.classes)
  count = len(classes.names)
  confusions = rng.integers(0, 9, (5, count, count))
  confusions[:, 3] = confusions[:, :, 3] = 0  # a class that is nowhere
  confusions[4] = 0  # an image of which no pixel is judged
  low = rng.integers(0, 20, (5, 2))
  pairs = [
    (Boxes(np.array([[*a, *a + 9]], float), np.array([1]), rng.random(1)),
     Boxes(np.array([[*a + rng.integers(0, 4), *a + 9]], float), np.array([1 + i % 2])))
    for i, a in enumerate(low)
  ]  # fmt: skip
  carried = {"both images": rng.integers(1, 5, (5, 2)), "neither image": np.zeros((5, 2), int)}
  own = Measured(classes, tuple("abcde"), confusions, pairs, carried)
  weights = resampling.draws(5, 30, 1)
  found = measure.statistics(own, weights)
  assert (measure.CARRIED, "neither image") not in found
  assert {name for quantity, name in found if quantity == measure.AP50} == {"", *classes.names[1:3]}
  for row, times in enumerate(weights):
    chosen = np.repeat(np.arange(5), times)
    matrix = confusions[chosen]
    assert found["mIoU", ""][row] == pytest.approx(segmentation.mean_iou(matrix))
    each = np.nanmean(segmentation.mean_iou_per_image(matrix))
    assert found["mIoU per image", ""][row] == pytest.approx(each)
    shares = carried["both images"][chosen].sum(0)
    assert found["right pixels", "both images"][row] == pytest.approx(shares[0] / shares[1])
    precisions = detection.average_precisions([pairs[i] for i in chosen], count)
    for name, value in detection.summarise(precisions).items():
      assert found[name, ""][row] == pytest.approx(value, nan_ok=True)
  assert np.isnan(found["IoU", classes.names[3]]).all()


def test_sentences_name_the_better_image_and_what_is_beyond_chance(tmp_path):
  study = config_lib.build(Study, {k: v for k, v in values(tmp_path).items() if k != "study"})
  noise = np.random.default_rng(0).normal(0, 0.01, 1 + measure.RESAMPLES)
  base = {"visible": 0.3, "infrared": 0.5, "both": 0.8, "average": 0.5}
  carried = {"visible": 0.1, "infrared": 0.6, "both": 0.6, "average": 0.4}

  def scores(row):
    return {
      ("mIoU", ""): base[row] + noise * (1 + (row == "average")),
      ("AP50:95", ""): base[row] + noise,
      ("right pixels", "the infrared image alone"): carried[row] + noise,
      ("right pixels", "the visible image alone"): carried[row] + noise,
    }

  found = report.find(study, {row: [scores(row)] * 2 for row in study.order})
  lines = list(report.findings(study, found))
  assert lines[0].startswith(
    "On objects that the infrared image alone carries, both is 0.5000 [0.5000, 0.5000] ahead of vis"
  )
  assert "both is not told from chance (0.0000 [0.0000, 0.0000]) beside infrared" in lines[1]
  assert lines[2].startswith("both is 0.3000 [0.3000, 0.3000] ahead of infrared in mIoU, and 0.30")
  assert lines[3].startswith("average is not told from chance (") and " beside infrared" in lines[3]
  titles = report.tables(study, found)
  assert titles["Scores, minus the better single image"][0][0] == "mIoU, minus infrared"
  assert report.gain(found, "infrared", ("mIoU", "")) is None


@pytest.mark.parametrize(
  ("texts", "expected"),
  [
    (("mine:DIR", "far:s3://bucket/fused"), {"mine": "DIR", "far": "s3://bucket/fused"}),
    (("wavelet:gain=1.2",), {"wavelet_gain=1.2": "wavelet:gain=1.2"}),
    (("sharp:wavelet:gain=1.2",), {"sharp": "wavelet:gain=1.2"}),
    (("medical", "runs/a.safetensors"), {"medical": "medical", "a": "runs/a.safetensors"}),
  ],
)
def test_fused_is_a_folder_weights_or_a_rule(texts, expected):
  assert door.parse_fused(texts) == expected


@pytest.mark.parametrize(
  ("texts", "words"),
  [
    ((":DIR",), "--fused=:DIR: expected NAME:DIR"),
    (("",), "--fused=: expected NAME:DIR"),
    ((".",), "--fused=. is a folder; expected NAME:DIR"),
    (("a:x", "a:y"), "--fused=a:y: the name 'a' is taken; taken: visible, a"),
    (("visible:x",), "the name 'visible' is taken"),
  ],
)
def test_other_forms_of_fused_are_refused(texts, words):
  with pytest.raises(InputError, match=words):
    door.parse_fused(texts, taken=("visible",))


def test_the_command_adds_rows_to_those_of_the_config(tmp_path, monkeypatch):
  began = []
  monkeypatch.setattr(command, "run", lambda config, workdir: began.append(config) or True)
  given = {"config": values(tmp_path), "workdir": str(tmp_path), "fused": ["mine:DIR"]}
  assert door.main(given) == 0
  assert began[0]["order"] == ("visible", "infrared", "both", "average", "mine")
  assert began[0]["fused"] == {"average": "average", "mine": "DIR"}
  with pytest.raises(InputError, match="--config is of the study 'results'; allowed here"):
    door.main(given | {"config": {"study": "results"}})
