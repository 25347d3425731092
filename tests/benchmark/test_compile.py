"""Programs compiled for chips that are not there, and parts of them within budgets.

Where a compiler of the extra `aot` is missing its tests are skipped.
"""

import dataclasses
import re
import types

import jax
import jax.numpy as jnp
import pytest
from command_line import ROOT

from cfi_jax.benchmark import __main__ as command
from cfi_jax.benchmark import compile as part
from cfi_jax.benchmark.flags import PARTS
from cfi_jax.benchmark.harness import chips, hlo, ours
from cfi_jax.benchmark.harness.collectives import Traffic
from cfi_jax.benchmark.harness.estimate import Estimate, estimate
from cfi_jax.benchmark.harness.floors import Cost
from cfi_jax.core import cli
from cfi_jax.core import config as config_lib
from cfi_jax.engine import memory, programs, sharding
from cfi_jax.engine.sharding import SPLIT, WHOLE
from cfi_jax.systems import isfuse
from cfi_jax.systems.isfuse import model as model_lib
from cfi_jax.systems.isfuse import recipes
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.model import CFI

CHIP = chips.Chip("x", "tpu", 16e9, 1e12, 1e14, 1e9, 1e11, 1e-5, {1: "1x1", 8: "2x4"}, "")
EMPTY = Estimate("train", CHIP, 1, 16, Cost(flops=1e11, bytes=2e9))


def given(*arguments):
  """The options of `compile` with these flags."""
  return types.SimpleNamespace(**cli.parse(PARTS["compile"], arguments), command="")


def test_without_a_config_it_is_the_released_recipe():
  values = part.settings(given())
  assert (values["batch_size"], values["input"]["crop"]) == (16, 256)
  assert values["model"] == recipes.released().to_dict()["model"] | {"dtype": "bfloat16"}
  assert part.settings(given("--batch=2"))["batch_size"] == 2
  assert part.settings(given("--dtype=float32"))["model"]["dtype"] == "float32"


@pytest.mark.parametrize(
  "flag, text",
  [
    ("--chip=v9", "--chip=v9; allowed: v5e, v5p, v6e, h100"),
    ("--chips=3", "--chips=3 of TPU v5e; allowed: 1, 4, 8, 16, 32, 64, 128, 256"),
    ("--program=all", "allowed: train, fuse, both"),
    ("--effort=2", "--effort=2.0; allowed: -1 to 1"),
    ("--size=big", "big"),
  ],
)
def test_bad_input(flag, text, capsys):
  assert command.main(["compile", flag]) == 2
  assert text in capsys.readouterr().err


def test_other_systems_are_refused(capsys):
  tiny = ROOT / "tests" / "systems" / "amgfuse" / "tiny.py"
  assert command.main(["compile", f"--config={tiny}"]) == 2
  assert "config.system is 'amgfuse'; `compile` measures isfuse alone" in capsys.readouterr().err


@pytest.mark.parametrize("chip, package", [("v5e", "libtpu"), ("h100", "jax-cuda12-plugin")])
def test_without_the_extra_it_says_so(chip, package, capsys, monkeypatch):
  monkeypatch.setattr(chips, "installed", lambda package: False)
  assert command.main(["compile", f"--chip={chip}"]) == 2
  error = capsys.readouterr().err
  assert package in error and "extra `aot`" in error and error.count("\n") == 1


def test_every_combination_is_a_case(monkeypatch):
  monkeypatch.setattr(chips, "installed", lambda package: True)
  monkeypatch.setattr(chips, "prepare", lambda chip: None)
  found = part.cases(given("--chip=v5e,h100", "--chips=1,8", "--program=both"))
  assert [(one.program, one.chip.name, one.count) for one in found[:3]] == [
    ("train", "TPU v5e", 1),
    ("fuse", "TPU v5e", 1),
    ("train", "TPU v5e", 8),
  ]
  assert len(found) == 8


