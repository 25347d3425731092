"""The study of quality under weather: what is measured, kept, said and refused."""

import json

import numpy as np
import pytest
from command_line import ROOT
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.fusion.types import Pair
from cfi_jax.metrics import METRICS, grey_levels, read_scores
from cfi_jax.report.crossed import Tally
from cfi_jax.report.estimates import Estimate
from cfi_jax.study import __main__ as command
from cfi_jax.study import weather
from cfi_jax.study.weather import measure, methods, report
from cfi_jax.study.weather import rows as rows_lib
from cfi_jax.study.weather.rows import FUSED, Row
from cfi_jax.study.weather.settings import Cell, Study
from cfi_jax.systems import restoring
from cfi_jax.systems.files import load_fuser
from cfi_jax.weather import __main__ as weather_command

CONFIG = ROOT / "configs" / "weather.py"
HEAVY = Cell("tno", "rain", "heavy", 0)


class Halving:
  """A method that fuses to the mean, restores the visible image to half of it, and counts."""

  devices = ()
  takes_valid = False
  calls = 0

  def reserve(self, sizes, *, memory_mb=None):
    assert list(sizes) == [(24, 28)] * 2

  def bucket(self, size):
    return size

  def fuse(self, visible, infrared, **options):
    return self.fuse_and_restore(visible, infrared)[0]

  def fuse_pairs(self, visibles, infrareds, **options):
    pytest.fail("the study fuses pair by pair")

  def fuse_and_restore(self, visible, infrared):
    type(self).calls += 1
    fused = visible[..., :1] // 2 + infrared // 2
    return fused, *self.restore_pair(visible, infrared)

  def restore_pair(self, visible, infrared):
    return visible // 2, infrared


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """TNO with three pairs, of which two are taken."""
  root = tmp_path_factory.mktemp("tno")
  random = np.random.default_rng(0)
  for modality, channels in (("vi", 3), ("ir", 1)):
    (root / modality).mkdir()
    for name in ("01", "02", "03"):
      image = random.integers(60, 200, (24, 28, channels), np.uint8)
      Image.fromarray(image.squeeze()).save(root / modality / f"{name}.png")
  return root


def values(root, **changes):
  tiny = {
    "roots.tno": root, "score": "('tno',)", "pairs": 2, "kinds": "('rain',)",
    "levels": "('heavy',)", "seeds": "(0,)", "metrics": "('cc',)", "judged": "('average',)",
    "methods.visible_infrared": "maximum", "methods.wavelet": "",
  } | changes  # fmt: skip
  return cli.read([f"--config={CONFIG}", *(f"--config.{k}={v}" for k, v in tiny.items())])


def build(root, **changes):
  given = values(root, **changes)
  assert given.pop("study") == "weather"
  return config_lib.build(Study, given)


@pytest.fixture
def halving(tmp_path, monkeypatch):
  """Weights that `Halving` stands for."""
  load = restoring.load

  def own(path):
    return Halving() if str(path).endswith(".halving") else load(path)

  monkeypatch.setattr(restoring, "load", own)
  Halving.calls = 0
  (tmp_path / "w.halving").write_bytes(b"weights")
  return str(tmp_path / "w.halving")


