"""Evaluation of what was fused from degraded pairs: against the clean pair and the given one."""

import csv

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.evaluate import __main__ as command
from cfi_jax.evaluate import degraded
from cfi_jax.metrics import METRICS, read_scores
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.files import load_any, load_fuser

FOLDERS = ("visible", "infrared", "clean_visible", "clean_infrared")


class Restorer:
  """Gives the image half as bright."""

  def restore(self, visible):
    return visible // 2


@pytest.fixture(scope="module")
def root(tmp_path_factory):
  root = tmp_path_factory.mktemp("degraded")
  rng = np.random.default_rng(0)
  for name in ("a", "b"):
    for folder in (*FOLDERS, "mine"):
      (root / folder).mkdir(exist_ok=True)
      Image.fromarray(rng.integers(0, 256, (32, 40), np.uint8)).save(root / folder / f"{name}.png")
  return root


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  """The average stands for the default weights, half of an image for what restores it."""
  monkeypatch.setattr(degraded, "load_fuser", lambda: load_fuser("average"))
  monkeypatch.setattr(degraded, "load_any", lambda path: Restorer())


def run(root, output, *more):
  folders = [f"--{name}={root / name}" for name in FOLDERS]
  given = (f"--fused=mine:{root / 'mine'}", f"--output={output}", "--metrics=CC,SF")
  return cli.status(
    command.main, command.FLAGS, command.__doc__, [*folders, *given, "--convention=strict", *more]
  )


def image(root, folder, name="a"):
  return np.asarray(Image.open(root / folder / f"{name}.png"))


def values(path):
  with open(path, newline="") as file:
    rows = list(csv.DictReader(file))
  return {(r["method"], r["name"], r["metric"]): float(r["value"]) for r in rows}


def test_scores_refer_to_the_clean_pair_and_once_more_to_the_given_one(root, tmp_path, capsys):
  compared = f"--compare_to={degraded.RESTORED}"
  assert run(root, tmp_path, "--restoration=some.safetensors", compared) == 0
  said = capsys.readouterr().out
  assert "restored visible images against clean ones" in said
  clean, given = values(tmp_path / "scores.csv"), values(tmp_path / "scores_given.csv")
  assert set(clean) == set(given)
  methods = ["mine", degraded.DEGRADED, degraded.RESTORED, degraded.BOUND, *BASELINES]
  assert read_scores(tmp_path / "scores.csv").methods == tuple(methods)
  sources = {
    "clean": [image(root, name) for name in FOLDERS[2:]],
    "given": [image(root, name) for name in FOLDERS[:2]],
  }
  average = load_fuser("average").fuse
  fused = {
    "mine": image(root, "mine"),
    degraded.DEGRADED: average(*sources["given"]),
    degraded.RESTORED: average(sources["given"][0] // 2, sources["given"][1]),
    degraded.BOUND: average(*sources["clean"]),
    "visible": sources["given"][0],
  }
  for method, picture in fused.items():
    for found, reference in ((clean, sources["clean"]), (given, sources["given"])):
      expected = METRICS["CC"](*reference, picture, convention="strict").value
      assert found[method, "a", "CC"] == pytest.approx(float(expected), abs=1e-5), method
  restored = values(tmp_path / "restoration.csv")
  truth = np.float64(sources["clean"][0])
  for method, picture in (("degraded", sources["given"][0]), ("some", sources["given"][0] // 2)):
    error = np.square(np.float64(picture) - truth).mean()
    expected = 10 * np.log10(255**2 / error)
    assert restored[method, "a", "PSNR"] == pytest.approx(expected, abs=1e-3)
    assert (method, "b", "SSIM") in restored
  assert (tmp_path / "restoration.md").exists() and (tmp_path / "summary_given.md").exists()


def test_default_weights_that_are_judged_are_not_fused_again():
  rest = (degraded.RESTORED, degraded.BOUND)
  assert degraded.methods("visible-infrared", "r.safetensors") == rest
  assert degraded.methods("medical", "r.safetensors") == (degraded.DEGRADED, *rest)
  usual = load_fuser("average")
  pair = degraded.Pair(np.zeros((8, 8, 1), np.uint8), np.zeros((8, 8, 1), np.uint8))
  for weights in ("visible-infrared", "medical", None):
    beside = degraded.load(weights, None)
    found = tuple(name for name, _ in beside.fuse(pair, pair))
    assert found == degraded.methods(weights, None) and type(beside.usual) is type(usual)


def test_without_clean_images_nothing_is_added(root, tmp_path):
  assert run(root, tmp_path, "--clean_visible=", "--clean_infrared=") == 0
  assert {path.name for path in tmp_path.iterdir()} == {"scores.csv", "summary.md", "report.html"}
  assert read_scores(tmp_path / "scores.csv").methods == ("mine", *BASELINES)


@pytest.mark.parametrize(
  "more, message",
  [
    (("--clean_infrared=",), "one modality, --clean_visible={root}/clean_visible; allow"),
    (("--clean_visible=", "--clean_infrared=", "--restoration=r"), "--restoration=r is for"),
    (("--fused=clean visible:{root}/mine",), "is taken; taken: visible, infrared, average"),
    (("--clean_visible=/nowhere",), "/nowhere"),
    (("--restoration=degraded.safetensors",), "other than 'degraded'"),
    (("--weights=a/net.safetensors", "--restoration=b/net.safetensors"), "as net, net; allowed"),
  ],
)
def test_what_cannot_be_scored_is_refused(root, tmp_path, capsys, more, message):
  assert run(root, tmp_path / "out", *(m.format(root=root) for m in more)) == 2
  assert message.format(root=root) in capsys.readouterr().err
  assert not (tmp_path / "out").exists()


def test_weights_that_fuse_do_not_restore(root, tmp_path, capsys, monkeypatch):
  monkeypatch.setattr(degraded, "load_any", lambda path: load_fuser("average"))
  assert run(root, tmp_path, "--restoration=fuses.safetensors") == 2
  assert "--restoration=fuses.safetensors: these weights do not restore" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["wavelet", "/nowhere.safetensors"])
def test_a_restoration_that_cannot_be_loaded_is_named_with_its_flag(
  root, tmp_path, capsys, monkeypatch, given
):
  monkeypatch.setattr(degraded, "load_any", load_any)
  assert run(root, tmp_path, f"--restoration={given}") == 2
  assert f"--restoration={given}: {given}" in capsys.readouterr().err


class Heads:
  """A fuser that restores both images, too: to the infrared one."""

  devices = ()

  def restore_pair(self, visible, infrared):
    return infrared, visible


def test_the_heads_of_a_fuser_are_scored(root):
  scenes = [
    degraded.Scene("a", (32, 40), {n.replace("_", " "): root / n / "a.png" for n in FOLDERS})
  ]
  scores = degraded.score_restoration(scenes, {"heads": Heads()}, progress=False)
  assert scores.methods == ("degraded", "heads")
  expected = METRICS["SSIM"](
    image(root, "clean_visible"), image(root, "clean_visible"), image(root, "infrared"),
    convention="strict",
  ).value  # fmt: skip
  assert scores.mean("SSIM", "heads") == pytest.approx(float(expected), abs=1e-5)
