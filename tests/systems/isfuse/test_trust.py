"""More trust in images: of both heads alone, told by the card, refused without heads."""

import dataclasses
import json

import numpy as np
import pytest
from command_line import run
from flax import traverse_util
from scipy import special

from cfi_jax import convert
from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Pair
from cfi_jax.systems import files
from cfi_jax.systems.isfuse import trust
from cfi_jax.systems.isfuse.model import from_architecture


@pytest.fixture(scope="module")
def shipped():
  return files.load("visible-infrared")


def test_the_biases_of_both_heads_grow_and_nothing_else(shipped):
  variables, card = shipped
  changed, its_card = trust.raised(*trust.raised(variables, card, 1.5), 2.0)
  before, after = (traverse_util.flatten_dict(v, sep="/") for v in (variables, changed))
  assert before.keys() == after.keys()
  for name, value in before.items():
    added = 3.5 if name in ("params/trust_visible/bias", "params/trust_infrared/bias") else 0
    np.testing.assert_array_equal(after[name], value + np.float32(added))
    assert after[name].dtype == np.float32
  recipe = json.loads(card.recipe)
  expected = {**recipe, "more_trust": recipe.get("more_trust", 0.0) + 3.5}
  assert json.loads(its_card.recipe) == expected
  assert its_card.architecture == card.architecture and its_card.data == card.data


def test_the_logit_of_the_trust_in_every_pixel_grows(shipped, random):
  variables, card = shipped
  pair = Pair(*(random.random((1, 24, 32, 1), np.float32) for _ in range(2)))
  module = from_architecture(card.architecture, "float32")
  told = [module.apply(v, pair).trust for v in (variables, trust.raised(variables, card, 1.25)[0])]
  for modality in ("visible", "infrared"):
    before, after = (special.logit(np.asarray(getattr(x, modality), np.float64)) for x in told)
    ordinary = np.abs(before) < 3
    assert ordinary.any()
    np.testing.assert_allclose((after - before)[ordinary], 1.25, atol=0.05)


@pytest.mark.parametrize("text", ["by hand", '"quoted"', "[1]", "null"])
def test_a_recipe_that_is_no_mapping_is_kept(text, shipped):
  variables, card = shipped
  _, found = trust.raised(variables, dataclasses.replace(card, recipe=text), -1.0)
  kept = text if text == "by hand" else json.loads(text)
  assert json.loads(found.recipe) == {"recipe": kept, "more_trust": -1.0}


@pytest.mark.parametrize("logits", [float("nan"), float("inf"), -100.5, 1e39])
def test_no_more_is_added_than_makes_a_difference(logits, shipped):
  with pytest.raises(InputError, match=r" added to the trust; allowed: -100 to 100"):
    trust.raised(*shipped, logits)
  trust.raised(*shipped, -100)


def test_what_has_no_trust_is_refused(shipped, tmp_path):
  variables, card = shipped
  without = dataclasses.replace(card, architecture={"prior": "none"})
  with pytest.raises(InputError, match="weights with prior='none'; those of a network with one"):
    trust.raised(variables, without, 1.0)
  other = tmp_path / "x.safetensors"
  given = dict(checkpoint="figures", output=str(other), licence=None, more_trust=1.0)
  with pytest.raises(InputError, match="--more_trust: figures: weights of 'dfcnet'; those of"):
    convert.main(given)
  assert not other.exists()


def test_the_command_writes_them(shipped, tmp_path):
  path = tmp_path / "more.safetensors"
  done = run(
    "cfi_jax.convert", "--checkpoint=visible-infrared", f"--output={path}", "--more_trust=2"
  )
  assert done.returncode == 0, done.stderr
  bias = files.load(path)[0]["params"]["trust_visible"]["bias"]
  np.testing.assert_allclose(bias, shipped[0]["params"]["trust_visible"]["bias"] + 2)
