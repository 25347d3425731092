"""Objects below a prefix, page by page: fsspec's `find` holds all that a store tells of each."""

import base64
import dataclasses
import datetime
import re
from collections.abc import Callable, Iterator
from typing import Any

from cfi_jax.core.storage.requests import attempt

PAGE = 5000  # objects of a page at most; S3 gives 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Stat:
  """Size of an object in bytes, its last change, and a tag that changes with its content.

  md5: of the content (hex), "" where the store does not tell.
  """

  st_size: int
  st_mtime: float
  tag: str
  md5: str

  @property
  def st_mtime_ns(self) -> int:
    """The last change in nanoseconds."""
    return int(self.st_mtime * 1e9)


def stat_of(info: dict[str, Any]) -> Stat:
  """Turns the description of an object, by a store or by fsspec, into a `Stat`."""
  times = (info.get(name) for name in ("mtime", "updated", "LastModified", "last_modified"))
  changed = next(filter(None, times), 0)
  if isinstance(changed, str):
    changed = datetime.datetime.fromisoformat(changed)
  seconds = changed if isinstance(changed, int | float) else changed.timestamp()
  size = next(info[name] for name in ("size", "Size") if name in info)
  tag = str(info.get("etag") or info.get("ETag") or "").strip('"')
  return Stat(int(size), float(seconds), tag, _md5(info))


def _md5(info: dict[str, Any]) -> str:
  """The MD5 of the content, hexadecimal, where the store tells it."""
  if encoded := info.get("md5Hash"):
    return base64.b64decode(encoded).hex()
  if encoded := (info.get("content_settings") or {}).get("content_md5"):
    return bytes(encoded).hex()
  tag = str(info.get("ETag") or "").strip('"')
  return tag if re.fullmatch(r"[0-9a-f]{32}", tag) else ""


def objects(url: str) -> Iterator[tuple[str, Stat]]:
  """Names below a prefix, without it, and what is told of each; each page is one request.

  An object whose name ends with a slash is left out: it is a folder that some console made.
  """
  page: Callable[..., tuple[list, Any]] = _PAGES[url.partition("://")[0]]
  start, token = "", None
  while True:

    def ask(fs: Any, key: str, token: Any = token) -> tuple[str, list, Any]:
      bucket, below, *_ = fs.split_path(key)
      prefix = f"{below}/" if below else ""
      return prefix, *page(fs, bucket, prefix, token)

    start, found, token = attempt(url, ask)
    for name, info in found:
      if not name.endswith("/"):
        yield name.removeprefix(start), stat_of(info)
    if not token:
      return


def _google(fs: Any, bucket: str, prefix: str, token: Any) -> tuple[list, Any]:
  """A page of names and descriptions, and the token of the next one."""
  fields = "nextPageToken,items(name,size,updated,etag,md5Hash)"
  asked = {"prefix": prefix, "pageToken": token, "maxResults": PAGE, "fields": fields}
  found = fs.call("GET", "b/{}/o", bucket, json_out=True, **asked)
  return [(each["name"], each) for each in found.get("items", ())], found.get("nextPageToken")


def _amazon(fs: Any, bucket: str, prefix: str, token: Any) -> tuple[list, Any]:
  """See `_google`."""
  later = {"ContinuationToken": token} if token else {}
  found = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, **later, **fs.req_kw)
  return [(e["Key"], e) for e in found.get("Contents", ())], found.get("NextContinuationToken")


def _azure(fs: Any, bucket: str, prefix: str, token: Any) -> tuple[list, Any]:
  """See `_google`; a folder of a hierarchical account is an object with a mark."""
  from fsspec import asyn

  async def ask() -> tuple[list, Any]:
    async with fs.service_client.get_container_client(bucket) as container:
      asked = {"name_starts_with": prefix, "include": ["metadata"], "results_per_page": PAGE}
      pages = container.list_blobs(**asked).by_page(token)
      found = [blob async for blob in await anext(pages)]
      files = (b for b in found if (b.metadata or {}).get("hdi_isfolder") != "true")
      return [(blob.name, dict(blob)) for blob in files], pages.continuation_token

  return asyn.sync(fs.loop, ask)


_PAGES = {"gs": _google, "s3": _amazon, "az": _azure}
