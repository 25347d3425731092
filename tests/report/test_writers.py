"""The Markdown and HTML writers: every value is there, names cannot break the page."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.metrics import Row, Scores
from cfi_jax.report import figures, markdown, page
from cfi_jax.report.estimates import Estimate
from cfi_jax.report.evaluation import write_means, write_page, write_summary
from cfi_jax.report.markdown import number
from cfi_jax.report.page import Cell, Exhibit, table
from cfi_jax.report.plots import interval_plot
from cfi_jax.report.summary import summarise

HOSTILE = '<b>|"x'


@pytest.fixture
def summary():
  rows = [
    Row(method, str(k), metric, "strict", scale * value + k, False)
    for method, value in (("net", 1.0), (HOSTILE, 2.0))
    for k in range(3)
    for metric, scale in (("EN", 1), ("MSE", 10))
  ]
  return summarise(Scores(tuple(rows)), "net")


class Page(html.parser.HTMLParser):
  """Collects the tags with their attributes, and the text of table cells."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.cells, self._open = [], [], None
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    self.tags.append((tag, dict(attrs)))
    if tag == "td":
      self.cells.append("")
      self._open = "td"

  def handle_endtag(self, tag):
    if tag == "td":
      self._open = None

  def handle_data(self, data):
    if self._open:
      self.cells[-1] += data


def test_markdown_holds_all_numbers(summary):
  text = write_summary(summary, ["a note"], "Title <b>")
  assert text.startswith("# Title &lt;b&gt;\n")
  overview = [line for line in text.splitlines() if line.startswith("| net")][0]
  assert overview == "| net | 2.0000 | 2.0000 | **11.000** |"
  assert '| &lt;b&gt;\\|"x | **1.0000** | **3.0000** | 21.000 |' in text and "<b>" not in text
  assert "| method | mean rank ↓ | EN ↑ | MSE ↓ |" in text
  assert "Mean rank: the mean of a row's ranks on EN among" in text
  assert "| 2 | net | 2.0000 | [1.0000, 3.0000] |  |  | 3 |" in text
  assert "1.0000 | [1.0000, 1.0000] | 3 |" in text  # the paired difference
  assert "## Notes\n\n- a note\n" in text
  tables = [line for line in text.splitlines() if line.startswith("|")]
  assert {len(re.findall(r"(?<!\\)\|", line)) for line in tables} == {5, 8}


def test_means_are_printed_in_columns(summary):
  head, ranked, *lines = write_means(summary).splitlines()
  assert len(lines) == len(summary.metrics)
  assert ranked.split() == ["mean", "rank,", "lower", "2.0000", "1.0000*"]
  for metric, line in zip(summary.metrics, lines, strict=True):
    assert line.startswith(f"{metric}, ")
    best = summary.ranked(metric)[0]
    assert f"{number(best.estimate.mean)}*" in line
    assert line.count("*") == sum(e.rank == 1 for e in summary.ranked(metric))
    column = head.index(summary.methods[0]) + len(summary.methods[0])
    mean = summary.entries[metric, summary.methods[0]].estimate.mean
    assert line[:column].rstrip(" *").endswith(number(mean))


def test_conventions_are_named_where_they_are_mixed():
  rows = (Row("m", "0", "AG", "cddfuse", 1.0, False), Row("m", "0", "PSNR", "tang", 2.0, False))
  text = write_summary(summarise(Scores(rows), "m"), [], "T")
  assert "AG (cddfuse) ↑" in text and "PSNR (tang) ↑" in text


def test_no_mean_rank_without_a_score_that_counts():
  rows = (Row("m", "0", "Nabf", "tang", 2e-7, False), Row("m", "0", "CE", "strict", 2.0, False))
  summary = summarise(Scores(rows), "m")
  texts = write_summary(summary, [], "T"), write_means(summary), write_page(summary, [], [], "T")
  assert not any("ean rank" in text for text in texts)
  assert all("0.0000" in text for text in texts)
  assert 'data-value="2e-07"' in texts[2]  # sorted by what it is


