"""Paths of files: local ones, and objects of buckets (gs://, s3://, az://), which fsspec reaches.

`path` is the one way from a text to a path: a `pathlib.Path`, or a `BucketPath`, which has what
this package uses of one. An object appears whole or not at all, when its write has ended; a folder
is a prefix, which needs no making. Listings are kept, and what is read is fetched once into a cache
of this machine (`cache`). Errors are `OSError`s that name the object; those that may pass are
waited out. Credentials are the libraries' own business: a text with a user or a query is refused,
and not shown.
"""

from cfi_jax.core.storage.cache import keep_to as keep_to
from cfi_jax.core.storage.cache import local as local
from cfi_jax.core.storage.cache import open_binary as open_binary
from cfi_jax.core.storage.cache import peek as peek
from cfi_jax.core.storage.cache import temporary as temporary
from cfi_jax.core.storage.listing import entries as entries
from cfi_jax.core.storage.listing import listings as listings
from cfi_jax.core.storage.listing import size as size
from cfi_jax.core.storage.listing import take_listings as take_listings
from cfi_jax.core.storage.paths import BucketPath as BucketPath
from cfi_jax.core.storage.paths import files_below as files_below
from cfi_jax.core.storage.paths import join as join
from cfi_jax.core.storage.paths import path as path
from cfi_jax.core.storage.paths import real as real
from cfi_jax.core.storage.requests import check_secret as check_secret
from cfi_jax.core.storage.requests import is_remote as is_remote
