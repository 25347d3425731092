import pytest
from command_line import ROOT

from cfi_jax import datasets, systems
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.systems.perception import recipes
from cfi_jax.systems.perception.model import FUSIONS
from cfi_jax.systems.perception.samples import require_truth


@pytest.mark.parametrize("recipe", [*FUSIONS, *(f"special:{name}" for name in recipes.DATA)])
def test_every_recipe_builds(recipe):
  values = config_lib.load(f"{ROOT / 'configs' / 'perception'}.py:{recipe}").to_dict()
  _, config = systems.configure(values)
  fusion, _, data = recipe.partition(":")
  assert config.model.fusion == fusion
  assert config.data["name"] == (data or "synthetic_labels")
  assert config.architecture.classes == datasets.load(config.data).classes.names


def test_unknown_recipes_list_the_valid_ones():
  for name in ("both", "special:coco"):
    with pytest.raises(InputError, match=f"no recipe '{name}'; valid: .*special.*msrs_labels"):
      recipes.get(name)


@pytest.mark.parametrize(
  "path, value, words",
  [
    (
      "model.fusion",
      "both",
      "model.fusion is 'both'; valid: visible, infrared, fused, early, middle",
    ),
    ("model.width", 6, "model.width is 6; allowed: multiples of 4"),
    ("model.name", "unet", "no model 'unet'; valid: perception"),
    ("model.segmentation", False, "model.segmentation and model.detection are both False"),
    ("input.crop", 60, "input.crop is 60; allowed: multiples of 8"),
    ("input.normalize", "percentile", "would change the numbers of labels, objects, carrier"),
    ("loss.prediction", 0.0, "loss.prediction is 0 and model.fusion 'special'"),
    ("loss.heat", -1.0, "loss.heat is -1.0; allowed: 0 or more"),
    ("loss.balance", 1.5, "loss.balance is 1.5; allowed: 0 to 1"),
    ("checkpoint.best", "miou", r"checkpoint.best is 'miou' \(lower\); valid: .*miou \(higher\)"),
    (
      "data",
      dict(name="roadscene", root="", validation_fraction=0.0),
      "data.name is 'roadscene', which has no labels; valid: .*fmb",
    ),
  ],
)
def test_bad_values_are_named_with_what_is_allowed(path, value, words):
  config = recipes.get("special")
  config.model.detection = False
  *parents, name = path.split(".")
  node = config
  for parent in parents:
    node = node[parent]
  del node[name]
  node[name] = value
  with pytest.raises(InputError, match=words):
    systems.configure(config.to_dict())


@pytest.mark.parametrize(
  "data, head, words",
  [
    ("m3fd_boxes", "segmentation", "has no label images, which model.segmentation=True"),
    ("msrs_labels", "detection", "has no boxes, which model.detection=True learns from"),
  ],
)
def test_heads_without_truth_are_refused(data, head, words):
  _, config = systems.configure(recipes.get("early").to_dict())
  names = ("visible", "infrared", "objects" if head == "segmentation" else "labels")
  with pytest.raises(InputError, match=f"data.name='{data}' {words}"):
    require_truth(names, config.model, f"data.name='{data}'")
