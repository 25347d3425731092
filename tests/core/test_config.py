"""Configs: complete, typed, and wrong ones refused with the valid keys."""

import copy

import pytest
from command_line import ROOT

from cfi_jax import datasets
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError, StorageError
from cfi_jax.data.naming import OPTIONS
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.model import make_model
from cfi_jax.systems.perception import recipes as perception

STUDIES = {
  "shift",
  "results",
  "medical_results",
  "levers",
  "weather",
  "amgfuse_ablations",
  "dfcnet_ablations",
  "transfers",
  "rule_options",
  "downstream",
  "dissect",
}  # configs of other commands than the trainer, with tests of their own
CONFIGS = sorted({path.stem for path in (ROOT / "configs").glob("*.py")} - STUDIES)
# For the others see tests/systems/amgfuse, tests/systems/dfcnet and tests/systems/perception.
OF_TRANSFERS = ("small", "characters", "pairs", "frames")
OF_ISFUSE = [name for name in CONFIGS if name not in ("amgfuse", "figures", "perception")]


def load(name, recipe="released"):
  return config_lib.load(f"{ROOT / 'configs' / name}.py:{recipe}").to_dict()


@pytest.mark.parametrize("recipe", recipes.RECIPES)
@pytest.mark.parametrize("name", OF_ISFUSE)
def test_every_config_builds_with_every_recipe(name, recipe):
  config = config_lib.build(Config, load(name, recipe))
  assert config.data["name"] == name
  datasets.load(config.data)
  assert make_model(config.model).shared_encoder == (recipe == "paper")


def test_all_datasets_with_training_pairs_have_a_config():
  others = {load("amgfuse", recipe)["data"]["name"] for recipe in ("all", "small")}
  others |= {load("figures", recipe)["data"]["name"] for recipe in OF_TRANSFERS}
  others |= {load("perception", f"early:{name}")["data"]["name"] for name in perception.DATA}
  assert {*OF_ISFUSE} | others == set(datasets.DATASETS) - {"tno"}


@pytest.mark.parametrize("name", CONFIGS)
def test_headers_give_the_command_and_the_cost(name):
  text = (ROOT / "configs" / f"{name}.py").read_text()
  assert f"python -m cfi_jax.main --config=configs/{name}.py --workdir=runs/{name}" in text


@pytest.mark.parametrize(
  ("path", "value", "message"),
  [
    ("batch_sise", 3, "unknown 'batch_sise' \\(did you mean 'batch_size'\\?\\); valid keys: seed"),
    ("optim.lr", 0.1, "config.optim: unknown 'lr'"),
    ("batch_size", 4.5, "config.batch_size is 4.5; it must be a int"),
    ("batch_size", True, "config.batch_size is True"),
    ("masks.size", (1, 2, 3), "config.masks.size is"),
    ("masks.size", 5, r"config.masks.size is 5; it must be a tuple\[int, int\]"),
    ("optim.schedule", [1], r"config.optim.schedule is \[1\]; it must be a str"),
    ("loss.fusion.gradient", "x", "config.loss.fusion.gradient is 'x'; it must be a float"),
    ("masks.size", (16, 300), "masks.size goes up to 300 pixels, more than input.crop 256"),
    ("epochs", float("nan"), "config.epochs is nan"),
    ("memory_gb", float("inf"), "config.memory_gb is inf"),
    ("statistics.momentum", 5.0, "statistics.momentum is 5.0; allowed: 0 to below 1"),
    (
      "statistics.normalise",
      "batch",
      "statistics.normalise is 'batch'; valid: own, original",
    ),
    ("statistics.normalise", "original", "statistics.views is 'all' and statistics.normalise"),
    ("statistics.views", "none", "statistics.views is 'none'; valid: all, original"),
    ("loss.necessity.views", ("flip",), "no intervention 'flip'; valid: complementary"),
    ("loss.fusion", {}, "loss.fusion is empty"),
    ("validation_metrics", ("SIM",), "unknown metric 'SIM' .did you mean 'SSIM'.*valid: EN, SD"),
    ("metric_convention", "mine", "unknown convention 'mine'; valid: tang, cddfuse, strict"),
    ("checkpoint.best", "VIF", r"checkpoint.best is 'VIF' \(lower\); valid: loss \(lower\), SSIM"),
    ("checkpoint.direction", "higher", r"checkpoint.best is 'loss' \(higher\)"),
    ("validation_metrics", ("MS_SSIM", "VIF", "SSIM", "MS_SSIM"), "named twice: MS_SSIM"),
    ("optim.b2", 1.0, "optim.b2 is 1.0; allowed: 0 to below 1"),
    ("optim.eps", 0.0, "optim.eps is 0.0; allowed: more than 0"),
    ("optim.schedule", "linear", "'linear'; valid: constant, cosine"),
  ],
)
def test_bad_values_are_named_with_what_is_allowed(path, value, message):
  values = copy.deepcopy(load("msrs"))
  *parents, key = path.split(".")
  node = values
  for parent in parents:
    node = node[parent]
  node[key] = value
  with pytest.raises(InputError, match=message):
    config_lib.build(Config, values)


