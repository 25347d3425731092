"""What stores tell of an object, in their words."""

import datetime

import pytest

from cfi_jax.core.storage.pages import Stat, stat_of

NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
MD5 = "5d41402abc4b2a76b9719d911017c592"  # of b"hello"


@pytest.mark.parametrize(
  ("info", "stat"),
  [
    ({"size": "5"}, Stat(5, 0.0, "", "")),
    ({"size": 0, "Size": 3}, Stat(0, 0.0, "", "")),
    ({"Size": 5, "mtime": 1.5, "etag": "e"}, Stat(5, 1.5, "e", "")),
    ({"size": 5, "updated": "2024-05-01T12:00:00Z"}, Stat(5, NOON.timestamp(), "", "")),
    ({"Size": 5, "LastModified": NOON, "ETag": '"e-2"'}, Stat(5, NOON.timestamp(), "e-2", "")),
    ({"size": 5, "last_modified": NOON}, Stat(5, NOON.timestamp(), "", "")),
    ({"Size": 5, "ETag": f'"{MD5}"'}, Stat(5, 0.0, MD5, MD5)),
    ({"Size": 5, "ETag": f'"{MD5}-2"'}, Stat(5, 0.0, f"{MD5}-2", "")),
    ({"size": 5, "etag": "e", "md5Hash": "XUFAKrxLKna5cZ2REBfFkg=="}, Stat(5, 0.0, MD5, MD5)),
  ],
)
def test_a_description_becomes_size_time_and_tag(info, stat):
  assert stat_of(info) == stat


def test_the_time_in_nanoseconds():
  assert Stat(1, 1.5, "", "").st_mtime_ns == 1_500_000_000
