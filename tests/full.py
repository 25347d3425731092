"""Tests that `CFI_JAX_FULL=1 pytest` runs besides: long ones, parts of which always run."""

import os

import pytest

FULL = "CFI_JAX_FULL" in os.environ
only_full = pytest.mark.skipif(not FULL, reason="CFI_JAX_FULL=1 runs it")
