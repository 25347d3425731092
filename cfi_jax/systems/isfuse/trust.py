"""The trust of networks with a prior in their images: as much of it as pictures deserve."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from cfi_jax.core.types import InputError
from cfi_jax.weights.file import Card

HEADS = ("trust_visible", "trust_infrared")


def raised(variables: Mapping, card: Card, logits: float) -> tuple[dict, Card]:
  """Weights that trust every pixel of both images more, and their card, whose recipe says so.

  logits: added to the logits of the trust, finite. In training holes and lost pixels are a good
    share of all, in pictures they are rare: what a network has learned to be as likely as not is
    far less likely there. The difference of the log odds corrects that without any training
    (Saerens, Latinne and Decaestecker 2002). What is certainly lost stays so.

  Raises InputError for weights of another system or without a prior.
  """
  if card.system != "isfuse" or card.architecture.get("prior", "none") == "none":
    raise InputError(
      f"the weights are of {card.system!r} with prior={card.architecture.get('prior', 'none')!r}; "
      "only those of 'isfuse' with a prior tell how far they trust their images"
    )
  if not math.isfinite(logits):
    raise InputError(f"{logits} is no number to add to the trust; allowed: finite ones")
  params = dict(variables["params"])
  for head in HEADS:
    bias = np.asarray(params[head]["bias"])
    params[head] = {**params[head], "bias": bias + bias.dtype.type(logits)}
  try:
    recipe = json.loads(card.recipe)
  except json.JSONDecodeError:
    recipe = {"recipe": card.recipe}
  recipe["more_trust"] = recipe.get("more_trust", 0.0) + logits
  return {**variables, "params": params}, replace(card, recipe=json.dumps(recipe))