@pytest.mark.parametrize(
  ("path", "value"),
  [
    ("checkpoint.every", 1),
    ("checkpoint.keep", 1),
    ("masks.size", (256, 256)),  # as large as the crop
    ("optim.b1", 0.0),
    ("statistics.momentum", 0.0),
  ],
)
def test_limits_of_parts_themselves_are_allowed(path, value):
  values, (part, key) = load("msrs"), path.split(".")
  values[part][key] = value
  assert getattr(getattr(config_lib.build(Config, values), part), key) == value


def test_validation_metrics_are_spelt_as_the_catalogue_does():
  values = load("msrs")
  values["validation_metrics"] = ("ssim", "qab/f")
  assert config_lib.build(Config, values).validation_metrics == ("SSIM", "Qabf")
  assert set(config_lib.build(Config, values).judges) == {"loss", "SSIM", "Qabf"}


def test_a_missing_key_is_named():
  values = load("msrs")
  del values["optim"]["b1"]
  with pytest.raises(InputError, match="config.optim: missing 'b1'; valid keys: learning_rate"):
    config_lib.build(Config, values)


def test_whole_numbers_become_floats_and_lists_tuples():
  values = load("msrs")
  values["epochs"], values["masks"]["size"] = 3, [4, 5]
  config = config_lib.build(Config, values)
  assert type(config.epochs) is float and config.masks.size == (4, 5)


def test_unknown_recipe_lists_the_valid_ones():
  with pytest.raises(InputError, match="no recipe 'papre'; valid: released, paper, wide"):
    load("msrs", "papre")


def test_stored_values_are_completed_where_their_parents_are():
  stored = {"model": {"features": 4}, "seed": 1}
  whole, filled = config_lib.complete(stored, {"system": "isfuse", "model.levels": 3, "a.b": 1})
  assert whole == {"model": {"features": 4, "levels": 3}, "seed": 1, "system": "isfuse"}
  assert filled == ["system='isfuse'", "model.levels=3"] and "levels" not in stored["model"]
  assert config_lib.complete(whole, {"model.levels": 5}) == (whole, [])


def test_a_field_of_one_data_set_is_completed_in_that_alone():
  older = {"data:folder.match": "name"}
  filled = config_lib.complete({"data": {"name": "folder"}}, older)
  assert filled == ({"data": {"name": "folder", "match": "name"}}, ["data.match='name'"])
  assert config_lib.complete({"data": {"name": "msrs"}}, older) == ({"data": {"name": "msrs"}}, [])
  assert config_lib.complete({"data": {}}, older) == ({"data": {}}, [])
  assert set(Config.OLDER) >= {f"data:folder.{name}" for name in OPTIONS}


@pytest.mark.parametrize(
  ("text", "argument", "words"),
  [
    ("x = 1", "", "defines no get_config"),
    ("get_config = 3", "", "defines no get_config"),
    ("\nx = (", "", "cannot be read: SyntaxError: .*never closed"),
    ("\nraise SystemExit('a\\n b')", "", r"cannot be read: SystemExit: a b \(line 2\)$"),
    ("def get_config():\n  return 1 / 0", "", r"c.py: ZeroDivisionError: .* \(line 2\)$"),
    ("def a():\n  b()\ndef b():\n  0 / 0\nget_config = a", "", r"ZeroDivision.* \(line 4\)$"),
    ("def get_config():\n  return {}", "", "returns a dict; it must return a ml_collections.Conf"),
    ("def get_config():\n  return {}", ":big", r"c.py:big: TypeError: "),
  ],
)
def test_a_file_that_gives_no_config_is_named_with_the_line(tmp_path, text, argument, words):
  (tmp_path / "c.py").write_text(text)
  with pytest.raises(InputError, match=words) as error:
    config_lib.load(f"{tmp_path / 'c.py'}{argument}")
  assert str(error.value).startswith(f"--config={tmp_path / 'c.py'}{argument}: ")


@pytest.mark.parametrize("kind", [InputError, StorageError])
def test_a_known_error_passes_as_it_is(tmp_path, kind):
  (tmp_path / "c.py").write_text(
    f"from cfi_jax.core.types import {kind.__name__} as Kind\n"
    "def get_config(size):\n  raise Kind(f'no {size}')"
  )
  with pytest.raises(kind, match="^no big$"):
    config_lib.load(f"{tmp_path / 'c.py'}:big")
