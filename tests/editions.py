"""Pictures that the package draws are those of the edition that published numbers are of."""

import numpy as np


def assert_known(found, path, request, most):
  """Compares arrays by name with those of a file; --renew_golden writes them.

  Where pictures are to change, the edition of their data set is raised and the file renewed.
  Another machine may draw an edge a pixel further, or round the other way: a hundredth of an
  array's values may be off, by `most` of its name.
  """
  whole = {name: np.round(values).astype(np.int16) for name, values in found.items()}
  if request.config.getoption("--renew_golden"):
    np.savez_compressed(path, **whole)
  with np.load(path) as expected:
    assert set(expected) == set(whole)
    for name, values in whole.items():
      off = np.abs(values.astype(int) - expected[name])
      assert off.max() <= most[name] and np.mean(off > 0) < 0.01, name