def published(summary):
  """The summary of the same scores, with two published methods."""
  rows = [
    Row(method, str(k), metric, "strict", scale * value + k, False)
    for method, value in (("net", 1.0), (HOSTILE, 2.0))
    for k in range(3)
    for metric, scale in (("EN", 1), ("MSE", 10))
  ]
  return summarise(
    Scores(tuple(rows)), "net", {"theirs": {"EN": 2.5, "MSE": 0.125}, "half": {"EN": 9.0}}
  )


def test_published_means_are_rows_without_intervals(summary):
  summary = published(summary)
  assert summary.methods == ("net", HOSTILE, "theirs", "half")
  assert [summary.entries["EN", m].rank for m in summary.methods] == [4, 2, 3, 1]
  assert [summary.entries["MSE", m].rank for m in summary.methods] == [2, 3, 1, None]
  assert summary.mean_ranks == {"net": 4, HOSTILE: 2, "theirs": 3, "half": 1}  # by EN alone
  text = write_summary(summary, [], "T")
  assert "| theirs | 3.0000 | 2.5000 | **0.1250** |" in text
  assert "| 3 | theirs | 2.5000 | - |  |  |  |" in text
  page_text = write_page(summary, [], [], "T")
  assert page_text.count("<circle") == 7 and page_text.count('<line x1="') == 4
  assert "<title>theirs: 2.5000, published</title>" in page_text and "nan" not in page_text


def test_published_methods_are_listed_by_mean_rank(summary):
  means, places = write_means(published(summary)).split("\n\n")
  assert "theirs" not in means and "half" not in means
  lines = [line.rsplit(maxsplit=1) for line in places.splitlines()]
  assert lines == [
    ["by mean", "rank"],
    ["half", "1.0000"],
    [HOSTILE, "2.0000"],
    ["theirs", "3.0000"],
    ["net", "4.0000"],
  ]


@pytest.mark.parametrize(
  ("value", "text"),
  [
    (0.0, "0.0000"),
    (1.23456, "1.2346"),
    (0.0234091, "0.02341"),
    (-0.00123456, "-0.001235"),
    (-0.5, "-0.5000"),
    (62.0659, "62.066"),
    (3436.64, "3436.6"),
    (2.234e-07, "0.0000"),
    (-4.9e-07, "0.0000"),
    (5.1e-07, "0.000001"),
    (-0.0, "0.0000"),
    (1e-3, "0.001000"),
    (0.000999, "0.000999"),
    (1.861e-04, "0.000186"),
    (1.0, "1.0000"),
    (10.0, "10.000"),
    (9999.0, "9999.0"),
    (1e4, "10000"),
    (-12345.6, "-12346"),
    (1.2e9, "1200000000"),
    (float("nan"), "-"),
    (float("inf"), "inf"),
    (float("-inf"), "-inf"),
  ],
)
def test_number(value, text):
  assert number(value) == text


@pytest.mark.parametrize(
  ("mean", "deviation", "text"),
  [
    (2.0, 0.0234, "2.000 ± 0.023"),
    (31.4159, 2.5, "31.4 ± 2.5"),
    (314.159, 250, "314 ± 250"),
    (2.0, 0.0, "2.0000 ± 0"),
    (2.2e-7, 3e-9, "0.0000 ± 0"),
    (-1e-5, 0.02, "0.000 ± 0.020"),
    (0.0123, 3.3e-6, "0.012300 ± 0.000003"),
    (1.5, float("nan"), "1.5000"),
  ],
)
def test_means_with_deviations(mean, deviation, text):
  assert markdown.deviating(mean, deviation) == text


