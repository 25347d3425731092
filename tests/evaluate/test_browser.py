"""report.html in headless Chromium."""

import numpy as np
import pytest
from chromium import CHROMIUM, Browser, assert_quiet
from PIL import Image

from cfi_jax.evaluate import Request, evaluate
from cfi_jax.systems.baselines import BASELINES

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")


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
    assert float(row[1]) == pytest.approx(result.summary.mean_ranks[row[0]], abs=1e-3)
    for metric, text in zip(("EN", "SF"), row[2:], strict=True):
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
  browser.evaluate("document.querySelectorAll('#overview th button')[1].click()")
  order = browser.evaluate(
    "Array.from(document.querySelectorAll('#overview tbody tr'),"
    " r => parseFloat(r.cells[1].innerText))"
  )
  assert order == sorted(order) and len(set(order)) > 2

  assert_quiet(browser.events, url)
