"""The table of scores and the batched computation."""

import math

import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.metrics import Row, Scores, Triplet, read_scores, score, table

METRICS = ("EN", "SF")  # a histogram and a mean


def triplet(method, name, size, seed=0):
  rng = np.random.default_rng(seed)
  images = rng.integers(0, 256, (3, *size), dtype=np.uint8)
  return Triplet(method, name, *images)


def test_rows_follow_the_input_whatever_the_sizes():
  triplets = [
    triplet("m", "a", (60, 64), 1),
    triplet("m", "b", (50, 45), 2),
    triplet("n", "a", (60, 64), 3),
    triplet("n", "b", (50, 45), 4),
  ]
  scores = score(triplets, METRICS, "tang", progress=False)
  assert [(r.method, r.name, r.metric) for r in scores.rows] == [
    (t.method, t.name, m) for t in triplets for m in METRICS
  ]
  assert scores.methods == ("m", "n") and scores.names == ("a", "b") and scores.metrics == METRICS
  alone = score(triplets[1:2], METRICS, "tang", progress=False)
  for row in alone.rows:
    index = METRICS.index(row.metric)
    assert scores.values(row.metric)[0, 1] == pytest.approx(row.value, rel=1e-6)
    assert scores.rows[len(METRICS) + index].value == pytest.approx(row.value, rel=1e-6)


def test_batches_give_the_values_of_single_images(monkeypatch):
  """Full and padded batches, as on an accelerator, against one image at a time."""
  triplets = [triplet("m", str(k), (50 + k, 64 - k), k) for k in range(7)]
  single = score(triplets, METRICS, "strict", progress=False)
  monkeypatch.setattr(table, "_batch_size", lambda canvas: 4)
  sizes, measure = [], table.score_levels

  def measured(visible, *given):
    sizes.append(len(visible))
    return measure(visible, *given)

  monkeypatch.setattr(table, "score_levels", measured)
  batched = score(iter(triplets), METRICS, "strict", total=7, progress=False)
  assert sizes == [4, 4]
  assert [r[:4] for r in batched.rows] == [r[:4] for r in single.rows]
  np.testing.assert_allclose(
    [r.value for r in batched.rows], [r.value for r in single.rows], rtol=1e-6
  )


def test_images_below_the_minimum_side_are_marked():
  rows = score([triplet("m", "a", (10, 60))], ["SF", "SSIM"], "strict", progress=False).rows
  by_metric = {row.metric: row for row in rows}
  assert math.isnan(by_metric["SSIM"].value) and by_metric["SSIM"].degenerate
  assert math.isfinite(by_metric["SF"].value) and not by_metric["SF"].degenerate
  exact = score([triplet("m", "a", (11, 60))], ["SF", "SSIM"], "strict", progress=False).rows
  assert table.METRICS["SSIM"].minimum_side("strict") == 11
  assert all(math.isfinite(row.value) and not row.degenerate for row in exact)
  tiny = score([triplet("m", "a", (20, 20))], ["MS_SSIM"], "strict", progress=False)
  assert math.isnan(tiny.rows[0].value) and tiny.rows[0].degenerate


def test_colour_is_scored_on_luma():
  grey = triplet("m", "a", (48, 48))
  colour = Triplet("m", "a", grey.visible, grey.infrared, np.stack([grey.fused] * 3, axis=-1))
  one, other = (score([t], METRICS, "cddfuse", progress=False).rows for t in (grey, colour))
  assert one == other


def test_different_sizes_are_named():
  bad = triplet("net", "007", (48, 48))
  bad = Triplet("net", "007", bad.visible, bad.infrared, bad.fused[:40])
  with pytest.raises(InputError, match=r"net/007.*48x48, 48x48, 40x48"):
    score([bad], METRICS, progress=False)


def test_means_leave_out_degenerate_rows():
  rows = (
    Row("m", "a", "EN", "strict", 2.0, False),
    Row("m", "b", "EN", "strict", 9.0, True),
    Row("m", "c", "EN", "strict", 4.0, False),
    Row("n", "a", "EN", "strict", math.nan, True),
  )
  scores = Scores(rows)
  assert scores.mean("EN", "m") == 3.0
  assert math.isnan(scores.mean("EN", "n"))
  np.testing.assert_array_equal(
    scores.values("EN"), [[2.0, math.nan, 4.0], [math.nan, math.nan, math.nan]]
  )


def test_csv_round_trip(tmp_path):
  rows = (
    Row('a,"b"', "001", "EN", "tang", 1.23456789012, False),
    Row("m", "001", "PSNR", "tang", math.inf, True),
  )
  path = tmp_path / "scores.csv"
  path.write_text(Scores(rows).to_csv())
  assert path.read_text().splitlines()[0] == "method,name,metric,convention,value,degenerate"
  back = read_scores(path)
  assert back.rows[0].value == pytest.approx(rows[0].value, rel=1e-8)
  assert back.rows[0][:4] == rows[0][:4]
  assert back.rows[1] == rows[1]
  with pytest.raises(InputError, match="none.csv: cannot be read"):
    read_scores(tmp_path / "none.csv")
  path.write_text("a,b\n")
  with pytest.raises(InputError, match=r"scores\.csv: expected a header"):
    read_scores(path)
  path.write_text("method,name,metric,convention,value,degenerate\nm,a,EN,tang,x,0\n")
  with pytest.raises(InputError, match="not a table of scores"):
    read_scores(path)


@pytest.mark.parametrize(("side", "canvas"), [(1, 64), (64, 64), (65, 96), (97, 128), (450, 512)])
def test_canvas_sides(side, canvas):
  assert table._canvas_side(side) == canvas


@pytest.mark.parametrize(
  ("shape", "known", "canvas"),
  [
    ((60, 64), [], (64, 64)),
    ((60, 64), [(64, 128)], (64, 128)),  # twice the pixels
    ((60, 64), [(66, 128)], (64, 64)),
    ((60, 64), [(59, 64), (60, 63)], (64, 64)),
    ((60, 64), [(64, 120), (60, 64), (64, 100)], (60, 64)),
    ((64, 100), [(128, 128)], (128, 128)),
  ],
)
def test_a_canvas_that_is_compiled_is_taken_unless_it_is_twice_too_large(shape, known, canvas):
  before = list(known)
  assert table._canvas(shape, known) == canvas
  assert known == [*before, *[canvas] * (canvas not in before)]


@pytest.mark.parametrize(
  ("backend", "canvas", "size"),
  [("cpu", (64, 64), 1), ("gpu", (64, 64), None), ("gpu", (2**14, 2**14), 1)],
)
def test_batches_are_as_large_as_their_pixels_allow(monkeypatch, backend, canvas, size):
  monkeypatch.setattr(table.jax, "default_backend", lambda: backend)
  found = table._batch_size(canvas)
  if size is None:  # the largest power of two that fits
    pixels = canvas[0] * canvas[1]
    assert found & (found - 1) == 0 and found * pixels <= table.BATCH_PIXELS < 2 * found * pixels
  else:
    assert found == size
