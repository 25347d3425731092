"""Every public function of image arithmetic refuses images of wrong shape, under jit too.

A function that is new in one of `MODULES` fails `test_every_public_function_is_listed` until it
stands in `CASES` or, where it takes no image, in `WITHOUT`.
"""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cfi_jax.core.types import InputError
from cfi_jax.datasets.world import corruptions, objects
from cfi_jax.fusion import cameras, decoys, interventions, losses, rules
from cfi_jax.fusion.cameras import CameraOptions
from cfi_jax.fusion.decoys import DecoyOptions
from cfi_jax.fusion.interventions import MaskOptions
from cfi_jax.fusion.losses import TargetOptions
from cfi_jax.fusion.rule_options import parse
from cfi_jax.fusion.types import Fusion, Pair
from cfi_jax.images import ops
from cfi_jax.metrics import (
  METRICS,
  catalogue,
  correlation,
  definition,
  fmi,
  fmi_maps,
  gradient,
  information,
  levels,
  mef,
  statistics,
  structure,
  table,
  vif,
  windows,
)
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.isfuse.recipes import UNDECORATED, UNVARIED

MODULES = (
  ops, losses, rules, cameras, decoys, interventions, corruptions, objects, windows, catalogue,
  correlation, definition, fmi, fmi_maps, gradient, information, levels, mef, statistics, structure,
  table, vif,
)  # fmt: skip

ONE, BATCH = jnp.full((9, 10, 1), 0.5), jnp.full((4, 9, 10, 1), 0.5)
RGB = jnp.full((4, 9, 10, 3), 0.5)
PAIR, PAIRS = Pair(ONE, ONE), Pair(BATCH, BATCH)
VALID = Pair(BATCH > 0, BATCH > 1)
GATES = Fusion(fused=None, gates=(BATCH, BATCH[:, ::2, ::2]), features={}, levels=())
VIEW = Fusion(fused=BATCH, gates=(BATCH,), features={}, levels=())
PLAIN = Fusion(fused=BATCH, gates=(), features={}, levels=())
TARGET = TargetOptions(planes=1, exponent=4.0, gain=1.0, spread=0.5, brighter=0.0)
CAMERAS = CameraOptions(**UNVARIED)
DECOYS = DecoyOptions(**UNDECORATED)
MASKS = MaskOptions(holes=(1, 2), size=(2, 3), square_probability=0.5, fill=0.0, darkest=0.5)
KEY = jax.random.key(0)
LEVELS, MAP = np.full((9, 10), 7, np.uint8), jnp.full((9, 10), 7)
OBJECTS = objects.ObjectOptions(threshold=1.0, gap=0, width=2)
SCORED = {"sizes": np.array([[9, 10]] * 4), "names": ("EN",), "convention": "strict"}

# Ways to spoil an image; each must raise, whichever image of the arguments it is done to.
BREAKS = {
  "colour": lambda x: jnp.repeat(x if x.shape[-1] == 1 else x[..., None], 3, -1),
  "size": lambda x: x[:, 1:],
  "missing axis": lambda x: x[0],
  "further axis": lambda x: x[None],
  "batch": lambda x: x[:1],
  "flat": lambda x: x.reshape(x.shape[-3:-1]) if x.ndim == 3 else x[0, ..., 0],
}
GREY = ("colour", "size", "missing axis", "further axis", "flat")  # images that belong together
ANY = ("flat",)  # one image [..., H, W, C]
ONE_GREY = ("colour", "flat")  # one image [..., H, W, 1]
A_MAP = ("colour", "missing axis", "further axis")  # one map [H, W]


def case(breaks, *arguments, **options):
  """A broken argument, and a call that is right."""
  return breaks, arguments, options


