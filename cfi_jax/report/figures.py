"""Figures of matplotlib, which is optional: the extra `analyze` installs it."""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING

from cfi_jax.core.types import InputError

if TYPE_CHECKING:
  from matplotlib.figure import Figure

FORMATS = ("png", "svg")


def require_matplotlib() -> None:
  """Raises InputError, before any work, where matplotlib is not installed."""
  if importlib.util.find_spec("matplotlib") is None:
    raise InputError(
      "matplotlib is not installed, which draws the plots: in a checkout, "
      "pip install -e '.[analyze]'"
    )


def save(name: str, figure: Figure) -> dict[str, bytes]:
  """The files of a figure by name, "NAME.png" and "NAME.svg": the same bytes each time."""
  import matplotlib

  files = {}
  for extension in FORMATS:
    content = io.BytesIO()
    metadata = {"Date": None} if extension == "svg" else {}
    with matplotlib.rc_context({"svg.hashsalt": "cfi_jax"}):
      figure.savefig(content, format=extension, dpi=150, metadata=metadata)
    figure.set_layout_engine("none")  # the first time has found the places of everything
    files[f"{name}.{extension}"] = content.getvalue()
  return files
