"""Exported programs: equal to the library at several sizes; files read back; refusals."""

import sys
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core import cli
from cfi_jax.core.types import InputError
from cfi_jax.export import command
from cfi_jax.export.__main__ import FLAGS, main
from cfi_jax.fusion import graphs
from cfi_jax.fusion.graphs import HasGraph
from cfi_jax.images import ops
from cfi_jax.systems import exported, onnx
from cfi_jax.systems.exported import Compared, Entry, Exported
from cfi_jax.systems.files import load_fuser
from cfi_jax.systems.isfuse.inference import geometry
from cfi_jax.systems.isfuse.inference.geometry import Frame

FRAME = 40, 56


def run(*arguments):
  given = cli.parse(FLAGS, arguments)
  given.pop("verbosity")
  return main(given)


def graph_as_exported(graph):
  """The function of a graph as a file's programs."""
  entry = Entry(graph.frame, graph.channels, graph.smallest, "x")
  return Exported([entry], {"x": jax.jit(graph.function)}, {}), entry


@pytest.mark.parametrize("rule", ["wavelet:planes=2", "laplacian", "average"])
def test_graphs_of_rules_equal_the_rules(rule):
  fuser = load_fuser(rule)
  assert isinstance(fuser, HasGraph)
  programs, entry = graph_as_exported(fuser.fusion_graph(FRAME))
  compared = exported.compare(programs, fuser, entry)
  assert compared.largest < 2e-6 and len(compared.sizes) == 3
  assert all(min(size) >= entry.smallest for size in compared.sizes)


@pytest.mark.parametrize("prior", ["none", "wavelet:planes=2,brighter=0.5"])
def test_graphs_of_networks_equal_the_networks(make_small, prior):
  fuser = make_small(padding="reflect", levels=2, prior=prior)
  programs, entry = graph_as_exported(fuser.fusion_graph(FRAME, channels=graphs.GREY))
  assert exported.compare(programs, fuser, entry).largest < 2e-6


@pytest.mark.parametrize("padding", ["zeros", "reflect", "replicate"])
@pytest.mark.parametrize("size", [17, 30, 64])
def test_traced_geometry_is_that_of_numpy(padding, size):
  frame = Frame(padding, 5, 3)
  arguments = -frame.margin, 64 + 2 * frame.margin, frame, (0, np.inf)
  traced = jax.jit(lambda n: geometry.axis(n, *arguments))(jnp.int32(size))
  wanted = geometry.axis(size, *arguments)
  for ours, numpys in zip(jax.tree.leaves(traced), jax.tree.leaves(wanted), strict=True):
    np.testing.assert_allclose(ours, numpys, atol=1e-7)


def test_columns_of_pooling_are_those_of_the_matrix():
  position = np.arange(-3, 23)
  matrix = ops.pool_matrix(20, 7)
  found = ops.pool_matrix(20, 7, position)
  np.testing.assert_array_equal(found[:, 3:23], matrix)
  assert not found[:, :3].any() and not found[:, 23:].any()


def test_what_lies_beside_an_image_does_not_reach_it():
  fuser = load_fuser("wavelet:planes=2")
  graph = fuser.fusion_graph(FRAME, channels=graphs.GREY)
  visible, infrared = exported.make_images(FRAME, 1, 1)
  size = np.array([20, 30], np.int32)
  first = jax.jit(graph.function)(visible, infrared[..., None], size)
  beside = np.ones(FRAME, bool)
  beside[:20, :30] = False
  visible = np.where(beside[None, ..., None], 7.0, visible).astype(np.float32)
  second = jax.jit(graph.function)(visible, infrared[..., None], size)
  np.testing.assert_array_equal(first[:, :20, :30], second[:, :20, :30])


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
  """An exported rule of two frames."""
  pytest.importorskip("flatbuffers", reason="the extra `export` is not installed")
  path = tmp_path_factory.mktemp("export") / "rule.zip"
  assert run("--weights=average", "--sizes=24x32,16x16", "--gray", f"--output={path}") == 0
  return path


def test_a_file_runs_with_jax_alone(archive):
  with zipfile.ZipFile(archive) as file:
    program = jax.export.deserialize(bytearray(file.read("24x32.jax")))
  assert program.platforms == ("cpu", "cuda", "tpu")
  visible, infrared = exported.make_images((24, 32), 1, 3)
  fused = program.call(visible, infrared[..., None], np.array([24, 32], np.int32))
  np.testing.assert_allclose(fused, (visible + infrared[..., None]) / 2, atol=1e-6)


