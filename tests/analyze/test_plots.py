"""Plots of findings: what is drawn, by the axes of the figures."""

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="matplotlib, the extra `analyze`, is not installed")

from cfi_jax.analyze import plots
from cfi_jax.analyze.plots import Panel
from cfi_jax.report.estimates import Estimate
from cfi_jax.report.findings import Finding


def finding(model, quantity, condition, mean, x=np.nan):
  return Finding(model, "part", quantity, condition, Estimate(mean, mean - 0.1, mean + 0.2), 9, x)


def test_similarities_are_a_symmetric_matrix_with_its_numbers():
  found = [
    finding("net", "cka", f"{a} ~ {b}", value)
    for a, b, value in (("v 1", "v 2", 0.25), ("v 1", "i 1", 0.7), ("v 2", "i 1", -0.001))
  ]
  (ax,) = plots._matrices(found, ("other", "net")).axes
  expected = [[1, 0.25, 0.7], [0.25, 1, -0.001], [0.7, -0.001, 1]]
  (image,) = ax.images
  np.testing.assert_allclose(image.get_array(), expected)
  assert image.get_clim() == (0, 1)
  texts = {tuple(map(int, text.get_position())): text for text in ax.texts}
  assert texts[1, 0].get_text() == "0.25" and texts[1, 0].get_color() == "white"
  assert texts[0, 2].get_text() == "0.70" and texts[0, 2].get_color() == "black"
  assert texts[2, 1].get_text() == "0.00"  # without a sign
  assert [label.get_text() for label in ax.get_yticklabels()] == ["v 1", "v 2", "i 1"]
  assert plots._matrices(found, ("other",)) is None


def test_curves_have_their_points_bands_and_ticks():
  found = [finding("net", "effect", "holes", mean, x) for x, mean in ((8, 0.5), (2, 0.3), (4, 0.4))]
  (ax,) = plots._figure([(Panel(("effect",), "size", logarithmic=True), found)], ("a", "net")).axes
  line = ax.lines[0]
  np.testing.assert_allclose(line.get_xydata(), [(2, 0.3), (4, 0.4), (8, 0.5)])
  assert line.get_color() == "C1"
  band = ax.collections[0].get_paths()[0].vertices
  np.testing.assert_allclose([band[:, 1].min(), band[:, 1].max()], [0.2, 0.7], atol=1e-6)
  assert ax.get_xscale() == "log" and list(ax.get_xticks()) == [2, 4, 8]
  assert (ax.get_xlabel(), ax.get_title()) == ("size", "effect")
  assert [text.get_text() for text in ax.get_legend().get_texts()] == ["net", "holes"]


def test_intervals_are_rows_of_models_side_by_side():
  found = [
    finding(model, "mean", condition, mean)
    for model, mean in (("a", 0.4), ("b", 0.6))
    for condition in ("level 1", "level 2")
  ]
  (ax,) = plots._figure([(Panel(("mean",)), found)], ("a", "b")).axes
  for k, (container, mean, shift) in enumerate(
    zip(ax.containers, (0.4, 0.6), (-0.15, 0.15), strict=True)
  ):
    points, _, (bars,) = container
    np.testing.assert_allclose(points.get_xydata(), [(mean, shift), (mean, 1 + shift)])
    assert points.get_color() == f"C{k}"
    segments = np.array(bars.get_segments())
    np.testing.assert_allclose(segments[:, :, 0], [(mean - 0.1, mean + 0.2)] * 2)
  assert [label.get_text() for label in ax.get_yticklabels()] == ["level 1", "level 2"]
  assert ax.get_title() == "mean" and ax.get_ylim()[0] > ax.get_ylim()[1]  # downwards


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (2, (1, 2)), (4, (2, 2)), (5, (2, 3))])
def test_panels_are_arranged_and_no_empty_one_is_left(count, shape):
  panels = [(Panel((f"q{k}",)), [finding("net", f"q{k}", "c", 0.5)]) for k in range(count)]
  figure = plots._figure(panels, ("net",))
  assert len(figure.axes) == count
  assert figure.axes[0].get_subplotspec().get_gridspec().get_geometry() == shape


def test_several_quantities_of_a_panel_are_named_in_its_rows():
  found = [finding("net", quantity, "c", 0.5) for quantity in ("one", "two")]
  (ax,) = plots._figure([(Panel(("one", "two")), found)], ("net",)).axes
  assert [label.get_text() for label in ax.get_yticklabels()] == ["one: c", "two: c"]
  assert ax.get_title() == ""
