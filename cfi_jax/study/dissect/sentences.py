"""Sentences that say what a dissection found."""

import itertools
from collections.abc import Iterator

import numpy as np

from cfi_jax.report.estimates import UNDEFINED, Estimate
from cfi_jax.report.markdown import interval, number
from cfi_jax.study.dissect import results
from cfi_jax.study.dissect.dissection import APART, Dissection
from cfi_jax.study.dissect.results import Findings, minus
from cfi_jax.systems.perception.model import MODALITIES


def estimate(found: Findings, *key: str) -> Estimate:
  """The estimate of (model, quantity, condition); undefined where there is none."""
  own = found.get((key[0], key[1], key[2], None))
  return UNDEFINED if own is None else own.estimate


def said(own: Estimate) -> str:
  """The number with its interval."""
  return f"{number(own.mean)} {interval(own)}"


def findings(own: Dissection, found: Findings) -> dict[str, list[str]]:
  """Sentences by section."""
  sections = {
    "Does a network of both images see what only the other image shows?": _joint(own, found),
    "What is lost without an image, and which image is a class owed to?": _owed(own, found),
    "Do the features of both images differ?": _differ(own, found),
    "What does training together change?": _together(own, found),
    "Where are classes in the features, and when?": _meaning(own, found),
    "Is `special` the better strategy?": _strategies(own, found),
  }
  return {title: [*lines] for title, lines in sections.items()}


def _verdict(own: Estimate) -> str:
  if not own.excludes_zero:
    return "no difference beyond chance"
  return "more" if own.mean > 0 else "less"


def _joint(own: Dissection, found: Findings) -> Iterator[str]:
  if not own.scenes.has_carriers:
    return
  words = {results.FOUND: "finds", results.RIGHT: "gives the right class to"}
  for row, (quantity, verb) in itertools.product(own.study.joint, words.items()):
    parts, wins = [], []
    for modality, other in zip(MODALITIES, MODALITIES[::-1], strict=True):
      gain = estimate(found, row, minus(quantity, modality), f"{other} alone")
      parts.append(
        f"{said(gain)} more of the pixels of objects that the {other} image alone shows than "
        f"`{modality}`"
      )
      wins.append(gain.low > 0)
    verdict = "ahead of both" if all(wins) else "not ahead of both by more than chance"
    yield f"`{row}` {verb} {' and '.join(parts)}: {verdict}."
  for row in own.study.joint:
    gains = [
      f"{said(estimate(found, row, minus(results.RIGHT, m), 'both'))} more than `{m}`"
      for m in MODALITIES
    ]
    yield f"Of objects that both images show `{row}` gets right {' and '.join(gains)}."


def _owed(own: Dissection, found: Findings) -> Iterator[str]:
  for row in own.study.order:
    if not own.scenes.has_carriers:
      break
    losses = [
      f"{said(estimate(found, row, results.LOST, f'without {m}, {place}'))} of the pixels of "
      f"objects shown by {place}"
      for m in MODALITIES
      for place in (f"{m} alone",)
    ]
    yield f"`{row}` loses {losses[0]} without the visible image, {losses[1]} without the infrared."
  for row in own.study.joint:
    right, known = 0, 0
    for m, other in zip(MODALITIES, MODALITIES[::-1], strict=True):
      place = f"{m} alone"
      mine, theirs = (estimate(found, row, results.SHARE, f"{k}, {place}") for k in (m, other))
      if not np.isnan(mine.mean) and not np.isnan(theirs.mean):
        known, right = known + 1, right + (mine.low > theirs.high)
    if known:
      yield (
        f"In `{row}` the image that alone shows an object contributes more to its class than the "
        f"other, intervals apart, in {right} of {known} cases."
      )


def levels(found: Findings, row: str) -> list[int]:
  """Levels at which both encoders of a row are compared."""
  conditions = [c for m, q, c, x in found if (m, q, x) == (row, results.CKA, None)]
  return [int(c.removeprefix("level ")) for c in conditions]


def encoding(found: Findings) -> list[str]:
  """Rows with an encoder for each image, `APART` first."""
  return list(dict.fromkeys(m for m, q, _, _ in found if q == results.CKA))


