"""The settings of a study of ablations: recipes that differ in a part, and their reference."""

import dataclasses

from cfi_jax.core.types import InputError
from cfi_jax.study.rows import Recipes


@dataclasses.dataclass(frozen=True)
class Study(Recipes):
  """Recipes of any system, compared by the scores of their own held-out samples.

  reference: the row that differences refer to, usually the recipe with all its parts.
  scores: names of scores of the systems' validation to tabulate: the fields `validation_metrics`,
    and what else a system scores, such as `restored_psnr`.
  paths: files and folders that the rows refer to; here so that one flag sets each.
  """

  reference: str
  scores: tuple[str, ...]
  paths: dict[str, str]

  def __post_init__(self):
    """Refuses unknown names, doubles, runs that cannot be, and scores that no row validates by."""
    super().__post_init__()
    if self.reference not in self.order:
      raise InputError(f"config.order lacks the reference {self.reference!r}: {self.order}")
    if not self.scores or len(set(self.scores)) < len(self.scores):
      raise InputError(f"config.scores is {self.scores}; allowed: one or more, each once")
    for row in self.order:
      for score in self.scores:
        if score not in self.rows[row].judges:
          raise InputError(
            f"config.scores: row {row} has no score {score!r}; it has "
            f"{', '.join(self.rows[row].judges)}"
          )

  def direction(self, score: str) -> str:
    """Whether "higher" or "lower" values of a score are better."""
    return self.rows[self.reference].judges[score]
