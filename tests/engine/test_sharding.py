"""The mesh and the batch over it (one device here; several in test_resume.py)."""

import types

import jax
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.engine import sharding


def test_a_batch_becomes_a_global_array():
  mesh = sharding.make_mesh(4)
  rows = np.arange(8.0).reshape(4, 2, 1, 1)
  batch = sharding.to_devices(sharding.split(mesh), {"a": rows, "b": (rows + 1,)})
  assert batch["a"].sharding == sharding.split(mesh)
  np.testing.assert_array_equal(batch["a"], rows)
  np.testing.assert_array_equal(batch["b"][0], rows + 1)


def test_a_batch_that_devices_cannot_share_is_refused(monkeypatch):
  one = types.SimpleNamespace(process_index=0, id=0)
  other = types.SimpleNamespace(process_index=1, id=1)
  monkeypatch.setattr(jax, "devices", lambda: [one] * 8)
  with pytest.raises(InputError, match="batch_size is 12, which 8 devices cannot.* multiples of 8"):
    sharding.make_mesh(12)
  monkeypatch.setattr(jax, "devices", lambda: [one] * 4 + [other] * 4)
  with pytest.raises(InputError, match="which 8 devices of 2 processes cannot.* multiples of 8"):
    sharding.make_mesh(12)