def _differ(own: Dissection, found: Findings) -> Iterator[str]:
  del own
  for row in encoding(found):
    cka, floors, specific = [], [], []
    for k in levels(found, row):
      cka.append(number(estimate(found, row, results.CKA, f"level {k}").mean))
      floors.append(number(estimate(found, row, results.FLOOR, f"level {k}").mean))
      specific.append(
        " / ".join(
          number(estimate(found, row, results.SPECIFIC, f"{m} {k}").mean) for m in MODALITIES
        )
      )
    yield (
      f"`{row}`: CKA of both encoders, from the finest level on, {', '.join(cka)} (floor "
      f"{', '.join(floors)}); the other modality leaves {', '.join(specific)} of the variance of "
      "visible / infrared features unpredicted."
    )
    values = [estimate(found, row, results.CONSISTENT, f"level {k}") for k in levels(found, row)]
    if any(not np.isnan(v.mean) for v in values):
      below = [k for k, v in zip(levels(found, row), values, strict=True) if v.high < 1]
      listed = ", ".join(said(v) for v in values)
      yield (
        f"`{row}`: consistency {listed}; below 1 (modalities differ by more than trainings do) at "
        f"{'level ' + ', '.join(map(str, below)) if below else 'no level'}."
      )


def _together(own: Dissection, found: Findings) -> Iterator[str]:
  del own
  for row in [row for row in encoding(found) if row != APART]:
    kinds: dict[str, list[str]] = {"more": [], "less": []}
    for quantity, conditions in (
      (results.CKA, [f"level {k}" for k in levels(found, row)]),
      (results.SPECIFIC, [f"{m} {k}" for m in MODALITIES for k in levels(found, row)]),
    ):
      for condition in conditions:
        own_estimate = estimate(found, row, minus(quantity, APART), condition)
        if own_estimate.excludes_zero:
          word = "alike" if quantity == results.CKA else "specific"
          kinds[_verdict(own_estimate)].append(f"{word} at {condition} ({said(own_estimate)})")
    listed = [f"{kind} {', '.join(texts)}" for kind, texts in kinds.items() if texts]
    yield (
      f"Encoders of `{row}` are {'; '.join(listed)} than those of networks apart."
      if listed
      else f"Encoders of `{row}` are as alike and as specific as those of networks apart, but for "
      "chance."
    )
    spaces = [f"{m} {k}" for m in MODALITIES for k in levels(found, row)]
    kept = [estimate(found, row, results.TWIN, space) for space in spaces]
    text = f"`{row}` keeps of its twins, by CKA, " + ", ".join(
      f"{space} {said(value)}" for space, value in zip(spaces, kept, strict=True)
    )
    less = [
      space
      for space in spaces
      if estimate(found, row, minus(results.OTHER_TWIN, results.CEILING), space).high < 0
    ]
    if any((row, results.OTHER_TWIN, space, None) in found for space in spaces):
      text += (
        "; less alike to networks of one image of other seeds than these are to each other: "
        f"{', '.join(less) or 'none'}"
      )
    yield f"{text}."


def _meaning(own: Dissection, found: Findings) -> Iterator[str]:
  steps = own.study.tests.steps
  for row in own.study.order:
    spaces = [c for m, q, c, x in found if (m, q, x) == (row, results.SEMANTIC, None)]
    values = [estimate(found, row, results.SEMANTIC, space) for space in spaces]
    known = [(s, v) for s, v in zip(spaces, values, strict=True) if not np.isnan(v.mean)]
    if not known:
      continue
    above = [s for s, v in known if v.low > 0]
    best = max(known, key=lambda one: one[1].mean)
    curve = [found[row, results.SEMANTIC + results.BY_STEP, best[0], float(t)] for t in steps]
    numbers = ", ".join(number(f.estimate.mean) for f in curve)
    yield (
      f"`{row}`: semantic variance is above its null in {len(above)} of {len(known)} spaces, most "
      f"in {best[0]} ({said(best[1])}); there it was {numbers} after "
      f"{', '.join(map(str, steps))} steps."
    )


def _strategies(own: Dissection, found: Findings) -> Iterator[str]:
  if "special" not in own.study.order:
    return
  for row in own.study.strategies:
    if row == "special":
      continue
    parts = []
    for place in results.places(own):
      gain = estimate(found, "special", minus(results.RIGHT, row), place)
      if not np.isnan(gain.mean):
        parts.append(f"{place} {said(gain)}")
    score = estimate(found, "special", minus(results.MIOU, row), "both")
    verdict = {"more": "ahead", "less": "behind"}.get(_verdict(score), _verdict(score))
    yield (
      f"`special` minus `{row}`: mIoU {said(score)}, {verdict}; right pixels of "
      f"{'; of '.join(parts)}."
    )