def test_page_is_complete_and_escaped(summary):
  pictures = (
    ("visible", np.zeros((700, 90, 3), np.uint8)),
    (HOSTILE, np.ones((4, 5), np.uint8)),
  )
  exhibits = [Exhibit(HOSTILE + str(k), pictures) for k in range(2)]
  text = write_page(summary, exhibits, ["<i>note</i>"], "Title <1>", ("net",))
  page = Page(text)
  names = [tag for tag, _ in page.tags]
  assert names.count("table") == 3 and names.count("svg") == 2 and names.count("script") == 1
  assert "b" not in names and "i" not in names  # names and notes are text
  assert page.cells[:4] == ["net", "2.0000", "2.0000", "11.000"]
  assert page.cells[4:8] == [HOSTILE, "1.0000", "3.0000", "21.000"]
  assert "<title>Title &lt;1&gt;</title>" in text
  images = [attrs["src"] for tag, attrs in page.tags if tag == "img" and "src" in attrs]
  assert len(images) == 4 and all(src.startswith("data:image/jpeg;base64,") for src in images)
  links = [v for _, attrs in page.tags for k, v in attrs.items() if k in ("src", "href") and v]
  assert all(link.startswith("data:") for link in links)  # nothing is fetched
  assert "http" not in text
  baseline_rows = [attrs for tag, attrs in page.tags if tag == "tr" and "class" in attrs]
  assert len(baseline_rows) == 3


def test_page_without_pictures(summary):
  assert "<img" not in write_page(summary, [], [], "T")


def test_plot_positions_follow_the_values(summary):
  plot = interval_plot(summary.ranked("EN"), "net")
  centres = [float(x) for x in re.findall(r'cx="([\d.]+)"', plot)]
  assert len(centres) == 2 and centres[0] > centres[1]  # best first, higher is further right
  bars = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"', plot)
  for centre, (low, high) in zip(centres, bars, strict=True):
    assert float(low) < centre < float(high)
  assert 'class="mark chosen"' in plot and "&lt;b&gt;" in plot


def test_cells_are_text_sorted_by_numbers():
  text = table("x", ["<a>", "b"], [(HOSTILE, [Cell("<1>", 0.25, True)]), ("c", [Cell("-")])])
  assert "<b>" not in text and "<1>" not in text
  assert '<td data-value="0.25" class="best">&lt;1&gt;</td>' in text and "<td>-</td>" in text


def test_markdown_is_made_of_plain_lines():
  assert markdown.table(["a", "b"], [["1", "2"], ["3", "4"]]).splitlines() == [
    "| a | b |",
    "| --- | --- |",
    "| 1 | 2 |",
    "| 3 | 4 |",
  ]
  assert markdown.document("T", ["p", "q"]) == "# T\n\np\n\nq\n"
  assert markdown.document("T", [], ["n", "m|"]) == "# T\n\n## Notes\n\n- n\n- m\\|\n"
  assert markdown.interval(Estimate(0.5, 0.25, 1.0)) == "[0.2500, 1.0000]"
  assert markdown.interval(Estimate(float("nan"), 0.25, 1.0)) == "-"


def shown(count):
  grey, tall = np.full((700, 350), 9, np.uint8), np.full((10, 20, 3), 200, np.uint8)
  return tuple((f"p{k}", (grey, tall)[k % 2]) for k in range(count))


@pytest.mark.parametrize(
  ("count", "chosen"), [(2, ["p0", "p1"]), (3, ["p1", "p2"]), (1, ["p0"] * 2)]
)
def test_two_pictures_are_chosen_and_the_first_scene_shown(count, chosen):
  text = page.pictures([Exhibit(name, shown(count)) for name in ("s", "t", "u")])
  assert re.findall(r"<option selected>([^<]*)", text) == ["s", *chosen]
  assert re.findall(r'<div class="exhibit"( hidden)?>', text) == ["", " hidden", " hidden"]


