"""Our side: the contenders of `fuse` and `train`, and all that is measured of the trainer."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from cfi_jax.benchmark.harness import floors, machine, roofline
from cfi_jax.benchmark.harness.spec import Contender, Spec
from cfi_jax.benchmark.harness.timing import timed
from cfi_jax.core import config as config_lib
from cfi_jax.engine import dispatch, feed, memory, programs, sharding
from cfi_jax.engine import run as run_lib
from cfi_jax.engine.procedure import Stream
from cfi_jax.engine.run import Run
from cfi_jax.engine.workdir.record import Identity
from cfi_jax.fusion import arrays
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.systems import files, isfuse
from cfi_jax.systems.isfuse import operations, recipes
from cfi_jax.systems.isfuse import views as views_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.inference import geometry
from cfi_jax.systems.isfuse.model import from_architecture
from cfi_jax.systems.isfuse.procedure import make_pair, make_parts

NO_LIMIT_MB = 1e6  # of memory: whole images
STEPS = 1000  # of a run without images: its schedule ends there


class _Compiled:
  """Common part of both tasks: a program compiled in `prepare`, and its facts."""

  program: jax.stages.Compiled
  compile_seconds: float
  devices: int = 1

  def facts(self) -> dict[str, float | str | None]:
    """See `spec.Contender`; XLA counts one device's share."""
    cost = roofline.xla_cost(self.program)
    return {
      "device": jax.devices()[0].device_kind,
      "compile_seconds": self.compile_seconds,
      "flops": cost.flops * self.devices if cost else None,
      "bytes": cost.bytes * self.devices if cost else None,
      "device_peak_mb": machine.device_peak_mb(),
      "program_mb": memory.needed(self.program) / 1e6,
    }


class _Fuse(_Compiled):
  """Fusing; the subclasses say with which graph."""

  def __init__(self, spec: Spec):
    with np.load(spec.file("inputs.npz")) as inputs:
      self.images = [inputs[m] for m in MODALITIES]
    self.resident = spec.resident
    self.arguments: tuple = ()
    self.start = (0, 0)  # of the images in the program's windows
    self.from_host: Callable[[], np.ndarray]

  def run(self, count: int) -> None:
    """See `spec.Contender`."""
    if not self.resident:
      for _ in range(count):
        self.from_host()
      return
    for _ in range(count):
      result = self.program(*self.arguments)
    jax.block_until_ready(result)

  def output(self) -> dict[str, np.ndarray]:
    """The fused images [B, H, W], float32."""
    if not self.resident:
      return {"fused": self.from_host()}
    fused = np.asarray(self.program(*self.arguments), np.float32)
    rows, columns = (
      slice(s, s + n) for s, n in zip(self.start, self.images[0].shape[1:], strict=True)
    )
    return {"fused": fused.reshape(fused.shape[:3])[:, rows, columns]}


class Folded(_Fuse):
  """`Model.fuse`, or, resident, its program alone."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    self.model = files.load_fuser(spec.file("weights.safetensors"), dtype=spec.dtype)
    self.from_host = lambda: self.model.fuse(*self.images, memory_mb=NO_LIMIT_MB)

  def prepare(self) -> None:
    """Compiles the program of the images' window."""
    size, model = self.images[0].shape[1:], self.model
    bucket, frame = model.bucket(size), model.frame
    exact = geometry.fills(size, bucket, frame)
    start, where = geometry.whole(size, bucket, frame, exact)
    windows = [
      {
        m: arrays.window(image[..., None], start, bucket, model.programs.input_dtype)
        for m, image in zip(MODALITIES, pair, strict=True)
      }
      for pair in zip(*self.images, strict=True)
    ]
    count = len(windows)
    (self.program, arguments), self.compile_seconds = timed(
      lambda: model.programs.prepare("fuse", windows, [where] * count, count)
    )
    self.start = tuple(-s for s in start)
    self.arguments = arguments if self.resident else ()


class Plain(_Fuse):
  """The flax graph that training uses."""

  def __init__(self, spec: Spec):
    super().__init__(spec)
    variables, card = files.load(spec.file("weights.safetensors"))
    module = from_architecture(card.architecture, spec.dtype)

    def forward(variables, visible, infrared):
      pair = Pair(visible[..., None], infrared[..., None])
      return module.apply(variables, pair).fused[..., 0]

    self.forward = jax.jit(forward)
    self.arguments = jax.device_put((variables, *self.images))
    self.from_host = lambda: np.asarray(self.program(self.arguments[0], *self.images))

  def prepare(self) -> None:
    """Compiles."""
    self.program, self.compile_seconds = timed(
      lambda: self.forward.lower(*self.arguments).compile()
    )


