"""Makes weather on clean pairs: two files, or two folders whose images are paired by name.

  python -m cfi_jax.weather --visible=DIR --infrared=DIR --output=DIR --kind=rain --level=heavy
  python -m cfi_jax.weather --visible=DIR --infrared=DIR --output=DIR --kind=rain+haze --seed=1

Writes OUTPUT/visible and OUTPUT/infrared, as PNG of the images' own depth and names, and for each
pair a line of OUTPUT/weather.jsonl with all that was drawn for it. The seed and a pair's name alone
decide its weather. Exits with 0 when every pair was written, 1 when some failed, 2 when nothing
could be begun.
"""

from typing import Any

from cfi_jax.core import cli
from cfi_jax.data.naming import FLAGS as NAMES
from cfi_jax.images.ranges import RULES

LEVELS = ("light", "medium", "heavy")
THERMAL = ("physical", "attenuated")
FLAGS = {
  "visible": cli.Flag("clean visible image or folder", required=True),
  "infrared": cli.Flag("clean infrared image or folder", required=True),
  "output": cli.Flag("folder to write", required=True),
  "kind": cli.Flag("haze, rain, snow, or a mixture such as rain+haze", required=True),
  "level": cli.Flag("how much of it", "medium", valid=LEVELS),
  "thermal": cli.Flag("model of the infrared image (docs/weather.md)", THERMAL[0], valid=THERMAL),
  "seed": cli.Flag("another number gives other weather; 0 to 2147483647", 0),
  "normalize": cli.Flag(f"which values mean 0 and 1: {RULES}", "auto"),
  **NAMES,
}


def main(given: dict[str, Any]) -> int:
  """Makes the weather that the flags name."""
  from cfi_jax.weather.command import make  # imported here, as help needs no JAX

  return make(given)


if __name__ == "__main__":
  cli.run(main, FLAGS, __doc__)