def test_figures_that_follow_from_others():
  one = dataclasses.replace(EMPTY, bytes=6e9)
  assert one.times_floor == 3 and one.message_seconds == 0
  assert one.bandwidth_seconds == pytest.approx(6e-3)
  assert dataclasses.replace(EMPTY, bytes=1e8).bandwidth_seconds == pytest.approx(1e-3)  # FLOPs
  assert one.samples_per_second == pytest.approx(16 / 6e-3)
  told = dataclasses.replace(one, compiler_seconds=8e-3)
  assert told.samples_per_second == pytest.approx(2000)
  traffic = Traffic({"all-reduce": 30}, 4_000_000, {"f32": 4_000_000}, ())
  many = dataclasses.replace(told, chips=8, traffic=traffic)
  assert many.message_seconds == pytest.approx(30e-5 + 1.75 * 4e-5)
  assert many.samples_per_second == pytest.approx(16 * 8 / (8e-3 + many.message_seconds))


def test_a_failure_is_reported_and_the_others_go_on(monkeypatch, tmp_path, capsys):
  good = dataclasses.replace(
    EMPTY, bytes=6e9, memory=dict(temporary=1, arguments=1, total=2, chip=4)
  )
  bad = dataclasses.replace(EMPTY, failure="out of memory")
  found = iter([bad, good])
  monkeypatch.setattr(chips, "prepare", lambda chip: None)
  monkeypatch.setattr(part, "compile_case", lambda *arguments: next(found))
  output = tmp_path / "compile.json"
  assert command.main(["compile", "--program=both", f"--output={output}"]) == 1
  text = capsys.readouterr().out
  assert text.endswith(output.with_suffix(".txt").read_text() + "\n")
  assert "failed: out of memory" in text and "3.0" in text


def config_of(recipe=recipes.fusion_only, crop=32, **model):
  """A run of 1 sample on every chip, two levels in bfloat16, without validation metrics."""
  values = recipe().to_dict()
  values["batch_size"], values["input"]["crop"], values["validation_metrics"] = 1, crop, ()
  values["masks"]["size"] = (4, 8)
  values["checkpoint"] |= dict(best="loss", direction="lower")
  values["model"] |= {"dtype": "bfloat16", "levels": 2} | model
  return config_lib.build(Config, values)


def test_lowering_makes_no_array_and_does_not_look_at_this_machine(monkeypatch):
  mesh = sharding.make_mesh(1)

  def refuse(*arguments):
    raise AssertionError("looked at the machine")

  config = config_of(features=4, grid=2)
  monkeypatch.setattr(jax, "devices", refuse)
  monkeypatch.setattr(sharding, "to_devices", refuse)
  monkeypatch.setattr(memory, "available", refuse)
  lowered = programs.lower_train_step(ours.make_run(isfuse, config, mesh=mesh))
  text = lowered.as_text(debug_info=True)
  assert "func.func public @main" in text
  # Every layer and part of the step has a scope, by which a trace is read, too.
  found = {hlo.scope(source) for source in re.findall(r'"(jit\([^"]*)"', text)}
  parts = ("objective", "optimizer", "ISFuse.encode", "ISFuse.integrate")
  assert all(any(scope.split("/")[0] == part for scope in found) for part in parts), found
  layers = {"ISFuse.encode/encoder_visible/level2", "ISFuse.integrate/cfi1/refine"}
  assert layers <= found, found


@pytest.fixture(autouse=True)
def on_the_host():
  """JAX looks for its plugins once, and with all platforms asked for that of CUDA needs CUDA."""
  jax.config.update("jax_platforms", "cpu")


def needs(chip):
  """Skips what a compiler that is not installed would compile, and sets JAX up for it."""
  missing = [name for name in chips.PACKAGES[chip.platform] if not chips.installed(name)]
  if missing:
    pytest.skip(f"{' and '.join(missing)}, of the extra `aot`, cannot be found")
  chips.prepare(chip)


