"""Our contenders of `fuse` and `train`."""

import json
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from cfi_jax.benchmark.harness import machine, roofline
from cfi_jax.benchmark.harness.spec import Contender, Spec
from cfi_jax.benchmark.harness.timing import timed
from cfi_jax.core import config as config_lib
from cfi_jax.engine import dispatch, memory, sharding
from cfi_jax.engine import loop as trainer
from cfi_jax.engine.feed import Streamed
from cfi_jax.fusion import arrays
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.systems import files as weights
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.inference import geometry, load

NO_LIMIT_MB = 1e6  # of memory: whole images


class _Compiled:
  """What both tasks share: a program compiled in `prepare`, and what is known of it."""

  program: jax.stages.Compiled
  compile_seconds: float
  devices: int = 1

  def facts(self) -> dict[str, float | None]:
    """See `worker.Contender`; XLA counts one device's share."""
    cost = roofline.xla_cost(self.program)
    return {
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
    """See `worker.Contender`."""
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
    self.model = load(spec.file("weights.safetensors"), dtype=spec.dtype)
    self.from_host = lambda: self.model.fuse(*self.images, memory_mb=NO_LIMIT_MB)

  def prepare(self) -> None:
    """Compiles the program of the images' window."""
    size, model = self.images[0].shape[1:], self.model
    grid, padding = model.module.grid, model.module.padding
    bucket = model.bucket(size)
    exact = geometry.fills(size, bucket, padding)
    start, where = geometry.whole(size, bucket, grid, padding, exact)
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
    variables, card = weights.load(spec.file("weights.safetensors"))
    module = weights.model(card.architecture, spec.dtype)

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
    config = config_lib.build(Config, values)
    self.run_ = make_run(config)
    self.devices = self.run_.mesh.size
    with np.load(spec.file("inputs.npz")) as inputs:
      batch = Pair(*(inputs[m][..., None] for m in MODALITIES))
    most = config.steps_per_dispatch
    self.inputs = {
      count: dispatch.put(self.run_.mesh, [batch] * count, most) for count in range(1, most + 1)
    }
    self.state = trainer.initial_state(self.run_)
    self.losses: dict[str, np.ndarray] = {}

  def prepare(self) -> None:
    """Compiles and takes the first step."""
    self.step, self.compile_seconds = timed(lambda: trainer.compile_train_step(self.run_))
    self.program = self.step.compiled
    self.state, metrics = self.step(self.state, (), self.inputs[1])
    first = {k: np.ravel(v)[0] for k, v in jax.device_get(metrics).items()}
    self.losses = {k: np.asarray(v, np.float64) for k, v in first.items()}

  def run(self, count: int) -> None:
    """See `worker.Contender`."""
    last = 0
    for end in dispatch.ends(0, count, self.run_.config.steps_per_dispatch, ()):
      self.state, metrics = self.step(self.state, (), self.inputs[end - last])
      last = end
    jax.block_until_ready((self.state, metrics))

  def output(self) -> dict[str, np.ndarray]:
    """The metrics of the first step: its losses, and more."""
    return self.losses


def make_run(config: Config, steps: int = 1000) -> trainer.Run:
  """A run without images and work directory: enough to compile and take steps."""
  mesh = sharding.make_mesh(config.batch_size)
  procedure = trainer.make_procedure(config, steps)
  fed = Streamed(None, config.input, config.seed, config.batch_size, 0.0)
  return trainer.Run(config, pathlib.Path(), mesh, {}, fed, steps, procedure)


CONTENDERS = {
  "fuse": {"cfi_jax": Folded, "plain_graph": Plain},
  "train": {"cfi_jax": Train},
}


def make(spec: Spec) -> Contender:
  """The contender of that name."""
  return CONTENDERS[spec.task][spec.name](spec)
