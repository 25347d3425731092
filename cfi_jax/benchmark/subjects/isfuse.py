"""ISFuse as the benchmarks know it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from cfi_jax.benchmark.harness import floors
from cfi_jax.benchmark.harness.compiled import Fuse
from cfi_jax.benchmark.harness.images import make_images
from cfi_jax.benchmark.harness.spec import Spec
from cfi_jax.benchmark.harness.timing import timed
from cfi_jax.benchmark.harness.torch_state import to_state
from cfi_jax.benchmark.subjects import Sampled, fused
from cfi_jax.core.types import InputError
from cfi_jax.fusion import arrays
from cfi_jax.fusion.types import MODALITIES, Pair
from cfi_jax.systems import files
from cfi_jax.systems.isfuse import operations
from cfi_jax.systems.isfuse import views as views_lib
from cfi_jax.systems.isfuse.config import Config
from cfi_jax.systems.isfuse.inference import geometry
from cfi_jax.systems.isfuse.model import from_architecture
from cfi_jax.systems.isfuse.procedure import make_pair, make_parts

NO_LIMIT_MB = 1e6  # of memory: whole images
PLAIN = {"model": operations.PLAIN, "fold_views": False}
CHANNELS = dict.fromkeys(MODALITIES, 1)
SCHEDULE = floors.SCHEDULE
STEP_TOLERANCE = 1e-4
images = make_images
rows, dtypes = fused.rows, fused.dtypes


class Folded(Fuse):
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

  def from_device(self, result: jax.Array) -> np.ndarray:
    """The images [B, H, W] inside the windows."""
    fused = np.asarray(result, np.float32)
    rows, columns = (
      slice(s, s + n) for s, n in zip(self.start, self.images[0].shape[1:], strict=True)
    )
    return fused.reshape(fused.shape[:3])[:, rows, columns]


class Plain(Fuse):
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


FUSE = {"plain_graph": Plain, "cfi_jax": Folded}


def streams(config: Config) -> dict[str, Sampled]:
  """See `Subject`."""
  return {"pairs": Sampled(config.batch_size, CHANNELS, make_pair)}


def inputs(config: Config) -> dict[str, np.ndarray]:
  """See `Subject`."""
  return images(config.batch_size, config.input.crop, config.input.crop)


def network(architecture: Mapping[str, Any]) -> floors.Network:
  """The sizes of a model that the floors' counting needs."""
  features = architecture["features"]
  hidden = features // 2 if architecture["gate"] == "released" else 1
  heads = 1 if architecture.get("prior", "none") == "none" else 2
  return floors.Network(features, architecture["grid"], hidden, architecture["levels"], heads)


def fuse_cost(
  architecture: Mapping[str, Any], batch: int, height: int, width: int, dtype: str
) -> floors.Cost:
  """See `Subject`."""
  return floors.fuse_cost(network(architecture), batch, height, width, dtype)


def step_cost(config: Config) -> floors.Cost:
  """See `Subject`; InputError for a model with a prior, whose steps the form in PyTorch lacks."""
  prior = config.model.get("prior", "none")
  if prior != "none":
    raise InputError(f"model.prior is {prior!r}; benchmarks of steps know networks without")
  crop, batch = config.input.crop, config.batch_size
  return floors.train_cost(
    network(config.model), config.loss.views, batch, crop, crop, config.model["dtype"]
  )


def fuse_tolerance(*, exact: bool) -> float:
  """See `Subject`."""
  return 1e-5 if exact else 5e-2


def differ(reference: np.ndarray, fused: np.ndarray) -> float:
  """The largest difference of a pixel."""
  return float(np.abs(reference - fused).max())


def case(config: Config) -> dict[str, Any]:
  """The number of views."""
  return {"views": 1 + len(config.loss.views)}


def settings(config: Config, steps: int) -> dict[str, Any]:
  """See `Subject`."""
  return {
    "model": config.model,
    "views": config.loss.views,
    "momentum": config.statistics.momentum,
    "steps": steps,
    **{k: dataclasses.asdict(getattr(config, k)) for k in ("loss", "optim", "statistics")},
  }


def torch_state(variables: Mapping, architecture: Mapping[str, Any]) -> dict[str, np.ndarray]:
  """See `Subject`."""
  del architecture
  return to_state(variables)


def torch_files(config: Config, pair: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
  """The views of the first step, see `first_views`."""
  return {"inputs": first_views(config, pair)}


def first_views(config: Config, pair: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
  """The views of the first step on the images `pair`, float32 [B, H, W] by "VIEW/MODALITY"."""
  batch = Pair(**{m: pair[m][..., None] for m in MODALITIES})
  key = jax.random.fold_in(jax.random.key(config.seed), 0)
  made = views_lib.make_views(make_parts(config, 1), key, batch)
  return {
    f"{name}/{m}": np.broadcast_to(getattr(view.pair, m)[..., 0], pair[m].shape)
    for name, view in made.items()
    for m in MODALITIES
  }