def test_pictures_are_made_small_and_never_larger():
  text = page.pictures([Exhibit("s", shown(2))])
  sizes = [
    Image.open(io.BytesIO(base64.b64decode(data))).size
    for data in re.findall(r"base64,([^\"]*)", text)
  ]
  assert sizes == [(160, 320), (20, 10)]


def test_headings_say_which_direction_comes_first():
  text = table("x", ["method", "EN", "MSE"], [("a", [])], {"EN": "higher"}, ("a",))
  assert re.findall(r'data-direction="(\w+)">(\w+)', text) == [
    ("lower", "method"),
    ("higher", "EN"),
    ("lower", "MSE"),
  ]
  assert '<tr class="baseline"><td>a</td>' in text


@pytest.mark.parametrize(("length", "drawn"), [(22, "n" * 22), (23, "n" * 21 + "…")])
def test_long_names_are_cut_in_plots(length, drawn):
  rows = (Row("n" * length, "0", "EN", "strict", 1.0, False),)
  entries = summarise(Scores(rows), "n" * length).ranked("EN")
  assert f">{drawn}</text>" in interval_plot(entries, "")


def test_a_plot_spans_its_intervals_and_marks_their_ends():
  rows = [
    Row(m, str(k), "EN", "strict", v + k, False)
    for m, v in (("a", 0.0), ("b", 4.0))
    for k in (0, 1)
  ]
  text = interval_plot(summarise(Scores(tuple(rows)), "a").ranked("EN"), "a")
  ticks = re.findall(r'class="tick" x="([\d.]+)" y="[\d.]+" text-anchor="middle">([^<]+)', text)
  assert [label for _, label in ticks] == ["0.0000", "2.5000", "5.0000"]
  places = [float(x) for x, _ in ticks]
  assert places[1] == pytest.approx((places[0] + places[2]) / 2, abs=0.1)
  assert 150 < places[0] < 170 and 430 < places[2] < 450
  bars = re.findall(r'<line x1="([\d.]+)" x2="([\d.]+)"', text)
  assert [float(x) for bar in reversed(bars) for x in bar] == pytest.approx(
    [places[0], places[0] + (places[2] - places[0]) / 5, places[2] - (places[2] - places[0]) / 5,
     places[2]], abs=0.2
  )  # fmt: skip
  flat = (Row("a", "0", "EN", "strict", 3.0, False), Row("a", "1", "EN", "strict", 3.0, False))
  assert "nan" not in interval_plot(summarise(Scores(flat), "a").ranked("EN"), "a")
  none = (Row("a", "0", "EN", "strict", 3.0, True),)
  assert interval_plot(summarise(Scores(none), "a").ranked("EN"), "a").startswith("<p>no image")


def test_a_plot_is_an_image_of_the_page_under_its_label():
  found = page.chart('a "<b>"', b"<svg/>")
  assert base64.b64encode(b"<svg/>").decode() in found
  assert found.count("a &quot;&lt;b&gt;&quot;") == 2 and "<b>" not in found


def test_figures_are_the_same_bytes_each_time_in_both_formats():
  figure = pytest.importorskip("matplotlib.figure").Figure
  drawn = []
  for _ in range(2):
    made = figure((2, 1), layout="constrained")
    made.subplots().plot([0, 1], [2, 3])
    drawn.append(figures.save("x", made))
  assert drawn[0] == drawn[1] and list(drawn[0]) == ["x.png", "x.svg"]
  with Image.open(io.BytesIO(drawn[0]["x.png"])) as picture:
    assert picture.size == (300, 150)
  assert b"</svg>" in drawn[0]["x.svg"] and b"<dc:date>" not in drawn[0]["x.svg"]


def test_without_matplotlib_there_is_a_word_on_it(monkeypatch):
  figures.require_matplotlib()
  monkeypatch.setattr(figures.importlib.util, "find_spec", lambda name: None)
  with pytest.raises(InputError, match="matplotlib is not installed, .*pip install -e"):
    figures.require_matplotlib()
