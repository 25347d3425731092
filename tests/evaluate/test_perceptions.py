import csv
import dataclasses

import jax
import numpy as np
import pytest
from command_line import FIXTURES, ROOT
from PIL import Image

from cfi_jax import systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.datasets.labelled.classes import Classes, spread
from cfi_jax.evaluate import __main__ as command
from cfi_jax.evaluate.perceptions import Result, evaluate_perception
from cfi_jax.metrics.detection import Boxes
from cfi_jax.systems import files
from cfi_jax.weights.file import Card

TINY = str(ROOT / "tests" / "systems" / "perception" / "tiny.py")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """Random weights of a small network for the visible image; nothing is compiled for them."""
  _, config = systems.configure(config_lib.load(f"{TINY}:visible").to_dict())
  architecture = dataclasses.asdict(config.architecture)
  card = Card("perception", architecture, "{}", "none", "2026-01-01", "none")
  random = np.random.default_rng(0)

  def draw(shape):
    return random.normal(0, 0.3, shape.shape).astype(np.float32)

  path = tmp_path_factory.mktemp("weights") / "seer.safetensors"
  files.save(path, jax.tree.map(draw, files.shapes(card)), card)
  return path


def given(**flags):
  return {name: flag.default for name, flag in command.FLAGS.items()} | flags


def test_a_network_is_scored_on_the_world(weights, tmp_path, capsys):
  config = config_lib.load(f"{TINY}:visible").to_dict()
  assert command.main(given(config=config, weights=str(weights), output=str(tmp_path))) == 0
  printed = capsys.readouterr().out
  assert "Intersection over union:" in printed and "scored 2 images" in printed
  with open(tmp_path / "scores.csv", newline="") as file:
    rows = {row["name"]: row for row in csv.DictReader(file)}
  assert {"mIoU", "mIoU per image", "AP50", "AP50:95", "background"} <= set(rows)
  assert 0 <= float(rows["mIoU"]["value"]) <= 1
  assert "2 images, Synthetic test" in (tmp_path / "summary.md").read_text()
  pictures = sorted((tmp_path / "pictures").iterdir())
  assert len(pictures) == 2 and Image.open(pictures[0]).size == (4 * 32, 32)


def test_what_does_not_fit_is_refused(weights, tmp_path):
  config = config_lib.load(f"{TINY}:visible").to_dict()
  with pytest.raises(InputError, match="--split=known; allowed: test, validation"):
    evaluate_perception(config, weights, "known", tmp_path)
  changed = config_lib.load(f"{TINY}:visible").to_dict()
  changed["model"]["colour"] = True
  with pytest.raises(InputError, match="colour of the weights is False and of the config True"):
    evaluate_perception(changed, weights, "test", tmp_path)
  changed = config_lib.load(f"{TINY}:visible").to_dict()
  changed["model"]["detection"] = False
  with pytest.raises(InputError, match="detection of the weights is True and of the config False"):
    evaluate_perception(changed, weights, "test", tmp_path)
  with pytest.raises(InputError, match="weights of the system 'isfuse', which perceives nothing"):
    evaluate_perception(config, FIXTURES / "weights_1.safetensors", "test", tmp_path)
  with pytest.raises(InputError, match="which fuses no images"):
    files.load_fuser(weights)
  with pytest.raises(InputError, match="which transfers no poses"):
    files.load_transferrer(weights)


def test_numbers_of_a_result_are_those_by_hand():
  classes = Classes(("none", "car", "man"), spread(3))
  confusions = np.array([
    [[4, 0, 0], [0, 2, 2], [0, 0, 0]], [[4, 0, 0], [0, 4, 0], [0, 0, 0]]
  ])  # fmt: skip
  box = np.array([[0.0, 0, 4, 4]])
  true = Boxes(box, np.array([1]))
  pairs = [(Boxes(box, np.array([1]), np.array([0.9])), true)] * 2
  carried = {"both images": np.array([[1, 2], [0, 2]]), "neither image": np.zeros((2, 2), int)}
  result = Result(classes, ("a", "b"), confusions, pairs, carried)
  found = result.segmentation()
  assert found["none"].mean == 1 and found["car"].mean == pytest.approx(6 / 8)
  assert found["man"].mean == 0 and found["mIoU"].mean == pytest.approx((1 + 6 / 8) / 3)
  # In the second image no man is seen nor there.
  assert found["mIoU per image"].mean == pytest.approx(((1 + 0.5 + 0) / 3 + 1) / 2)
  assert found["car"].low == pytest.approx(0.5) and found["car"].high == 1
  assert result.attribution()["both images"].mean == 0.25
  assert set(result.attribution()) == {"both images"}
  detected = result.detection()
  assert detected["car (AP50)"].mean == pytest.approx(1)
  assert set(detected) == {"car (AP50)", "AP50", "AP50:95"}
  assert "## Average precision" in result.to_markdown("t", ())