def test_a_file_takes_the_smallest_frame_that_holds_the_images(archive):
  loaded = exported.load(archive)
  assert loaded.about["weights"] == "rule average" and loaded.about["dtype"] == "float32"
  assert loaded.entry((16, 9)).frame == (16, 16) and loaded.entry((17, 9)).frame == (24, 32)
  visible, infrared = exported.make_images((17, 9), 1, 2)
  fused = loaded.fuse(visible, infrared[..., None])
  np.testing.assert_allclose(fused, (visible + infrared[..., None]) / 2, atol=1e-6)
  with pytest.raises(InputError, match="no program takes them; there are: from 8x8 to 16x16"):
    loaded.entry((25, 9))
  with pytest.raises(InputError, match=r"allowed: \[B, H, W, 1\] and"):
    loaded.fuse(np.concatenate([visible] * 3, -1), infrared[..., None])


@pytest.mark.parametrize(
  ("arguments", "said"),
  [
    (("--output={}/x.onnx",), "ends in .zip"),
    (("--output={}/x.zip", "--format=onnx"), "ends in .onnx"),
    (("--output={}/x.onnx", "--format=onnx", "--sizes=16x16,24x24"), "has 2 sizes"),
    (("--output={}/x.zip", "--sizes=16"), "--sizes has '16'; allowed: HEIGHTxWIDTH"),
    (("--output={}/x.zip", "--sizes=7x16"), "both from 8"),
    (("--output={}/x.zip", "--sizes=16x16", "--dtype=bfloat16"), "rules compute in float32"),
  ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, arguments, said):
  pytest.importorskip("flatbuffers", reason="the extra `export` is not installed")
  with pytest.raises(InputError, match=said):
    run("--weights=average", *(a.format(tmp_path) for a in arguments))
  assert not list(tmp_path.iterdir())


def test_nothing_is_written_where_the_programs_differ(tmp_path, monkeypatch):
  pytest.importorskip("flatbuffers", reason="the extra `export` is not installed")
  wrong = Compared((16, 16), ((16, 16),), 1e-3, 1e-6)
  monkeypatch.setattr(command.exported, "compare", lambda *_: wrong)
  with pytest.raises(InputError, match="by at most 1.0e-03.*allowed in float32: 2e-05.*nothing"):
    run("--weights=average", "--sizes=16x16", f"--output={tmp_path}/x.zip")
  assert not list(tmp_path.iterdir())


def test_other_files_are_refused(tmp_path):
  pytest.importorskip("flatbuffers", reason="the extra `export` is not installed")
  (tmp_path / "a.zip").write_bytes(b"PK nothing")
  with pytest.raises(InputError, match=r"a\.zip: no file of exported programs"):
    exported.load(tmp_path / "a.zip")
  with pytest.raises(InputError, match=r"b\.zip: No such file"):
    exported.load(tmp_path / "b.zip")


@pytest.mark.parametrize(
  ("library", "call", "said"),
  [
    ("flatbuffers", exported.require_serialisation, r"cfi_jax\[export\]"),
    ("jax2onnx", onnx.require_converter, r"cfi_jax\[onnx\].*--no-deps"),
  ],
)
def test_missing_extras_are_named(monkeypatch, library, call, said):
  monkeypatch.setitem(sys.modules, library, None)
  with pytest.raises(InputError, match=said):
    call()


def test_onnx_equals_the_rule_at_three_sizes(tmp_path):
  for library in ("jax2onnx", "onnxruntime"):
    pytest.importorskip(library, reason="the extra `onnx` with jax2onnx is not installed")
  path = tmp_path / "x.onnx"
  assert run("--weights=average", "--format=onnx", "--sizes=24x32", f"--output={path}") == 0
  loaded = onnx.load(path)
  assert loaded.about["weights"] == "rule average"
  (entry,) = loaded.entries
  assert entry.frame == (24, 32) and entry.smallest == 8
  compared = exported.compare(loaded, load_fuser("average"), entry, batch=3)
  assert compared.largest < 2e-6 and len(compared.sizes) == 3
