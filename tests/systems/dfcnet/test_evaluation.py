"""The evaluation of pose transfer: scores beside trivial transfers, networks of the user's."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from cfi_jax.core import cli
from cfi_jax.evaluate import __main__ as evaluate_command
from cfi_jax.evaluate.transfers import Given, evaluate_transfers
from cfi_jax.keypoints import blazepose
from cfi_jax.metrics import frechet, inception, lpips
from cfi_jax.systems.dfcnet import baselines, scores, trials


def run(*arguments):
  flags, text = evaluate_command.FLAGS, evaluate_command.__doc__
  return cli.status(evaluate_command.main, flags, text, arguments)


def test_transfers_are_scored_beside_the_baselines(values, weights, tmp_path):
  config = values()
  scored = evaluate_transfers(config, weights, "test", tmp_path)
  assert scored.methods == ("people", *baselines.BASELINES)
  means = {m: {s: scored.estimate(m, s).mean for s in scores.DIRECTIONS} for m in scored.methods}
  assert means["truth"]["MSE"] == 0 and np.isnan(means["truth"]["PSNR"])
  assert means["truth"]["SSIM"] == pytest.approx(1) and means["truth"]["identity error"] == 0
  # Before training the network gives the skeleton warp.
  for score in scores.DIRECTIONS:
    assert means["people"][score] == pytest.approx(means["skeleton warp"][score], abs=2e-3), score
  assert means["skeleton warp"]["foreground PSNR"] > means["copy target"]["foreground PSNR"]
  assert means["copy source"]["identity leak"] < means["skeleton warp"]["identity leak"]
  assert means["copy source"]["identity error"] > means["skeleton warp"]["identity error"]
  lines = (tmp_path / "scores.csv").read_text().splitlines()
  assert len(lines) == 1 + len(scored.methods) * len(scores.DIRECTIONS) * 4
  text = (tmp_path / "summary.md").read_text()
  assert "| skeleton warp |" in text and 'the row "truth" has its own error' in text
  first = np.asarray(Image.open(tmp_path / "pictures" / "test-000000.png"))
  assert first.shape == (16, 16 * (2 + len(scored.methods)), 3)
  assert len(list((tmp_path / "pictures").iterdir())) == 4


def test_networks_of_the_user_add_their_scores(values, weights, tmp_path, monkeypatch):
  monkeypatch.setattr(lpips, "load", lambda path: lpips.LPIPS("vgg", {}))
  far = lambda self, made, truth: jnp.abs(made - truth).max((1, 2, 3))  # noqa: E731
  monkeypatch.setattr(lpips.LPIPS, "distance", far)
  monkeypatch.setattr(inception, "load", lambda path: {"scale": 2.0})
  monkeypatch.setattr(inception, "features", lambda params, x: params["scale"] * x.mean((1, 2)))
  seen = []

  def find(picture):
    seen.append(picture)
    return None if len(seen) == 1 else np.full((18, 3), 1.0)

  monkeypatch.setattr(blazepose, "load", lambda path, size: blazepose.BlazePose(find))
  monkeypatch.setattr(blazepose.BlazePose, "find", lambda self, picture: self.run(picture))
  given = Given(lpips="lpips.pth", fid="x/inception.pth", judge="pose.tgz")
  scored = evaluate_transfers(values(), weights, "test", tmp_path, given)
  assert scored.scores == (*scores.DIRECTIONS, "LPIPS")
  lpips_by_method = {m: scored.values[m, "LPIPS"] for m in scored.methods}
  np.testing.assert_allclose(lpips_by_method["truth"], 0, atol=1e-6)
  assert all((v > 0).all() for m, v in lpips_by_method.items() if m != "truth")
  assert scored.fid["truth"] == pytest.approx(0, abs=1e-9)
  source = trials.open_people(values()["data"], "data").source("test")
  (_, samples), *_ = trials.batches(source)
  made = trials.baseline("skeleton warp", None)(samples)
  first, second = (np.asarray(2 * x[:4].mean((1, 2))) for x in (made, samples.truth))
  expected = frechet.frechet_distance(first, second)
  assert scored.fid["skeleton warp"] == pytest.approx(expected, rel=1e-3) and expected > 1e-4
  # Uint8 pictures, of every method in turn; nobody is found in the very first.
  assert seen[0].dtype == np.uint8 and seen[0].shape == (16, 16, 3)
  assert scored.values["people", "missing rate"][0] == 1
  assert scored.values["truth", "missing rate"].max() == 0
  lines = (tmp_path / "scores.csv").read_text().splitlines()
  assert len(lines) == 1 + len(scored.methods) * (1 + len(scored.scores) * 4)
  assert lines[-1] == f"truth,,FID,{scored.fid['truth']:.9g}"
  text, printed = (tmp_path / "summary.md").read_text(), scored.to_text().splitlines()
  assert "| LPIPS ↓ | FID ↓ |" in text and "LPIPS by the network 'vgg' of `lpips.pth`" in text
  assert "FID of 4 made pictures and as many answers" in text and "`inception.pth`" in text
  assert "found by BlazePose, of `pose.tgz`" in text
  assert printed[0].split()[-2:] == ["LPIPS", "FID"] and len({*map(len, printed)}) == 1


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("--visible=x",), "--visible is for fused images; allowed with --config: --weights, --split"),
    (("--split=train",), "--split=train; allowed: test, known, validation"),
    (("--weights=",), "--weights is missing; with --config it is required"),
    (("--weights=medical",), "'isfuse', which transfers no poses"),
    (("--config.data.size=24",), "was trained at 16 pixels and config.data.size is 24"),
    (("--lpips=no.pth",), "no.pth: No such file"),
    (("--fid=no.pth",), "no.pth: No such file"),
    (("--judge=no.tgz",), "no.tgz: does not exist; allowed: that file"),
  ],
)
def test_evaluations_that_cannot_be_are_named(arguments, message, weights, tmp_path, capsys):
  tiny = __file__.replace("test_evaluation.py", "tiny.py")
  given = [f"--config={tiny}", f"--weights={weights}", f"--output={tmp_path}", *arguments]
  assert run(*given) == 2
  assert message in capsys.readouterr().err


def test_the_command_of_evaluation_prints_means(weights, tmp_path, capsys):
  tiny = __file__.replace("test_evaluation.py", "tiny.py")
  given = (f"--config={tiny}", f"--weights={weights}", f"--output={tmp_path / 'out'}")
  assert run(*given, "--split=known") == 0
  printed = capsys.readouterr().out
  assert printed.startswith("mean") and "nearest by pose and colour" in printed
  assert "scored 8 methods on 4 transfers" in printed
  for flag in ("--split=test", "--lpips=x.pth"):
    assert run(flag, f"--output={tmp_path}") == 2
    assert f"{flag} without --config" in capsys.readouterr().err