CASES = {
  ops.assert_grey: case(GREY, BATCH, PAIRS),
  ops.laplacian: case(ANY, BATCH),
  ops.sobel_magnitude: case(ANY, BATCH),
  ops.blur: case(ANY, BATCH, taps=(0.5, 0.5, 0.5)),
  ops.apply_matrices: case(("size", "flat"), np.eye(9), np.eye(10), BATCH),
  ops.resize: case(ANY, BATCH, height=9, width=10),
  ops.average_pool: case(ANY, BATCH, grid=2),
  ops.mean_map: case(
    ("colour", "missing axis", "further axis", "batch"), (BATCH, BATCH[:, ::2, ::2])
  ),
  losses.consistency: case(GREY, BATCH, VIEW),
  losses.area: case(("colour", "missing axis", "further axis"), GATES, target=0.3),
  losses.entropy: case(("colour", "missing axis", "further axis"), GATES),
  losses.shared_structure: case(GREY, BATCH, PAIRS, share=0.3),
  losses.chroma: case(("size", "missing axis", "further axis", "flat"), RGB, RGB),
  losses.absence: case(GREY, PAIRS, PAIRS, PAIRS),
  losses.filling: case(GREY, BATCH, PLAIN, BATCH > 0),
  losses.one_sided: case(GREY, PAIRS, PAIRS),
  losses.difference: case(GREY, BATCH, PLAIN),
  losses.fusion_parts: case(GREY, ("intensity",), TARGET, BATCH, PAIRS),
  rules.fuse: case(GREY, PAIRS, parse("laplacian"), VALID),
  rules.average: case(GREY, PAIRS, rules.NONE, VALID),
  rules.maximum: case(GREY, PAIRS, rules.NONE, VALID),
  rules.laplacian: case(GREY, PAIRS, rules.NONE, VALID),
  rules.wavelet: case(GREY, PAIRS, parse("wavelet:planes=1").options, VALID),
  rules.wavelet_planes: case(ANY, BATCH, count=1),
  cameras.vary: case(GREY, KEY, PAIR, CAMERAS),
  cameras.vary_batch: case(GREY, KEY, PAIRS, CAMERAS),
  decoys.add: case(GREY, KEY, PAIR, DECOYS),
  decoys.add_to_batch: case(GREY, KEY, PAIRS, DECOYS),
  interventions.apply_masks: case(GREY, PAIRS, PAIRS, fill=0.0),
  interventions.original_view: case(GREY, PAIRS),
  interventions.intervene: case(GREY, "shared", KEY, PAIRS, MASKS),
  corruptions.corrupt: case(GREY, "noise", KEY, PAIRS, 0.1, BATCH),
  objects.contrast_to_noise: case(GREY, BATCH, BATCH.astype(int), slots=1, options=OBJECTS),
  windows.total: case(A_MAP, MAP, 9, 10),
  windows.mean: case(A_MAP, MAP, 9, 10),
  windows.extremes: case(A_MAP, MAP, 9, 10),
  windows.constant: case(A_MAP, MAP, 9, 10),
  windows.extend: case(A_MAP, MAP, 9, 10, margin=1, border="reflect"),
  windows.smooth: case(A_MAP, MAP, taps=windows.uniform(3)),
  windows.moments: case((*A_MAP, "size"), (MAP, MAP), pairs=((0, 1),), taps=windows.uniform(3)),
  windows.halve: case(("missing axis", "further axis"), jnp.full((2, 9, 10), 7.0), 9, 10),
  statistics.centred: case(A_MAP, MAP, 9, 10),
  statistics.doubled_gradient: case(A_MAP, MAP, 9, 10),
  statistics.sobel: case(A_MAP, MAP, 9, 10, border="reflect"),
  fmi_maps.pixels: case(A_MAP, MAP, 9, 10),
  fmi_maps.gradient: case(A_MAP, MAP, 9, 10),
  fmi_maps.edges: case(A_MAP, MAP, 9, 10),
  fmi_maps.cosines: case(A_MAP, MAP, 9, 10),
  table.score_levels: case(
    ("size", "missing axis", "further axis"), *[jnp.full((4, 9, 10), 7)] * 3, **SCORED
  ),
}
for _term in losses.FUSION_TERMS.values():
  CASES[_term] = case(GREY, BATCH, PAIRS)
for _term in losses.TARGET_TERMS.values():
  CASES[_term] = case(GREY, BATCH, PAIRS, target=TARGET)
for _found in interventions.INTERVENTIONS.values():
  CASES[_found.apply] = case(GREY, KEY, PAIR, MASKS)
for _found in corruptions.CORRUPTIONS.values():
  CASES[_found.apply] = case(GREY, KEY, PAIR, 0.2, ONE)
