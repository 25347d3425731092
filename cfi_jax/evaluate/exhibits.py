"""Pictures of some scenes for the page of an evaluation."""

import os
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

from cfi_jax.data.alignment import Scene, read
from cfi_jax.data.listing import evenly
from cfi_jax.fusion.fuser import Fuser
from cfi_jax.fusion.types import MODALITIES
from cfi_jax.metrics import grey_levels
from cfi_jax.report.page import Exhibit
from cfi_jax.systems.baselines import BASELINES
from cfi_jax.systems.files import label

EXHIBITS = 8  # scenes shown in the report


def places(count: int) -> list[int]:
  """Places among `count` sorted scenes of the up to `EXHIBITS` that are shown."""
  return evenly(count, EXHIBITS)


def make_exhibits(
  fused: Iterable[str],
  weights: str | os.PathLike | None,
  scenes: Iterable[Scene],
  model: Fuser | None,
) -> list[Exhibit]:
  """Pictures of scenes, those of `places`.

  fused: methods whose images are files. weights: what `model` was loaded from.
  """
  exhibits = []
  for scene in scenes:
    visible, infrared = (read(scene.paths[modality]) for modality in MODALITIES)
    pictures = [("visible", visible), ("infrared", infrared)]
    pictures += [(method, read(scene.paths[method])) for method in fused]
    if model is not None:
      picture, details = model.fuse(visible, infrared, return_details=True)
      method = label(weights)
      pictures.append((method, picture))
      if details.gates:
        pictures.append((f"{method}: gate", _gate(details.gates, scene.size)))
    grey = [grey_levels(image, "strict") for image in (visible, infrared)]
    pictures += [
      (method, rule(*grey, scene.name))
      for method, rule in BASELINES.items()
      if method not in MODALITIES
    ]
    flat = tuple((label, p[..., 0] if p.shape[-1:] == (1,) else p) for label, p in pictures)
    exhibits.append(Exhibit(scene.name, flat))
  return exhibits


def _gate(gates: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
  """uint8 [H, W]: the mean of the model's gates [1, h, w, 1], each enlarged to full size."""
  full = [
    np.asarray(
      Image.fromarray(np.asarray(gate, np.float32)[0, ..., 0]).resize(
        size[::-1], Image.Resampling.BILINEAR
      )
    )
    for gate in gates
  ]
  return np.clip(np.round(255 * np.mean(full, axis=0)), 0, 255).astype(np.uint8)
