"""The choice of a rule's options: what is scored, ranked, kept, and refused."""

import dataclasses

import numpy as np
import pytest
from command_line import ROOT
from PIL import Image

from cfi_jax.core import config as config_lib
from cfi_jax.core.types import InputError
from cfi_jax.fusion import rule_options, rules
from cfi_jax.fusion.types import Pair
from cfi_jax.metrics import Triplet, read_scores, score
from cfi_jax.report import ranks
from cfi_jax.study import options
from cfi_jax.study.options import measure, report
from cfi_jax.study.options.settings import Study

CONFIG = ROOT / "configs" / "rule_options.py"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  """RoadScene with six training pairs, of which two are held out, and one that is too small."""
  root = tmp_path_factory.mktemp("roadscene")
  random = np.random.default_rng(0)
  names = [f"{i}.png" for i in range(7)]
  for folder in ("crop_LR_visible", "cropinfrared"):
    (root / folder).mkdir()
    for i, name in enumerate(names):
      size = (30, 40) if i < 6 else (20, 40)
      Image.fromarray(random.integers(0, 256, size, np.uint8)).save(root / folder / name)
  (root / "train.txt").write_text("".join(f"{name}\n" for name in names[:6]))
  (root / "test.txt").write_text(f"{names[6]}\n")
  return root


def build(root, **changes):
  values = config_lib.load(str(CONFIG)).to_dict()
  assert values.pop("study") == "options"
  values["sets"]["roadscene"] |= {"root": str(root), "validation_fraction": 0.34}
  values |= dict(
    crop=24,
    views=1,
    grid=dict(planes=(2,), gain=(1.0, 1.6), spread=(0.5,), brighter=(0.0,)),
    metrics=("AG", "SD", "PSNR", "Nabf"),
  )
  return config_lib.build(Study, values | changes)


@pytest.fixture(scope="module")
def finished(root, tmp_path_factory):
  """A study that ran, its workdir."""
  study, workdir = build(root), tmp_path_factory.mktemp("options") / "study"
  assert options.run(study, workdir)
  return study, workdir


def test_every_candidate_is_scored_on_held_out_pairs_and_their_views(finished, root):
  study, workdir = finished
  rule = study.candidates[1]
  assert rule == "wavelet:planes=2,exponent=4,gain=1.6,spread=0.5,brighter=0"
  scores = read_scores(measure.file(workdir, "roadscene", rule))
  held_out = study.sources()["roadscene"].names
  assert len(held_out) == 2
  assert set(scores.names) == {label for n in held_out for label in (n, f"{n}, view 1")}
  whole = [
    np.asarray(Image.open(root / folder / f"{held_out[0]}.png"))[3:27, 8:32]
    for folder in ("crop_LR_visible", "cropinfrared")
  ]
  pair = Pair(*(np.float32(x)[..., None] / 255 for x in whole))
  fused = rules.fuse(pair, rule_options.parse(rule))
  levels = np.uint8(np.clip(np.asarray(fused) * 255 + 0.5, 0, 255))[..., 0]
  expected = score([Triplet(rule, "x", *whole, levels)], ("AG", "SD"), "tang", progress=False)
  place = scores.names.index(held_out[0])
  for metric in ("AG", "SD"):
    assert scores.values(metric)[0][place] == pytest.approx(expected.mean(metric, rule), rel=1e-3)


def test_views_differ_from_the_pair_and_come_again(root):
  study = build(root, views=2)
  source = study.sources()["roadscene"]
  found = measure.make_pairs(study, "roadscene", source)
  assert len(found) == 6 and all(p.visible.shape == (24, 24) for p in found.values())
  first = source.names[0]
  views = [found[first], found[f"{first}, view 1"], found[f"{first}, view 2"]]
  assert len({p.visible.tobytes() for p in views}) == 3
  again = measure.make_pairs(study, "roadscene", source)
  assert all(np.array_equal(found[k].infrared, again[k].infrared) for k in found)
  other = measure.make_pairs(build(root, views=2, seed=1), "roadscene", source)
  assert not np.array_equal(other[f"{first}, view 1"].visible, views[1].visible)
  np.testing.assert_array_equal(other[first].visible, views[0].visible)


def test_what_is_scored_is_kept_and_the_table_names_the_choice(finished, capsys):
  study, workdir = finished
  text = (workdir / "options.md").read_text()
  assert "roadscene (4)" in text and "2 variations" not in text and "in 1 variations" in text
  chosen = text.split("Chosen: `")[1].split("`")[0]
  assert chosen in study.candidates
  times = {p: p.stat().st_mtime_ns for p in (workdir / "scores").rglob("*.csv")}
  assert len(times) == 6
  assert options.run(study, workdir)
  assert times == {p: p.stat().st_mtime_ns for p in (workdir / "scores").rglob("*.csv")}
  with pytest.raises(InputError, match="holds another run; differences"):
    options.run(dataclasses.replace(study, views=0), workdir)