def test_pairs_are_degraded_as_the_command_does_and_scored_against_clean_ones(
  root, tmp_path, halving, capsys
):
  workdir = tmp_path / "study"
  study = build(root, **{"methods.weather": halving, "judged": "('weather',)"})
  assert weather.run(study, workdir)
  assert Halving.calls == 2  # one pass per pair, though it is fused, restored and fused again
  made = tmp_path / "made"
  flags = [f"--visible={root / 'vi'}", f"--infrared={root / 'ir'}", f"--output={made}"]
  flags += ["--kind=rain", "--level=heavy"]
  assert cli.status(weather_command.main, weather_command.FLAGS, "", flags) == 0
  clean, given = (
    [np.asarray(Image.open(folder / f"{name}.png")) for name in ("01", "03") for folder in folders]
    for folders in ((root / "vi", root / "ir"), (made / "visible", made / "infrared"))
  )
  assert any((a != b).any() for a, b in zip(clean, given, strict=True))
  loaded = methods.load(study)
  columns = {column.name: column.key for column in loaded.fused(HEAVY)}
  restored = {column.name: column.key for column in loaded.restored(HEAVY)}
  maximum = load_fuser("maximum").fuse
  for k, name in ((0, "01"), (2, "03")):
    (visible, infrared), (seen, felt) = clean[k : k + 2], given[k : k + 2]
    felt = felt[..., None]
    expected = {
      "average": load_fuser("average").fuse(seen, felt, gray=True),
      "weather": seen[..., :1] // 2 + felt // 2,
      "weather, then visible_infrared": maximum(seen // 2, felt, gray=True),
    }
    for method, fused in expected.items():
      scores = read_scores(measure.file(workdir, HEAVY, columns[method]))
      levels = [grey_levels(image, "strict") for image in (visible, infrared, fused)]
      truth = METRICS["CC"](*levels, convention="strict").value
      found = scores.values("CC")[0, scores.names.index(name)]
      assert found == pytest.approx(float(truth), abs=1e-5), method
    scores = read_scores(measure.file(workdir, HEAVY, restored["weather"]))
    levels = [np.float64(grey_levels(image, "strict")) for image in (seen // 2, visible)]
    error = np.square(levels[0] - levels[1]).mean()
    found = scores.values("PSNR")[0, scores.names.index(name)]
    assert found == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
  assert read_scores(measure.file(workdir, HEAVY, restored["degraded"])).names == ("01", "03")
  (bound,) = loaded.fused(Cell("tno", "", "", -1))
  assert (workdir / "scores" / "tno" / "clean" / f"{bound.key}.csv").exists()
  rows = [json.loads(line) for line in (workdir / "rows.jsonl").read_text().splitlines()]
  by_method = {(row["of"], row["method"], row["metric"]): row for row in rows}
  own = by_method["fused", "weather", "CC"]
  assert (own["images"], own["seeds"], own["level"]) == (2, 1, "heavy")
  reference = by_method["fused", "visible_infrared", "CC"]
  difference = own["score"]["mean"] - reference["score"]["mean"]
  assert own["difference"]["mean"] == pytest.approx(difference) and reference["difference"] is None
  text = (workdir / "weather.md").read_text()
  assert "## tno: 2 pairs" in text and "weather is ahead of visible_infrared in CC in " in text
  # Nothing is done twice; a method that is added is scored alone.
  before = {path: path.stat().st_mtime_ns for path in workdir.rglob("*.csv")}
  more = {"methods.wavelet": "laplacian", "methods.weather": halving, "judged": "('weather',)"}
  assert weather.run(build(root, **more), workdir)
  assert Halving.calls == 2
  after = {path: path.stat().st_mtime_ns for path in workdir.rglob("*.csv")}
  assert before.items() < after.items() and len(after) == len(before) + 1
  with pytest.raises(InputError, match="holds another run; .*config.pairs: 2, 3"):
    weather.run(build(root, pairs=3), workdir)
  assert "tno: rain-heavy-0" in capsys.readouterr().out


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"score": "('tnno',)"}, "config.score: there is no 'tnno'; valid: msrs, roadscene, tno"),
    ({"pairs": 1}, "config.pairs is 1; allowed: 2 or more, or 0 for all"),
    ({"kinds": "('hail',)"}, "config.kinds: no kind of weather 'hail'; valid: haze"),
    ({"levels": "('heavy','heavy')"}, r"config.levels is \('heavy', 'heavy'\); allowed"),
    ({"levels": "('extreme',)"}, "config.levels: there is no 'extreme'; valid: light, medium"),
    ({"thermal": "warm"}, "config.thermal is 'warm'; valid: physical, attenuated"),
    ({"seeds": "(-1,)"}, "config.seeds has -1; allowed: 0 to 2147483647"),
    ({"reference": "ours"}, "config.reference: there is no 'ours'; valid: average, visible_inf"),
    ({"after": "('wavelet',)"}, "config.after: there is no 'wavelet'; valid: average, visible_inf"),
    ({"judged": "('weather',)"}, "config.judged: there is no 'weather'; valid: average, visible_i"),
    ({"metrics": "('SIM',)"}, "unknown metric 'SIM'"),
    ({"roots.tno": ""}, "config.tests.tno.root is empty; give its folder by --config.roots.NAME"),
    ({"methods.weather": "/no.safetensors"}, "config.methods.weather: /no.safetensors: does not"),
    ({"methods.weather": "average"}, "config.methods: average and weather are the same, average"),
  ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(root, tmp_path, changes, message):
  with pytest.raises(InputError, match=message):
    command.run(values(root, **changes), tmp_path / "study")
  assert not (tmp_path / "study").exists()


def test_cells_are_ordered_so_that_less_is_a_smaller_study(root):
  study = build(root, seeds="(3, 1)", levels="('light','heavy')", kinds="('snow','rain+haze')")
  assert [cell.name for cell in study.cells] == ["clean"] + [
    f"{kind}-{level}-{seed}"
    for seed in (3, 1)
    for kind in ("snow", "rain+haze")
    for level in ("light", "heavy")
  ]
  assert study.protocol.metrics == ("CC",)


def test_a_network_that_restores_alone_fuses_nothing_of_its_own(root):
  class Restorer:
    def restore(self, visible):
      return visible // 2

  study = build(root, **{"methods.weather": "some"})
  models = {"weather": Restorer(), "visible_infrared": load_fuser("average")}
  loaded = methods.Methods(study, models, {"weather": "w", "visible_infrared": "v"})
  assert [column.key for column in loaded.fused(HEAVY)] == ["v", "w-v"]
  pair = Pair(np.full((8, 8, 1), 100, np.uint8), np.full((8, 8, 1), 20, np.uint8))
  made = dict(loaded.apply(pair, ("w-v", "w-restored", "degraded-restored")))
  levels = {key: int(image[0, 0, 0]) for key, image in made.items()}
  assert levels == {"degraded-restored": 100, "w-restored": 50, "w-v": 35}


@pytest.mark.parametrize(("metric", "sign"), [("CC", 1), ("MSE", -1)])
def test_the_reference_and_the_bound_close_nothing(metric, sign, random):
  """Three methods at equal distances, whose images differ less than they do."""
  images = random.uniform(0.1, 0.2, (2, 9))
  tallies = {n: Tally.of(images + sign * k) for k, n in enumerate(("average", "net", "clean"))}
  given = (FUSED, ("tno", "rain", "heavy"), metric)
  reference, net, bound = rows_lib._rows(*given, tallies, "average", "clean")
  assert (reference.difference, reference.closed, bound.closed) == (None, None, None)
  assert net.difference.mean == pytest.approx(sign) and net.closed.mean == pytest.approx(0.5)
  assert bound.difference.mean == pytest.approx(2 * sign)
  assert (net.images, net.seeds, net.method, net.metric) == (9, 2, "net", metric)
  assert net.score.mean == pytest.approx(images.mean() + sign)
  # What is worse than the reference is no bound to close a distance to.
  _, net, _ = rows_lib._rows(*given, tallies, "clean", "average")
  assert net.closed is None and net.difference.mean == pytest.approx(-sign)
  for row in rows_lib._rows(*given, tallies, "average", None):
    assert row.closed is None and (row.difference is None) == (row.method == "average")


def row(level, difference, closed, method="average"):
  score = Estimate(0.5, 0.4, 0.6)
  return Row(FUSED, "tno", "rain", level, method, "CC", 2, 3, score, difference, closed)


def test_findings_count_places_and_name_the_others(root):
  study = build(root)
  rows = [
    row("light", Estimate(0.1, 0.05, 0.2), Estimate(0.1, 0.05, 0.2)),
    row("medium", Estimate(0.1, -0.05, 0.2), Estimate(0.5, 0.2, 0.7)),
    row("heavy", Estimate(-0.1, -0.2, 0.2), None),
    row("heavy", Estimate(9.0, 9.0, 9.0), None, "maximum"),
  ]
  ahead, closes = report.findings(study, rows)
  assert ahead == (
    "- average is ahead of visible_infrared in CC in 2 of 3 places, in 1 by more than chance; not "
    "in tno rain heavy (-0.1000 [-0.2000, 0.2000])."
  )
  assert closes == (
    "- average closes a third of the distance or more in CC in 1 of 1 places of medium and heavy "
    "weather, in 0 by more than chance (1 more have no distance to close)."
  )
