"""Ways of computing the network, each equal to the plain one but for rounding."""

import dataclasses

import jax.numpy as jnp

from cfi_jax.core.types import InputError
from cfi_jax.images.ops import statistics_dtype

WAYS = {
  "local": ("auto", "grouped", "shifted"),
  "coupling": ("auto", "maps", "matrices"),
  "histogram": ("auto", "scaled", "gram"),
  "sorting": ("auto", "pairs", "packed"),
}
PLAIN = {"local": "grouped", "coupling": "maps", "histogram": "scaled", "sorting": "pairs"}
FAST = {"local": "shifted", "coupling": "matrices", "histogram": "gram", "sorting": "packed"}


@dataclasses.dataclass(frozen=True)
class Ways:
  """Precision of the network, and the way of each of its operations that has several.

  dtype: of maps and products; statistics, masks, attention weights and outputs have at least
    float32. param_dtype: of parameters.
  local: convolutions within a channel or a pair of channels: "grouped" convolutions, or "shifted"
    products that XLA fuses.
  coupling: "maps" of attended features, projected one by one; or "matrices", which are multiplied
    with each other first, as attention over channels is a C x C matrix per image.
  histogram: queries and keys "scaled" to unit norm and an inverse permutation for each of both
    attentions; or the "gram" matrix scaled, and one inverse permutation after the product.
  sorting: orders and their inverses by sorting "pairs" of values and indices; or values and
    indices "packed" into one number each, and inverses written without a sort.
  """

  dtype: jnp.dtype
  param_dtype: jnp.dtype
  local: str
  coupling: str
  histogram: str
  sorting: str

  @property
  def exact(self) -> jnp.dtype:
    """The dtype of statistics, masks and attention weights."""
    return statistics_dtype(self.dtype)


def choose(dtype: str, param_dtype: str, names: dict[str, str]) -> Ways:
  """The ways that a config names; "auto" takes what is fastest.

  names: way by operation, see `WAYS`. Raises InputError for unknown names.
  """
  for name, valid in WAYS.items():
    if names[name] not in valid:
      raise InputError(f"model.{name} is {names[name]!r}; valid: {', '.join(valid)}")
  chosen = {name: FAST[name] if way == "auto" else way for name, way in names.items()}
  return Ways(jnp.dtype(dtype), jnp.dtype(param_dtype), **chosen)