class Train(_Compiled):
  """The trainer's own compiled step on a batch that is on the devices."""

  def __init__(self, spec: Spec):
    values = json.loads(spec.file("settings.json").read_text())["config"]
    values["model"] |= spec.model
    if spec.name == "plain_step":  # the reference of all ways of computing
      values["model"] |= operations.PLAIN
      values["fold_views"] = False
    config = config_lib.build(Config, values)
    self.run_ = make_run(config)
    self.devices = self.run_.mesh.size
    with np.load(spec.file("inputs.npz")) as inputs:
      items = {"pairs": {m: inputs[m][..., None] for m in MODALITIES}}
    most = config.steps_per_dispatch
    self.inputs = {
      count: dispatch.put(self.run_.mesh, [items] * count, most) for count in range(1, most + 1)
    }
    self.state = self.run_.initial_state()
    self.losses: dict[str, np.ndarray] = {}

  def prepare(self) -> None:
    """Compiles and takes the first step."""
    self.step, self.compile_seconds = timed(lambda: compile_step(self.run_))
    self.program = self.step.compiled
    self.state, metrics = self._take(self.inputs[1])
    first = {k: np.ravel(v)[0] for k, v in jax.device_get(metrics).items()}
    self.losses = {k: np.asarray(v, np.float64) for k, v in first.items()}

  def run(self, count: int) -> None:
    """See `spec.Contender`."""
    last = 0
    for end in dispatch.ends(0, count, self.run_.config.steps_per_dispatch, ()):
      self.state, metrics = self._take(self.inputs[end - last])
      last = end
    jax.block_until_ready((self.state, metrics))

  def _take(self, inputs: Any) -> tuple[Any, Mapping[str, jax.Array]]:
    return self.step(self.state, {"pairs": ()}, (), inputs)

  def output(self) -> dict[str, np.ndarray]:
    """The metrics of the first step: its losses, and more."""
    return self.losses


def settings(options: SimpleNamespace) -> dict[str, Any]:
  """The values of the config; without --config the released recipe with 2 crops of 256x256."""
  values = options.config
  if values is None:
    values = recipes.released().to_dict()
    values["batch_size"], values["input"]["crop"] = 2, 256
  if options.batch is not None:
    values["batch_size"] = options.batch
  if options.crop is not None:
    values["input"]["crop"] = options.crop
  if options.dtype is not None:
    values["model"]["dtype"] = options.dtype
  return values


def network(architecture: Mapping[str, Any]) -> floors.Network:
  """The sizes of a model that the floors' counting needs."""
  features = architecture["features"]
  hidden = features // 2 if architecture["gate"] == "released" else 1
  return floors.Network(features, architecture["grid"], hidden, architecture["levels"])


def step_cost(config: Config) -> floors.Cost:
  """The needs of a training step of `config.batch_size` samples."""
  crop, batch = config.input.crop, config.batch_size
  return floors.train_cost(
    network(config.model), config.loss.views, batch, crop, crop, config.model["dtype"]
  )


def make_run(config: Config, steps: int = STEPS, mesh: Mesh | None = None) -> Run:
  """A run without images and work directory: enough to compile, and on this machine's devices,
  which are taken without a `mesh`, to take steps."""
  stream = Stream(None, config.batch_size, config.input, make_pair)
  fed = feed.Streamed(stream, dict.fromkeys(MODALITIES, 1), config.seed, 0.0)
  mesh = sharding.make_mesh(config.batch_size) if mesh is None else mesh
  procedure = isfuse.procedure(config, steps)
  return Run(
    config=config,
    workdir=pathlib.Path(),
    mesh=mesh,
    procedure=procedure,
    feeds={"pairs": fed},
    held_out=None,
    constants=(),
    begin=isfuse.begin,
    variables=None,
    identity=Identity(config, {}),
    steps=steps,
  )


def open_run(config: Config, device_gb: float) -> Run:
  """A run without work directory, fed from its data set."""
  chosen = dataclasses.replace(config.input, device_gb=device_gb)
  (stream,) = isfuse.streams(dataclasses.replace(config, input=chosen)).values()
  made = make_run(config, run_lib.count_steps(config, stream))
  return dataclasses.replace(made, feeds={"pairs": feed.choose(stream, config.seed)})


def feed_of(run: Run) -> feed.Feed:
  """The way of the run's pairs to the devices."""
  return run.feeds["pairs"]


def chunks(run: Run, steps: int) -> Iterator[dispatch.Chunk]:
  """The inputs of the trainer's first `steps` steps."""
  most = run.config.steps_per_dispatch
  ends = dispatch.ends(0, steps, most, (run.config.log_every,))
  return dispatch.chunks(run.mesh, feed.items(run.feeds, 0, steps), 0, ends, most)


def load(run: Run) -> dict[str, Any]:
  """The pairs that stay on the devices, if any."""
  return {"pairs": feed_of(run).load(run.mesh)}


def first_weights(run: Run) -> dict:
  """Parameters and statistics before the first step."""
  return jax.device_get(run.initial_state().variables)


def first_views(config: Config, images: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The views of the first step on `images`, float32 [B, H, W] by "VIEW/MODALITY"."""
  batch = Pair(**{m: images[m][..., None] for m in MODALITIES})
  key = jax.random.fold_in(jax.random.key(config.seed), 0)
  made = views_lib.make_views(make_parts(config, 1), key, batch)
  return {
    f"{name}/{m}": np.broadcast_to(getattr(view.pair, m)[..., 0], images[m].shape)
    for name, view in made.items()
    for m in MODALITIES
  }


def parameters(run: Run) -> int:
  """The number of parameters."""
  return sum(x.size for x in jax.tree.leaves(run.state_shapes().params))


compile_step = programs.compile_train_step

CONTENDERS = {
  "fuse": {"cfi_jax": Folded, "plain_graph": Plain},
  "train": {"cfi_jax": Train, "plain_step": Train},
}


def make(spec: Spec) -> Contender:
  """The contender of that name."""
  return CONTENDERS[spec.task][spec.name](spec)
