"""The authors' checkpoints in all layouts, strictly."""

import io
import pickle
import sys
import types
import zipfile

import jax
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.systems import files
from cfi_jax.systems.amgfuse import release, torch_names
from cfi_jax.systems.amgfuse.procedure import shapes
from cfi_jax.systems.amgfuse.untrained import UntrainedWarning

FUSION = dict(name="amgfuse", width=16, blocks=(1, 2), heads=(1, 2), refinement=1, mask=True)
FUSION |= dict(gate=True, masked_by="visible", prior="none", fold=1)
RESTORATION = dict(name="restoration", width=4, blocks=(1, 1), heads=(1, 2), refinement=1)
DEAD = {
  "patch_embed_f.proj.weight": np.ones((16, 3, 3, 3), np.float32),
  "encoder_level1_f.0.attn.temperature": np.ones((1, 1, 1), np.float32),
  "mask_processors.3.0.block.0.bias": np.ones(3, np.float32),
  "CA_processors.3.temperature": np.ones((1, 1, 1), np.float32),
  "CA_processors.4.0.block.0.bias": np.ones(3, np.float32),
}


def variables(architecture, trained=True):
  random = np.random.default_rng(0)
  expected = shapes(architecture)

  def leaf(path, shape):
    first = {"scale": 1, "temperature": 1}.get(path[-1].key, 0)
    if path[-1].key in ("scale", "temperature", "bias") and not trained:
      return np.full(shape.shape, first, np.float32)
    return random.normal(size=shape.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(leaf, expected)


def state_of(architecture, prefix="", **options):
  state = torch_names.to_torch(variables(architecture, **options), len(architecture["blocks"]))
  return {prefix + name: array for name, array in state.items()}


@pytest.fixture
def save(tmp_path, monkeypatch):
  """A function that writes a value of dicts and arrays as PyTorch does, without PyTorch."""
  torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

  def rebuild(*arguments):
    raise AssertionError

  torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch"})
  rebuild.__module__, rebuild.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
  utils._rebuild_tensor_v2 = rebuild
  torch._utils = utils
  monkeypatch.setitem(sys.modules, "torch", torch)
  monkeypatch.setitem(sys.modules, "torch._utils", utils)

  class Storage:
    """Bytes of a tensor, by number."""

    def __init__(self, key, size):
      self.key, self.size = key, size

  def write(value, name="checkpoint.pth"):
    contents = []

    class Pickler(pickle._Pickler):
      """Refers to storages by number, and rebuilds tensors of them."""

      dispatch = dict(pickle._Pickler.dispatch)

      def persistent_id(self, thing):
        if isinstance(thing, Storage):
          return ("storage", torch.FloatStorage, thing.key, "cpu", thing.size)
        return None

      def save_array(self, array):
        storage = Storage(str(len(contents)), array.size)
        contents.append(array.astype("<f4").tobytes())
        strides = tuple(s // array.itemsize for s in np.zeros(array.shape, array.dtype).strides)
        self.save_reduce(rebuild, (storage, 0, array.shape, strides, False, None), obj=array)

      dispatch[np.ndarray] = save_array

    stream = io.BytesIO()
    Pickler(stream, 2).dump(value)
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
      archive.writestr("archive/data.pkl", stream.getvalue())
      for key, content in enumerate(contents):
        archive.writestr(f"archive/data/{key}", content)
    return path

  return write


LAYOUTS = {
  "plain": lambda state: state,
  "wrapped": lambda state: {f"module.{name}": array for name, array in state.items()},
  "their trainer": lambda state: {"model": state, "epoch": 7},
  "their release": lambda state: {"AWF": {f"module.{n}": array for n, array in state.items()}},
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("with_restoration", [False, True])
def test_all_layouts_are_read(layout, with_restoration, save):
  state = state_of(FUSION) | DEAD
  state |= state_of(RESTORATION, "res.") if with_restoration else {}
  found, card = files.read(save(LAYOUTS[layout](state)))
  assert (card.system, card.architecture) == ("amgfuse", FUSION)
  jax.tree.map(np.testing.assert_array_equal, found, variables(FUSION))
  names = "CA_processors.3, CA_processors.4, encoder_level1_f, mask_processors.3, patch_embed_f"
  assert f"dropped as unused: {names}{', res' * with_restoration}, " in card.recipe


def test_the_restoration_network_is_read(save):
  found, card = files.read(save({"AWF": state_of(RESTORATION)}))
  assert card.architecture == RESTORATION and "dropped" not in card.recipe
  jax.tree.map(np.testing.assert_array_equal, found, variables(RESTORATION))


@pytest.mark.parametrize("prefix", ["", "res."])
def test_an_untrained_restoration_network_is_warned_of(prefix, save):
  state = state_of(RESTORATION, prefix, trained=False) | (state_of(FUSION) if prefix else {})
  with pytest.warns(UntrainedWarning, match="as before training"):
    files.read(save(state))


NAME = "latent_vi.0.block.0.bias"


@pytest.mark.parametrize(
  ("change", "words"),
  [
    (lambda s: {k: v for k, v in s.items() if k != NAME}, f"missing {NAME}"),
    (lambda s: s | {"more.weight": s[NAME]}, "unexpected more.weight"),
    (lambda s: s | {NAME: s[NAME][:3]}, rf"{NAME}: shape \(3,\) does not fit \(32,\)"),
    (lambda s: s | {f"module.{NAME}": s[NAME]}, "twice, with and without 'module.'"),
    (lambda s: {NAME: s[NAME]}, "neither patch_embed_vi.proj.weight nor patch_embed.proj.weight"),
    (
      lambda s: {k: v for k, v in s.items() if k != "CA_processors.1.temperature"},
      "missing CA_processors.1.temperature",
    ),
  ],
)
def test_what_does_not_fit_is_named(change, words, save):
  path = save(change(state_of(FUSION)))
  with pytest.raises(InputError, match=words) as error:
    release.read_release(path)
  assert str(error.value).startswith(str(path))


def test_names_of_the_full_network_are_those_of_the_release(oracle):
  """Names of the reduced network, which has all names of the full one but for repeated blocks."""
  architecture = dict(FUSION, width=24, blocks=(1, 2, 1, 2), heads=(2, 4, 6, 8))
  own = dict(RESTORATION, width=8, blocks=(1, 1, 1, 1), heads=(1, 2, 4, 8))
  ours = {
    f"{prefix}{torch_names.torch_name(tuple(p.key for p in path[1:]), 4)}"
    for arch, prefix in ((architecture, ""), (own, "res."))
    for path, _ in jax.tree_util.tree_leaves_with_path(shapes(arch))
  }
  theirs = {name.decode() for name in oracle["train/names"]}
  # Named only where they get a gradient: without the dead ones and the frozen restoration network.
  alive, _ = release.split(dict.fromkeys(theirs), architecture)
  assert {name for name in ours if not name.startswith("res.")} == set(alive)