# Functions that take no image, or that check it by an InputError of their own (with own tests).
WITHOUT = {
  ops.statistics_dtype, ops.absolute, ops.staged, ops.mirrored,
  rules.depth, ops.resize_matrix, ops.pool_matrix, ops.to_uint8,
  levels.quantise,
  interventions.sample_mask, interventions.complementary_masks, interventions.get,
  interventions.stand_alone, corruptions.get, windows.inside, windows.area, windows.gaussian,
  windows.uniform, windows.materialize, catalogue.find_metric, catalogue.find_metrics,
  catalogue.make_scorer, catalogue.require_side, catalogue.spell_metrics,
  definition.check_convention, levels.grey_levels, table.read_scores, table.score,
}  # fmt: skip
# Functions of `Images`, which only `Metric.__call__` makes, of images that it has checked.
OF_IMAGES = {getattr(m.function, "func", m.function) for m in METRICS.values()}
OF_IMAGES |= {mef.toolkit_multiscale}


def public(module):
  """The functions that a module defines and gives to others, jitted ones included."""
  for name, found in vars(module).items():
    plain = inspect.unwrap(found) if callable(found) else None
    if inspect.isfunction(plain) and plain.__module__ == module.__name__ and name[0] != "_":
      yield found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_function_is_listed(module):
  listed = {*CASES, *WITHOUT, *OF_IMAGES}
  missing = [f.__name__ for f in public(module) if f not in listed]
  assert not missing, f"{module.__name__}: no shape check is tested of {', '.join(missing)}"


def images(arguments):
  """The leaves of arguments, their tree, and which leaves are images."""
  leaves, tree = jax.tree.flatten(arguments)
  arrays = {k: x for k, x in enumerate(leaves) if isinstance(x, jax.Array | np.ndarray)}
  found = [k for k, x in arrays.items() if x.ndim > 1 and not np.array_equal(x, np.eye(len(x)))]
  return leaves, tree, found


def names(cases):
  return [f"{function.__module__.split('.')[-1]}.{function.__name__}" for function in cases]


@pytest.mark.parametrize("function", CASES, ids=names(CASES))
def test_wrong_shapes_raise(function):
  breaks, arguments, options = CASES[function]
  leaves, tree, found = images(arguments)
  assert found

  def trace(spoilt):
    """Traces the call with some leaves replaced."""

    def call(values):
      changed = [values.get(k, x) for k, x in enumerate(leaves)]
      result = function(*jax.tree.unflatten(tree, changed), **options)
      return result.pair if isinstance(result, interventions.View) else result

    traced = {k: spoilt.get(k, leaves[k]) for k in found}
    jax.eval_shape(call, traced)

  trace({})
  for name in breaks:
    for k in found:
      with pytest.raises(AssertionError, match="(?i)chex"):
        trace({k: BREAKS[name](leaves[k])})
        pytest.fail(f"{name} of image {k} was taken")


@pytest.mark.parametrize("name", BASELINES)
def test_wrong_levels_raise(name):
  baseline = BASELINES[name]
  assert baseline(LEVELS, LEVELS, "x").shape == LEVELS.shape
  for broken in (*A_MAP, "size"):
    for k in (0, 1):
      spoilt = [LEVELS, LEVELS]
      spoilt[k] = np.asarray(BREAKS[broken](spoilt[k]))
      with pytest.raises(AssertionError, match="(?i)chex"):
        baseline(*spoilt, "x")
  with pytest.raises(AssertionError, match="(?i)chex"):
    baseline(LEVELS.astype(float), LEVELS, "x")


@pytest.mark.parametrize("name", METRICS)
def test_metrics_raise(name):
  metric = METRICS[name]
  images = [jnp.full((200, 200), 7)] * 3
  for convention in metric.conventions:
    call = functools.partial(metric, convention=convention)
    for broken in (*A_MAP, "size"):
      for k in range(3):
        spoilt = [*images]
        spoilt[k] = BREAKS[broken](images[k])
        with pytest.raises(InputError):
          jax.eval_shape(call, *spoilt)


def test_a_grey_image_against_colour_sources():
  fused, colour = jnp.ones((4, 8, 8, 1)), jnp.zeros((4, 8, 8, 3))
  with pytest.raises(AssertionError):
    losses.intensity(fused, Pair(colour, colour))
  with pytest.raises(AssertionError):
    losses.intensity(colour, Pair(colour, colour))
