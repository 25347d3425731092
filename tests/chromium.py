"""Headless Chromium for tests, driven over the DevTools protocol on a pipe."""

import itertools
import json
import os
import select
import shutil
import subprocess
import time

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
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


def assert_quiet(events, url):
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
