"""report.html in headless Chromium, driven over the DevTools protocol on a pipe."""

import itertools
import json
import os
import select
import shutil
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

from cfi_jax.evaluate import Request, evaluate
from cfi_jax.evaluate.baselines import BASELINES

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
FLAGS = (
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-quic",
  "--remote-debugging-pipe",
)
DEADLINE = 60.0


class Browser:
  """A headless browser with one page; messages are JSON objects that end in a zero byte."""

  def __init__(self, profile):
    """Starts it; the browser reads commands from its descriptor 3 and answers on 4."""
    commands, self._write = os.pipe()
    self._read, answers = os.pipe()
    descriptors = {3: os.dup(commands), 4: os.dup(answers)}
    high = {k: os.dup2(fd, 100 + k) for k, fd in descriptors.items()}
    script = f'exec "$0" "$@" 3<&{high[3]} 4>&{high[4]}'
    self._process = subprocess.Popen(
      ["bash", "-c", script, CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
      pass_fds=tuple(high.values()),
      stderr=subprocess.DEVNULL,
      stdout=subprocess.DEVNULL,
    )
    for fd in (commands, answers, *descriptors.values(), *high.values()):
      os.close(fd)
    self._ids, self._buffer, self.events, self.session = itertools.count(1), b"", [], None
    target = self.call("Target.createTarget", url="about:blank")["targetId"]
    attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
    self.session = attached["sessionId"]
    for domain in ("Page", "Runtime", "Log", "Network"):
      self.call(f"{domain}.enable")

  def call(self, method, **params):
    """Sends a command and returns its result."""
    message = {"id": next(self._ids), "method": method, "params": params}
    if self.session:
      message["sessionId"] = self.session
    os.write(self._write, json.dumps(message).encode() + b"\0")
    answer = self._until(lambda m: m.get("id") == message["id"])
    assert "error" not in answer, answer
    return answer["result"]

  def open(self, url):
    """Loads a page and waits for its load event."""
    self.call("Page.navigate", url=url)
    self._until(lambda m: m.get("method") == "Page.loadEventFired")

  def evaluate(self, expression):
    """The value of a JavaScript expression in the page."""
    result = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
    assert "exceptionDetails" not in result, result
    return result["result"].get("value")

  def drag(self, start, end):
    """Moves the mouse from one point to another with the button down."""
    for kind, (x, y) in (
      ("mouseMoved", start),
      ("mousePressed", start),
      ("mouseMoved", end),
      ("mouseReleased", end),
    ):
      button = {"button": "left", "buttons": 1, "clickCount": 1}
      self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **button)

  def close(self):
    """Ends the browser."""
    self._process.terminate()
    self._process.wait(timeout=20)
    os.close(self._write)
    os.close(self._read)

  def _until(self, wanted):
    """Reads messages, keeping events, until one is wanted."""
    deadline = time.monotonic() + DEADLINE
    while True:
      while b"\0" in self._buffer:
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(text)
        if "method" in message:
          self.events.append(message)
        if wanted(message):
          return message
      ready, _, _ = select.select([self._read], [], [], max(0, deadline - time.monotonic()))
      assert ready, "the browser does not answer"
      chunk = os.read(self._read, 1 << 16)
      assert chunk, "the browser has ended"
      self._buffer += chunk


@pytest.fixture(scope="module")
def report(tmp_path_factory):
  """report.html of two methods on three random scenes."""
  root = tmp_path_factory.mktemp("report")
  rng = np.random.default_rng(0)
  for folder in ("visible", "infrared", "one", "two"):
    (root / folder).mkdir()
    for k in range(3):
      levels = rng.integers(0, 256, (48, 64), dtype=np.uint8)
      Image.fromarray(levels).save(root / folder / f"{k}.png")
  request = Request(
    root / "visible",
    root / "infrared",
    {"one": root / "one", "two": root / "two"},
    metrics=("EN", "SF"),
  )
  result = evaluate(request, root, progress=False)
  return root / "report.html", result


@pytest.fixture
def browser(tmp_path):
  browser = Browser(tmp_path / "profile")
  yield browser
  browser.close()


def test_report_works_offline(report, browser):
  path, result = report
  url = path.resolve().as_uri()
  browser.open(url)

  cells = browser.evaluate(
    "Array.from(document.querySelectorAll('#overview tbody tr'), r => r.innerText.split('\\t'))"
  )
  assert [row[0] for row in cells] == ["one", "two", *BASELINES]
  for row in cells:
    for metric, text in zip(("EN", "SF"), row[1:], strict=True):
      mean = result.summary.entries[metric, row[0]].estimate.mean
      assert float(text) == pytest.approx(mean, rel=1e-3)
  assert browser.evaluate("document.querySelectorAll('svg.plot circle').length") == 2 * len(cells)

  # the slider follows the mouse, and moves the boundary of the two pictures
  box = browser.evaluate(
    "(() => { const c = document.querySelector('#cut'); c.scrollIntoView({block: 'center'});"
    " const b = c.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })()"
  )
  middle = (box[0] + box[2] / 2, box[1] + box[3] / 2)
  boundary = (
    "[document.querySelector('#cut').value, getComputedStyle(document.querySelector("
    "'#compare img + img')).clipPath]"
  )
  assert browser.evaluate(boundary) == ["50", "inset(0px 0px 0px 50%)"]
  browser.drag(middle, (box[0] + 0.9 * box[2], middle[1]))
  value, clip = browser.evaluate(boundary)
  assert 80 < int(value) < 100
  assert clip == f"inset(0px 0px 0px {value}%)"

  # choosing a scene and a picture shows them
  shown = (
    "[document.querySelector('#compare img').src ==="
    " document.querySelectorAll('.exhibit')[2].querySelectorAll('img')[3].src,"
    " document.querySelector('#compare img').naturalWidth,"
    " Array.from(document.querySelectorAll('.exhibit'), e => e.hidden)]"
  )
  browser.evaluate(
    "(() => { for (const [id, index] of [['scene', 2], ['left', 3]]) {"
    " const s = document.getElementById(id); s.selectedIndex = index;"
    " s.dispatchEvent(new Event('change')); } })()"
  )
  same, width, hidden = browser.evaluate(shown)
  assert same and width == 64 and hidden == [True, True, False]

  # a heading sorts its column, best first
  browser.evaluate("document.querySelectorAll('#overview th button')[2].click()")
  order = browser.evaluate(
    "Array.from(document.querySelectorAll('#overview tbody tr'),"
    " r => parseFloat(r.cells[2].innerText))"
  )
  assert order == sorted(order, reverse=True) and len(set(order)) > 2

  _assert_quiet(browser.events, url)


def _assert_quiet(events, url):
  """No error in the console, no exception, and no request but for the page and what is in it."""
  methods = [event["method"] for event in events]
  assert "Runtime.exceptionThrown" not in methods
  logged = [e["params"]["entry"] for e in events if e["method"] == "Log.entryAdded"]
  assert not [entry for entry in logged if entry["level"] in ("error", "warning")]
  assert "Runtime.consoleAPICalled" not in methods
  requested = [
    e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
  ]
  assert url in requested
  assert all(r == url or r.startswith("data:") for r in requested)
