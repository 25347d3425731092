"""Settings that the config files of studies of results share."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from cfi_jax.report.ranks import RANKED

ARTEFACTS = ("Nabf",)  # beside the scores that are ranked, some of which reward them


def settings(
  rows: Mapping[str, ConfigDict],
  data: Mapping[str, Any],
  tests: Mapping[str, Mapping[str, Any]],
  *,
  seeds: Sequence[int],
  published: Mapping[str, str],
) -> ConfigDict:
  """The settings of a study (`settings.Study`) of `rows`, all trained on `data`.

  data, tests: settings of data sets in which "root" is a name under config.roots: one flag,
    --config.roots.NAME=PATH, sets all of that name. The loss is watched on test pairs, but nothing
    is chosen by it: the last step is scored.
  seeds: of every row. published: weights that are scored, too, see `Study`.
  """
  roots = {options["root"]: "" for options in (data, *tests.values())}
  config = ConfigDict(
    dict(
      study="results",
      rows=dict(rows),
      order=tuple(rows),
      seeds=tuple(seeds),
      tests={test: dict(options) for test, options in tests.items()},
      score=tuple(tests),
      published=dict(published),
      metrics=RANKED + ARTEFACTS,
      convention="tang",
      roots=roots,
    )
  )
  for row in config.rows.values():
    row.data = dict(data)
    row.validation_metrics = ()
  for place in (*(row.data for row in config.rows.values()), *config.tests.values()):
    place.root = config.roots.get_ref(place.root)
  return config
