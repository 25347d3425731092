"""The trust of networks with a prior in their images: as much of it as pictures deserve."""

import json
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.weights.file import Card

HEADS = ("trust_visible", "trust_infrared")
MOST = 100.0  # logits; a trust of half becomes 1 in every precision long before


def raised(variables: Mapping, card: Card, logits: float) -> tuple[dict, Card]:
  """Weights that trust every pixel of both images more, and their card, whose recipe says so.

  logits: added to the logits of the trust, -100 to 100. In training holes and lost pixels are a
    good share of all, in pictures they are rare: what a network has learned to be as likely as not
    is far less likely there. The difference of the log odds corrects that without any training
    (Saerens, Latinne and Decaestecker 2002). What is certainly lost stays so.

  Raises InputError for other logits, weights of another system and those without a prior.
  """
  if card.system != "isfuse":
    raise InputError(f"weights of {card.system!r}; those of 'isfuse' with a prior tell their trust")
  if (prior := card.architecture.get("prior", "none")) == "none":
    raise InputError(f"weights with prior={prior!r}; those of a network with one tell their trust")
  if not abs(logits) <= MOST:
    raise InputError(f"{logits} added to the trust; allowed: -{MOST:g} to {MOST:g}")
  params = dict(variables["params"])
  for head in HEADS:
    params[head] = {**params[head], "bias": np.asarray(params[head]["bias"]) + np.float32(logits)}
  return {**variables, "params": params}, replace(card, recipe=_recipe(card.recipe, logits))


def _recipe(text: str, logits: float) -> str:
  """The recipe of a card with what was added, by this change and others before."""
  try:
    recipe = json.loads(text)
  except json.JSONDecodeError:
    recipe = text
  if not isinstance(recipe, dict):
    recipe = {"recipe": recipe}
  before = recipe.get("more_trust", 0.0)
  return json.dumps({**recipe, "more_trust": before + logits})
