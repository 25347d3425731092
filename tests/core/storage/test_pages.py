"""Descriptions of an object in the words of each store."""

import datetime
import types

import pytest
from fsspec import asyn

from cfi_jax.core.storage import pages
from cfi_jax.core.storage.pages import Stat, stat_of

NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
MD5 = "5d41402abc4b2a76b9719d911017c592"  # of b"hello"
HASH = bytearray(bytes.fromhex(MD5))


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
    ({"size": 5, "etag": "e", "md5Hash": "XUFAKrxLKna5cZ2REBfFkg=="}, Stat(5, 0.0, "e", MD5)),
    ({"size": 5, "etag": "e", "content_settings": {"content_md5": HASH}}, Stat(5, 0.0, "e", MD5)),
    ({"size": 5, "etag": "e", "content_settings": {"content_md5": None}}, Stat(5, 0.0, "e", "")),
    ({"size": 5, "etag": "e", "content_settings": None}, Stat(5, 0.0, "e", "")),
  ],
)
def test_a_description_becomes_size_time_and_tag(info, stat):
  assert stat_of(info) == stat


def test_the_time_in_nanoseconds():
  assert Stat(1, 1.5, "", "").st_mtime_ns == 1_500_000_000


class Store:
  """A store of two pages; notes what is asked."""

  req_kw = {"RequestPayer": "me"}

  def __init__(self):
    self.asked = []

  def split_path(self, key):
    return *key.partition("/")[::2], None

  def call(self, *given, **asked):
    self.asked.append((given, asked))
    if asked["pageToken"] is None:
      return {"items": [{"name": "p/a", "size": 1}, {"name": "p/f/"}], "nextPageToken": "t"}
    return {"items": [{"name": "p/b/c", "size": 2}]} if asked["prefix"] else {}

  def call_s3(self, *given, **asked):
    self.asked.append((given, asked))
    if "ContinuationToken" not in asked:
      return {"Contents": [{"Key": "p/a", "Size": 1}], "NextContinuationToken": "t"}
    return {"Contents": [{"Key": "p/b/c", "Size": 2}]}


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_objects_come_page_by_page_without_their_prefix(scheme, monkeypatch):
  store = Store()
  monkeypatch.setattr(pages, "attempt", lambda url, ask: ask(store, url.partition("://")[2]))
  found = [(name, stat.st_size) for name, stat in pages.objects(f"{scheme}://bucket/p")]
  assert found == [("a", 1), ("b/c", 2)]
  if scheme == "gs":
    (given, first), (_, second) = store.asked
    assert given == ("GET", "b/{}/o", "bucket")
    assert (first["prefix"], first["maxResults"], first["json_out"]) == ("p/", 5000, True)
    assert first["pageToken"] is None and second["pageToken"] == "t"
  else:
    asked = {"Bucket": "bucket", "Prefix": "p/", "RequestPayer": "me"}
    given = ("list_objects_v2",)
    assert store.asked == [(given, asked), (given, asked | {"ContinuationToken": "t"})]


def test_a_bucket_itself_has_no_prefix(monkeypatch):
  store = Store()
  monkeypatch.setattr(pages, "attempt", lambda url, ask: ask(store, url.partition("://")[2]))
  assert [name for name, _ in pages.objects("gs://bucket")] == ["p/a"]
  assert store.asked[0][1]["prefix"] == ""


class Blob(dict):
  """A description as Azure's library gives it."""

  name = property(lambda self: self["name"])
  metadata = property(lambda self: self["metadata"])


class Container:
  """A container of one page; notes what is asked."""

  continuation_token = "next"

  def __init__(self):
    self.asked = []

  async def __aenter__(self):
    return self

  async def __aexit__(self, *exception):
    self.asked.append("closed")

  def list_blobs(self, **asked):
    self.asked.append(asked)
    return self

  def by_page(self, token):
    self.asked.append(token)
    return self

  async def __anext__(self):
    async def page():
      for name, metadata in (("p/a", None), ("p/b", {}), ("p/f", {"hdi_isfolder": "true"})):
        yield Blob(name=name, metadata=metadata, size=1)

    return page()


def test_a_folder_of_azure_is_no_object():
  container = Container()
  client = types.SimpleNamespace(get_container_client=lambda bucket: container)
  store = types.SimpleNamespace(service_client=client, loop=asyn.get_loop())
  found, token = pages._azure(store, "bucket", "p/", "last")
  assert [(name, info["size"]) for name, info in found] == [("p/a", 1), ("p/b", 1)]
  assert token == "next"
  asked = {"name_starts_with": "p/", "include": ["metadata"], "results_per_page": 5000}
  assert container.asked == [asked, "last", "closed"]
