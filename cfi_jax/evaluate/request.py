"""Requests of scores: the images, the scores, and what is refused."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping

from cfi_jax.core.types import InputError
from cfi_jax.data.matching import PLAIN
from cfi_jax.data.naming import Naming
from cfi_jax.evaluate import degraded
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.metrics import find_metrics
from cfi_jax.report.published import Published, read_published
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.files import label

# Metrics by convention. The paper's TNO row has AG by the cddfuse denominator and PSNR by tang's
# definition.
PROTOCOLS: dict[str, tuple[tuple[str, tuple[str, ...]], ...]] = {
  "paper_tno": (("cddfuse", ("AG",)), ("tang", ("PSNR", "EN", "SD", "SF", "CC", "SCD", "Qabf"))),
}


@dataclasses.dataclass(frozen=True)
class Request:
  """The images to score, and the scores.

  visible, infrared: the sources' folders. fused: method -> folder of its images.
  weights: what `systems.files.load_fuser` takes; it fuses the sources and is scored as `label`
    says.
  convention, metrics: see `cfi_jax.metrics`; metrics None is all of the convention.
  compare_to: the method that paired differences refer to; None is the first one given.
  protocol: "" or a name in `PROTOCOLS`, which sets convention and metrics and passes the images of
    `weights` through JPEG, as the paper's were saved.
  naming: the rule of file names; prefixes and suffixes are of the sources.
  clean: folders of the clean images by modality, where the sources are degraded; scores then refer
    to the clean pair, and once more to the given one. {} where they are not.
  restoration: weights that restore visible images before the default weights fuse; with `clean`.
  published: file of published means, see `report.published.read_published`, which are ranked among
    the methods.
  """

  visible: pathlib.Path
  infrared: pathlib.Path
  fused: Mapping[str, pathlib.Path]
  weights: str | os.PathLike | None = None
  convention: str = "tang"
  metrics: tuple[str, ...] | None = None
  compare_to: str | None = None
  protocol: str = ""
  naming: Naming = PLAIN
  clean: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
  restoration: str | os.PathLike | None = None
  published: str | None = None

  @property
  def folders(self) -> dict[str, pathlib.Path]:
    """All folders by label: the sources, the methods, the clean images."""
    folders = {MODALITIES[0]: self.visible, MODALITIES[1]: self.infrared, **self.fused}
    return folders | {degraded.CLEAN[modality]: path for modality, path in self.clean.items()}

  @property
  def parts(self) -> tuple[tuple[str, tuple[str, ...] | None], ...]:
    """Conventions, each with its metrics; None for all."""
    return PROTOCOLS[self.protocol] if self.protocol else ((self.convention, self.metrics),)

  @property
  def methods(self) -> tuple[str, ...]:
    """The methods to judge, without the baselines."""
    return (*self.fused, *((label(self.weights),) if self.weights else ()))

  @property
  def beside(self) -> tuple[str, ...]:
    """Names of the fusions beside the methods where the sources are degraded."""
    return degraded.methods(self.weights, self.restoration) if self.clean else ()


def require(request: Request) -> None:
  """Raises InputError for names and flags that do not go together."""
  if request.protocol:
    if request.protocol not in PROTOCOLS:
      raise InputError(f"unknown protocol {request.protocol!r}; valid: {', '.join(PROTOCOLS)}")
    if request.weights is None:
      raise InputError(f"protocol {request.protocol} fuses with a model: it needs weights")
  else:
    find_metrics(request.metrics, request.convention)
  if request.clean and set(request.clean) != set(MODALITIES):
    given = ", ".join(f"--clean_{modality}={path}" for modality, path in request.clean.items())
    raise InputError(
      f"clean images of one modality, {given}; allowed: --clean_visible and --clean_infrared, or "
      "none"
    )
  if request.restoration is not None and not request.clean:
    raise InputError(
      f"--restoration={request.restoration} is for degraded pairs; name the clean images, too: "
      "--clean_visible and --clean_infrared"
    )
  names = [label(path) for path in (request.weights, request.restoration) if path]
  if request.clean and len({*names, degraded.NOTHING}) <= len(names):
    raise InputError(
      f"--weights and --restoration are scored as {', '.join(names)}; allowed: names of files that "
      f"differ, other than {degraded.NOTHING!r}"
    )
  if request.clean and request.protocol:
    raise InputError(f"--protocol={request.protocol} has no clean images; leave one of both out")
  if not request.methods:
    raise InputError("nothing to score: name fused images (NAME:DIR), weights, or both")
  taken = [*BASELINES, *MODALITIES]
  if request.clean:
    taken += [*degraded.CLEAN.values(), degraded.DEGRADED, degraded.RESTORED, degraded.BOUND]
  for method in request.methods:
    if method in taken:
      names = ", ".join(dict.fromkeys(taken))
      raise InputError(f"the method name {method!r} is taken; taken: {names}")
    taken.append(method)
  known = (*request.methods, *BASELINES)
  known += request.beside
  if request.compare_to is not None and request.compare_to not in known:
    raise InputError(
      f"there is no method {request.compare_to!r} to compare to; methods: {', '.join(known)}"
    )


def read_published_of(request: Request) -> Published | None:
  """The published means; refuses those that cannot stand beside the scores of the request."""
  if request.published is None:
    return None
  flag = f"--baselines={request.published}"
  if request.protocol:
    raise InputError(f"{flag} is of one convention, --protocol mixes several; leave one out")
  if request.clean:
    raise InputError(f"{flag} does not say which pairs it refers to, clean or not; leave it out")
  metrics = [metric.name for metric in find_metrics(request.metrics, request.convention)]
  published = read_published(request.published, request.convention, metrics)
  for method in request.methods:
    if method in published.rows:
      raise InputError(f"the method name {method!r} is taken by {published.title}")
  return published
