"""The contract between the engine and a system: all that either knows of the other.

A system is a package `cfi_jax.systems.NAME` whose names are those of `System`. The engine runs its
`Procedure` on the batches of its streams and knows neither its network nor its samples.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import jax

from cfi_jax.core.types import Array
from cfi_jax.data.pipeline import Input
from cfi_jax.data.source import Source
from cfi_jax.engine.config import Config

State = Any  # a pytree of arrays with an int32 attribute `step`, the number of steps taken
Sample = Any  # a pytree of arrays, one sample of a stream; a batch of them has a leading axis
Batch = dict[str, Sample]  # stream -> samples [rows, ...]
Constants = Any  # a pytree of arrays that no step changes, such as a frozen network's weights
Metrics = dict[str, Array]
Variables = Mapping[str, Any]  # what a weights file keeps, a nested mapping of arrays
Architecture = Mapping[str, Any]  # what a network is built from, as JSON can hold it


@dataclasses.dataclass(frozen=True)
class Stream:
  """An endless stream of samples, a pure function of (seed, position).

  source: the records; all images of a record are cut alike.
  rows: of the global batch that one step takes from the stream.
  input: crops, augmentation, and where the records are kept.
  finish: f({image: float32 [crop, crop, C] in [0, 1]}, key) -> one `Sample`; traced.
  """

  source: Source
  rows: int
  input: Input
  finish: Callable[[dict[str, Array], Array], Sample]


class Evaluation(NamedTuple):
  """Validation of a batch, every array [B] or by name of [B].

  The engine leaves repeats out, averages, and stops a run where a value is not finite.
  values: finite, "loss" among them. scores: NaN where an image has nothing to measure.
  pictures: uint8 [B, H, W] or [B, H, W, 3].
  """

  values: Metrics
  scores: Metrics
  pictures: Array


class Procedure(NamedTuple):
  """Three pure functions, which the engine jits, shards and compiles ahead.

  init: f(key) -> state before the first step.
  train_step: f(state, batch, constants, key) -> (state, metrics); key: of (seed, step) alone.
  eval_step: f(state, samples, constants, key) -> `Evaluation` of held-out samples; key: of the seed
    alone, so that values of different steps compare.
  """

  init: Callable[[Array], State]
  train_step: Callable[[State, Batch, Constants, Array], tuple[State, Metrics]]
  eval_step: Callable[[State, Sample, Constants, Array], Evaluation]


class System(Protocol):
  """A package `cfi_jax.systems.NAME`; the module itself satisfies it.

  Config: the engine's fields and the system's own.
  """

  Config: type[Config]

  def streams(self, config: Any) -> dict[str, Stream]:
    """Opens the training streams by name; raises `InputError` for files that cannot be used."""

  def held_out(self, config: Any) -> Stream | None:
    """Opens the samples to validate on, in order and centred; None without any."""

  def constants(self, config: Any) -> tuple[Constants, dict[str, Any]]:
    """Frozen arrays, and what identifies them in the run's record; ((), {}) for most systems."""

  def procedure(self, config: Any, steps: int) -> Procedure:
    """The procedure of a run of `steps` steps; opens no file."""

  def product(self, config: Any, state: State) -> tuple[Variables, Architecture]:
    """Variables and architecture that a weights file keeps of a state (arrays or shapes)."""

  def begin(self, config: Any, state: State, variables: Variables) -> State:
    """The state before the first step with the variables of `product` in it; traced."""

  def shapes(self, architecture: Architecture) -> Variables:
    """Variables of an architecture as float32 shapes; raises `InputError` for unknown fields."""

  def load(
    self,
    variables: Variables,
    architecture: Architecture,
    *,
    dtype: str = "float32",
    devices: Sequence[jax.Device] | None = None,
  ) -> Any:
    """Inference with the variables of a weights file whose card names the system."""