def compile_part(name, chip, count, crop=64, batch=4):
  """The estimate of a part of the network, forwards and backwards, `batch` images on a chip."""
  config = config_of(crop=crop)
  mesh, network = chips.make_mesh(chip, count), model_lib.make_model(config.model)
  variables = jax.eval_shape(lambda: model_lib.init(network, jax.random.key(0)))
  images = jax.ShapeDtypeStruct((batch * count, crop, crop, 1), jnp.float32)
  with jax.set_mesh(mesh), part.effort(-1.0):
    network = network.by(model_lib.ways(config.model), crop, crop)

    def encode(variables, images):
      return network.apply(variables, images, "visible", True, method="encode", mutable="moments")

    taken = (images,)
    if name == "cfi1":
      fields = (network.features, network.grid, network.gate, network.operations)
      module = CFI(*fields, network.param_dtype)
      taken = (jax.eval_shape(encode, variables, images)[0][0],) * 2
      variables = {kind: tree["cfi1"] for kind, tree in variables.items()}
    else:
      variables = {
        kind: {"encoder_visible": tree["encoder_visible"]} for kind, tree in variables.items()
      }

    def value(params, others, *taken):
      now = others | {"params": params}
      if name == "cfi1":
        found = module.apply(now, *taken, True, mutable="moments")[0]
      else:
        found = encode(now, *taken)[0]
      return sum(x.astype(jnp.float32).mean() for x in jax.tree.leaves(found))

    def gradients(*arguments):
      return sharding.total(jax.grad(value)(*arguments))

    params, others = variables.pop("params"), variables
    takes = (WHOLE, WHOLE, *[SPLIT] * len(taken))
    mapped = jax.jit(lambda *a: sharding.on_shares(gradients, takes, WHOLE)(*a))
    split, everywhere = sharding.split(mesh), sharding.replicated(mesh)
    shapes = sharding.as_shapes(everywhere, (params, others))
    lowered = mapped.lower(*shapes, *sharding.as_shapes(split, taken))
    compiled = lowered.compile()
  return estimate(Estimate(name, chip, count, batch, Cost(1.0, 1.0)), compiled, 0.0, 0.0), params


# Most MB through memory, MB of temporary memory and messages, of 4 images of 64x64 on every chip.
BUDGETS = {
  ("encoder", "v5e", 8): (290, 35, 9),
  ("encoder", "v5e", 64): (290, 35, 9),
  ("encoder", "v5e", 256): (290, 35, 9),
  ("encoder", "h100", 8): (47, 7.7, 9),
  ("cfi1", "v5e", 1): (106, 23.5, 0),
  ("cfi1", "h100", 1): (58, 8, 0),
}
# The same of a step of one view of one image of 32x32.
STEP_BUDGETS = {"v5e": (224, 25, 17), "h100": (34.2, 5, 34)}


@pytest.mark.parametrize("name, chip, count", BUDGETS)
def test_parts_keep_to_their_budgets(name, chip, count):
  needs(chips.CHIPS[chip])
  found, params = compile_part(name, chips.CHIPS[chip], count)
  check(found, BUDGETS[name, chip, count], sum(x.size for x in jax.tree.leaves(params)))


@pytest.mark.parametrize("chip", STEP_BUDGETS)
def test_the_step_of_a_single_view_keeps_to_its_budget(chip):
  needs(chips.CHIPS[chip])
  config = config_of()
  with part.effort(-1.0):
    found = part.compile_case(part.Case("train", chips.CHIPS[chip], 8), config, (64, 64))
  run = ours.make_run(isfuse, config, mesh=chips.make_mesh(chips.CHIPS[chip], 1))
  check(found, STEP_BUDGETS[chip], ours.parameters(run))


def check(found, budget, parameters):
  """Asserts that a program keeps to its budget, and sends gradients once, in float32."""
  most, temporary, messages = budget
  assert found.bytes / 1e6 <= most and found.memory["temporary"] / 1e6 <= temporary, found.summary
  assert set(found.traffic.kinds) <= {"all-reduce"} and not found.traffic.host
  assert sum(found.traffic.kinds.values()) <= messages, found.traffic
  if messages:  # beside gradients there are statistics, of few numbers
    assert set(found.traffic.dtypes) == {"f32"}
    assert 4 * parameters < found.traffic.bytes < 1.1 * 4 * parameters
