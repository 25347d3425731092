"""Which way samples come, and how it is said."""

import dataclasses

import numpy as np
import pytest

from cfi_jax.data import pipeline
from cfi_jax.engine import feed
from cfi_jax.images import read as images

OPTIONS = pipeline.Input(
  crop=16, flip=True, transpose=True, workers=0, threads=1, prefetch=1, device_gb=0
)


@pytest.mark.parametrize(
  ("device_gb", "kind"), [(0, feed.Streamed), (0.665, feed.Streamed), (0.666, feed.Resident)]
)
def test_a_set_of_the_size_of_msrs_stays_if_it_fits(device_gb, kind):
  header = images.Header(480, 640, np.uint8)
  options = dataclasses.replace(OPTIONS, device_gb=device_gb)
  headers = [{"visible": header, "infrared": header}] * 1083
  chosen = feed.choose(None, headers, options, seed=0, batch_size=16)  # no file is read
  assert type(chosen) is kind and chosen.gigabytes == pytest.approx(2 * 1083 * 480 * 640 / 1e9)
  assert "0.665 GB" in chosen.description and ("stay on" in chosen.description) == (
    kind is feed.Resident
  )
  assert ("device_gb=0" in chosen.advice) == (kind is feed.Resident)