def test_the_best_mean_rank_within_the_limit_is_chosen():
  study = build(
    "x",
    sets={"a": HELD, "b": HELD},
    score=("a", "b"),
    beside=("laplacian",),
    limit=dict(metric="Nabf", rule="laplacian", clipped="laplacian"),
  )
  sharp, soft, loud, white = candidates = ("sharp", "soft", "loud", "white")

  def means(ag, sd, nabf):
    return {"AG": ag, "SD": sd, "PSNR": 1.0, "Nabf": nabf}

  limit, best = means(0, 0, 0.5), means(99, 99, 0.1)
  scores = {
    "a": {sharp: means(9, 9, 0.5), soft: means(1, 1, 0.1), loud: means(99, 99, 0.51), white: best},
    "b": {sharp: means(5, 1, 0.5), soft: means(4, 2, 0.1), loud: best, white: best},
  }
  scores = {name: own | {"laplacian": limit} for name, own in scores.items()}
  share = {"laplacian": 0.02, sharp: 0.02, soft: 0.01, loud: 0.0, white: 0.021}

  def choose(scores, candidates=candidates):
    return report.choose(study, candidates, scores, lambda name, rule: share[rule])

  found = choose(scores)
  assert found.limits == {"a": (0.5, 0.02), "b": (0.5, 0.02)}
  # Beside the rules both are first in AG and SD, and level in PSNR: what comes next decides.
  assert [r for own in found.beside.values() for r in own.values()] == pytest.approx([7 / 6] * 4)
  assert found.among["a"] == {sharp: pytest.approx(7 / 6), soft: pytest.approx(11 / 6)}
  assert found.among["b"][sharp] == found.among["b"][soft] == 1.5
  assert found.within == (sharp, soft)
  dull = means(-1, 9, 0.5)
  assert choose({n: own | {sharp: dull} for n, own in scores.items()}).within == (soft, sharp)
  assert choose(scores, (loud, white)).within == ()


def test_clipped_pixels_are_those_that_no_source_has():
  visible, infrared = np.full((16, 16), 10, np.uint8), np.full((16, 16), 250, np.uint8)
  visible[:, 8:], infrared[:, 8:] = 240, 3
  infrared[0] = visible[0] = 255
  pair = Pair(visible, infrared)
  strong = measure.clipped("wavelet:planes=1,gain=9,spread=0.5,brighter=0", {"a": pair})
  weak = measure.clipped("average", {"a": pair})
  assert weak == 0 < 0.05 < strong < 15 / 16


LIMIT = dict(metric="Nabf", rule="laplacian", clipped="wavelet")
HELD = dict(name="roadscene", root="", validation_fraction=0.34)


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"score": ("tno",)}, "config.score: there is no 'tno'; valid: roadscene"),
    ({"sets": {"roadscene": HELD | {"validation_fraction": 0.0}}}, "holds no training pairs out"),
    ({"crop": 8}, "config.crop is 8; allowed: 16 or more"),
    ({"views": -1}, "config.views is -1; allowed: 0 or more"),
    ({"metrics": ("Nabf",)}, "config.metrics has none to rank by; those are AG, SF"),
    ({"rule": "median"}, "config.rule: no rule 'median'; rules: wavelet"),
    ({"beside": ("laplacian", "median")}, "config.beside: no rule 'median'"),
    (
      {"limit": dict(metric="Nabf", rule="maximum", clipped="average"), "beside": ("laplacian",)},
      "rule is 'maximum'",
    ),
    ({"limit": LIMIT | {"clipped": "median"}}, "config.limit.clipped is 'median'; allowed: wavel"),
    ({"limit": LIMIT | {"metric": "SCD"}}, "config.limit.metric is 'SCD'; it is not in"),
    (
      {"limit": LIMIT | {"metric": "AG"}},
      "is 'AG', of which more is better",
    ),
    ({"grid": {"gain": ()}}, "config.grid is .*; allowed: one value or more"),
    ({"grid": {"gian": (1.0,)}}, "no option 'gian'"),
    ({"grid": {"gain": (-1.0,)}}, "gain is -1.0"),
  ],
)
def test_settings_that_choose_nothing_are_named(changes, message, root):
  with pytest.raises(InputError, match=message):
    build(root, **changes)


def test_pairs_smaller_than_the_crop_are_left_out_or_refused(root):
  study = build(root, crop=32)
  with pytest.raises(InputError, match=r"roadscene: no held-out pair has 32x32 pixels or more"):
    measure.make_pairs(study, "roadscene", study.sources()["roadscene"])


def test_brains_are_chosen_on_held_out_cases_of_three_kinds():
  values = config_lib.load(f"{CONFIG}:medical").to_dict()
  del values["study"]
  study = config_lib.build(Study, values)
  assert study.score == ("ct_mri", "pet_mri", "spect_mri") and not study.views
  assert {s["split_by"] for s in study.sets.values()} == {"case"}
  with pytest.raises(InputError, match="no kind 'brain'"):
    config_lib.load(f"{CONFIG}:brain")
  assert set(study.ranked_by) == set(ranks.RANKED)
