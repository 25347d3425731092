"""The protocol `Fuser`: all that the commands ask of a model, and no more."""

import inspect

import jax
import numpy as np
import pytest
from PIL import Image

from cfi_jax import evaluate
from cfi_jax.fuse.finding import find_jobs
from cfi_jax.fuse.jobs import Options, fuse_jobs
from cfi_jax.fusion import arrays
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import Fusion
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.inference.model import Model
from cfi_jax.systems.isfuse.model import make_model

MEMBERS = ("bucket", "devices", "fuse", "fuse_pairs", "reserve", "takes_valid")


class Average:
  """The mean of both images: a fuser without a network."""

  devices = (jax.devices()[0],)
  takes_valid = True

  def reserve(self, sizes, *, memory_mb=None):
    self.reserved = list(sizes)

  def bucket(self, size):
    return size

  def fuse(self, visible, infrared, *, gray=False, return_details=False, memory_mb=None):
    (fused,) = self.fuse_pairs([visible], [infrared], gray=gray)
    gate = np.full((1, *visible.shape[:2], 1), 0.5)
    details = Fusion(fused=fused[None] / 255, gates=(gate,), features={}, levels=())
    return (fused, details) if return_details else fused

  def fuse_pairs(self, visibles, infrareds, *, gray=False, memory_mb=None, valid=None):
    return [(v // 2 + i // 2)[..., :1] for v, i in zip(visibles, infrareds, strict=True)]


@pytest.fixture
def folders(tmp_path):
  random = np.random.default_rng(0)
  for role in ("visible", "infrared"):
    (tmp_path / role).mkdir()
    for name, size in (("a", (48, 50)), ("b", (44, 64))):
      Image.fromarray(random.integers(0, 256, size, np.uint8)).save(tmp_path / role / f"{name}.png")
  return tmp_path / "visible", tmp_path / "infrared", tmp_path / "out"


def test_the_jobs_of_fuse_need_no_more(folders):
  fuser = Average()
  jobs = find_jobs(*folders, ".png").jobs
  done = list(fuse_jobs(fuser, jobs, Options(False, None, 10_000, "")))
  assert [reason for _, reason in done] == ["", ""]
  assert sorted(fuser.reserved) == [(44, 64), (48, 50)]
  one, other, fused = (np.asarray(Image.open(f / "a.png")).astype(int) for f in folders)
  np.testing.assert_array_equal(fused, one // 2 + other // 2)


def test_evaluate_needs_no_more(folders, monkeypatch):
  monkeypatch.setattr(evaluate, "load_fuser", lambda path: Average())
  visible, infrared, output = folders
  request = evaluate.Request(visible, infrared, {}, output / "x", "strict", ("EN", "SD"))
  found = evaluate.evaluate(request, output, progress=False)
  assert found.scores.methods[0] == "x" and found.scores.names == ("a", "b")


def test_the_protocol_and_isfuse_agree():
  assert sorted(name for name in vars(Fuser) if not name.startswith("_")) == sorted(MEMBERS)
  for name in MEMBERS:
    if name not in ("devices", "takes_valid"):
      asked = inspect.signature(getattr(Fuser, name)).parameters
      given = inspect.signature(getattr(Model, name)).parameters
      for parameter in asked.values():
        assert given[parameter.name].default == parameter.default, (name, parameter)


def test_images_are_no_smaller_than_the_network_takes():
  released = make_model(recipes.released().model.to_dict())
  assert released.min_side <= arrays.MIN_SIDE
  side = arrays.MIN_SIDE
  assert arrays.as_image(np.zeros((side, side), np.uint8), "visible").shape == (side, side, 1)
  with pytest.raises(ValueError, match="height and width from 8"):
    arrays.as_image(np.zeros((side - 1, 40), np.uint8), "visible")
