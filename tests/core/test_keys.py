"""Keys folded from names and numbers."""

import zlib

import jax
import numpy as np

from cfi_jax.core import keys

KEY = jax.random.key(3)


def same(one, other):
  return np.array_equal(jax.random.key_data(one), jax.random.key_data(other))


def test_a_names_number_is_its_checksum():
  assert keys.name_number("shared") == zlib.crc32(b"shared")
  assert keys.name_number("\udc80") != keys.name_number("\udc81")  # any file name has one


def test_parts_are_folded_in_their_order():
  expected = jax.random.fold_in(jax.random.fold_in(KEY, zlib.crc32(b"a")), 7)
  assert same(keys.fold(KEY, "a", 7), expected)
  assert not same(keys.fold(KEY, 7, "a"), expected)
  assert same(keys.fold(KEY), KEY)


def test_a_samples_key_knows_no_batch_size():
  five = keys.per_sample(KEY, 5)
  assert five.shape == (5,)
  assert same(five[:2], keys.per_sample(KEY, 2))
  assert same(five[3], jax.random.fold_in(KEY, 3))
