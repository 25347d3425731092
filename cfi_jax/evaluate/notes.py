"""Sentences that stand below the tables of an evaluation."""

from collections.abc import Iterator

from cfi_jax.report.markdown import number
from cfi_jax.report.published import Published
from cfi_jax.report.summary import Summary
from cfi_jax.systems.baselines import NOISE, NOISE_LEVELS

RAISED_BY_NOISE = ("AG", "SF", "EN", "EI", "SD")


def of_noise(summary: Summary) -> str:
  """A sentence on the metrics that reward noise, from the noise control."""
  changes = []
  for metric in RAISED_BY_NOISE:
    if metric in summary.metrics:
      plain, noisy = (summary.entries[metric, m].estimate.mean for m in ("average", NOISE))
      changes.append(f"{metric} {number(plain)} → {number(noisy)}")
  if not changes:
    return (
      f"Noise control ({NOISE}, standard deviation {NOISE_LEVELS:g} levels): none of the metrics "
      f"that noise raises ({', '.join(RAISED_BY_NOISE)}) was asked for."
    )
  return (
    f"Noise control: Gaussian noise of {NOISE_LEVELS:g} levels on the plain average, which "
    f"improves no image, changes {', '.join(changes)}. A higher value of these alone is no merit."
  )


def of_published(published: Published, images: int) -> Iterator[str]:
  """Sentences on published means beside the scores of so many images."""
  rows = f"Rows named (published) are the means of {published.title} as they stand there"
  if published.images is None:
    yield f"{rows}; nothing tells whether they are of the {images} images scored here."
  elif published.images == images:
    yield f"{rows}, of {images} images; nothing tells whether they are those scored here."
  else:
    yield f"{rows}, of {published.images} images; {images} were scored here: not the same ones."
  if published.left_out:
    yield f"Columns of other conventions are left out: {', '.join(published.left_out)}."


def of_images(summary: Summary) -> Iterator[str]:
  """A sentence on each metric that is not defined on every image."""
  for metric in summary.metrics:
    entries = [summary.entries[metric, method] for method in summary.methods]
    counts = {entry.method: entry.count for entry in entries if entry.count is not None}
    short = [f"{method} ({n})" for method, n in counts.items() if n < summary.images]
    if short:
      yield (
        f"{metric} is not defined on every one of the {summary.images} images (too small, "
        f"constant, or equal to a source), which its means leave out; images left: "
        f"{', '.join(short)}."
      )
