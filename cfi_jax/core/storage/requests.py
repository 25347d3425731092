"""Requests to buckets by fsspec: tried again where an error passes, and errors in words of ours."""

import errno
import functools
import importlib.util
import logging
import os
import random
import re
import time
from collections.abc import Callable
from typing import Any, TypeVar

from cfi_jax.core.types import InputError, KnownError

LIBRARIES = {"gs": "gcsfs", "s3": "s3fs", "az": "adlfs"}  # the package of each scheme
# For connections that break and answers that do not come, in seconds. What a server answers (429,
# 503 ...) the libraries themselves try again, for half a minute to one; adlfs does not with a 429.
TRIES, FIRST_WAIT, LONGEST_WAIT = 4, 0.5, 20.0
TIMEOUT = 60.0  # seconds of one request
# Options of the file systems. Listings are kept here, where writes and other processes are known.
_OPTIONS: dict[str, dict[str, Any]] = {
  "gs": {"requests_timeout": TIMEOUT},
  "s3": {"config_kwargs": {"read_timeout": TIMEOUT, "connect_timeout": 10}},
  "az": {"read_timeout": TIMEOUT, "connection_timeout": 10},
}
_LOGGERS = ("gcsfs", "s3fs", "adlfs", "fsspec", "aiobotocore", "botocore", "google", "azure")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP
_PASSING_KINDS = (  # of exceptions, by name: their libraries are not imported here
  *("ClientConnectionError", "ClientPayloadError", "ServerTimeoutError", "ClientOSError"),
  *("ChecksumError", "ProxyError", "ConnectTimeoutError", "ReadTimeoutError", "IncompleteRead"),
  *("EndpointConnectionError", "ConnectionClosedError", "HTTPClientError", "FSTimeoutError"),
  *("ResponseParserError", "ServerDisconnectedError", "ServiceRequestError"),
  *("ServiceResponseError", "IncompleteReadError", "ResponseStreamingError", "ConnectionError"),
)
_NO_CREDENTIALS = ("NoCredentialsError", "DefaultCredentialsError", "PartialCredentialsError")

T = TypeVar("T")


def is_remote(text: str | os.PathLike) -> bool:
  """Whether a path is in a bucket."""
  return _SCHEME.match(os.fspath(text)) is not None


def show(text: str) -> str:
  """A URL without its user and its query, for messages."""
  return re.sub(r"[?].*", "", re.sub(r"(://)[^/]*@", r"\1", text), flags=re.DOTALL)


def check_secret(text: str) -> None:
  """Raises InputError, which does not show them, for a URL with a user or a query."""
  if show(text) != text:
    raise InputError(
      f"{show(text)}: given with a user or a query, which are not shown here; allowed: a bucket "
      "and a path (credentials: docs/buckets.md)"
    )


def check(text: str) -> None:
  """Raises InputError for a URL of another scheme, with a user or a query, without a bucket or up.

  A store knows no folder above another: `..` would be a part of a name.
  """
  found = _SCHEME.match(text)
  if found is None:
    return
  check_secret(text)
  schemes = ", ".join(f"{name}://" for name in LIBRARIES)
  if found[1] not in LIBRARIES:
    raise InputError(f"{text}: {found[1]}:// is not read; allowed: local paths, {schemes}")
  if not text[found.end() :].strip("/"):
    raise InputError(f"{text}: names no bucket; allowed: {found[0]}BUCKET/PATH")
  if ".." in text.split("/"):
    raise InputError(f"{text}: goes up by '..'; allowed: {found[0]}BUCKET/PATH without it")


def attempt(url: str, work: Callable[[Any, str], T]) -> T:
  """The result of f(file system, bucket and key), tried again where an error may pass.

  Raises an `OSError` that names the object, and nothing else of the request.
  """
  scheme, _, key = url.partition("://")
  tried = 0
  while True:
    tried += 1
    try:
      return work(_filesystem(scheme, os.getpid()), key)
    except KnownError:
      raise
    except Exception as error:  # each library has errors of its own
      found, passes = _explain(error, url)
    if not passes or tried == TRIES:
      raise found from None
    time.sleep(min(LONGEST_WAIT, FIRST_WAIT * 2 ** (tried - 1)) * random.uniform(0.5, 1.0))


def _explain(error: BaseException, url: str) -> tuple[OSError, bool]:
  """An error of a library as an OSError in words of ours, and whether it may pass."""
  chain: list[BaseException] = []
  seen: BaseException | None = error
  while seen is not None and len(chain) < 5:
    chain.append(seen)
    seen = seen.__cause__ or seen.__context__
  code = next((c for c in map(_status, chain) if c), 0)
  kinds = {base.__name__ for each in chain for base in type(each).__mro__}
  if code == 404 or (not code and isinstance(error, FileNotFoundError)):
    return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), url), False
  if code in (409, 412) or isinstance(error, FileExistsError):
    return FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), url), False
  if kinds & set(_NO_CREDENTIALS):
    text = "no credentials were found (docs/buckets.md)"
    return PermissionError(errno.EACCES, text, url), False
  if code in (401, 403) or isinstance(error, PermissionError):
    return PermissionError(errno.EACCES, f"no permission (HTTP {code or 403})", url), False
  if code == 400:
    text = "the store refuses the request (HTTP 400), as for a name that it does not allow"
    return OSError(errno.EIO, text, url), False
  passes = code == 429 and url.startswith("az://")
  passes |= not code and (isinstance(error, TimeoutError) or bool(kinds & set(_PASSING_KINDS)))
  if not code and not passes and not isinstance(error, OSError):  # no store was asked
    library = LIBRARIES[url.partition("://")[0]]
    text = f"{library} cannot use its credentials, its settings or this name"
    return OSError(errno.EIO, f"{text} ({type(error).__name__}; docs/buckets.md)", url), False
  said = f"HTTP {code}" if code else type(error).__name__
  after = " after several tries" if passes or code in _PASSING else ""
  return OSError(errno.EIO, f"the store failed{after} ({said})", url), passes


def _status(error: BaseException) -> int:
  """The HTTP status of an error, 0 where it has none."""
  answer = getattr(error, "response", None)
  if isinstance(answer, dict):  # of botocore
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
  found = (str(getattr(error, name, "")) for name in ("code", "status", "status_code"))
  if (code := next(filter(str.isdigit, found), "")) != "":
    return int(code)
  known = {errno.EBUSY: 503, getattr(errno, "EREMOTEIO", -1): 500}
  if isinstance(error, OSError) and error.errno in known:
    return known[error.errno]  # of s3fs
  return 403 if isinstance(error, OSError) and str(error).startswith("Forbidden") else 0  # of gcsfs


@functools.lru_cache(maxsize=8)
def _filesystem(scheme: str, process: int) -> Any:
  """The file system of a scheme; anew in every process, since its threads are not inherited."""
  del process
  package = LIBRARIES[scheme]
  if importlib.util.find_spec(package) is None:
    raise InputError(f"{scheme}:// needs the package {package}; pip install 'cfi_jax[cloud]'")
  import fsspec

  for name in _LOGGERS:  # they report what is raised here, with whole requests
    logging.getLogger(name).setLevel(logging.CRITICAL + 1)
  return fsspec.filesystem(scheme, use_listings_cache=False, **_OPTIONS[scheme])
