"""Times cfi_jax.metrics against the way public Python evaluators compute the same metrics.

python benchmarks/metrics.py --visible=DIR --infrared=DIR [--images=42] [--output=FILE]

The other side is benchmarks/public_metrics.py. Both score the plain average of every pair under
`strict`, and their values are compared. The public loop over FMI's windows would take hours: it is
timed on a crop of every image and extrapolated by the number of windows, which one larger crop
checks. Needs scipy, scikit-learn and scikit-image.
"""

import argparse
import importlib.metadata
import pathlib
import platform
import time

import jax
import numpy as np
from PIL import Image
from public_metrics import FEATURES, fmi, plain_evaluator

from cfi_jax.metrics import Triplet, grey_levels, score

FMI = tuple(FEATURES)
PLAIN = (
  "EN", "SD", "SF", "AG", "EI", "CE", "MI", "NMI", "CC", "SCD", "MSE", "PSNR", "SSIM", "MS_SSIM",
  "VIF", "Qabf", "Nabf",
)  # fmt: skip
CROP = 24  # side of the crops on which the public loop of FMI is timed
CHECK = 96  # side of the crop that checks the extrapolation


def timed(function):
  """(result, seconds)."""
  begin = time.perf_counter()
  result = function()
  return result, time.perf_counter() - begin


def ours(triplets, names):
  """Our scores as {(name, metric): value}."""
  rows = score(triplets, names, "strict", progress=False).rows
  return {(row.name, row.metric): row.value for row in rows}


def central_crop(triplet, side):
  """The middle side x side pixels."""
  images = (triplet.visible, triplet.infrared, triplet.fused)
  top, left = ((length - side) // 2 for length in images[0].shape)
  cut = (image[top : top + side, left : left + side] for image in images)
  return Triplet(triplet.method, triplet.name, *cut)


def levels(triplet):
  """(fused, infrared, visible)."""
  images = (triplet.fused, triplet.infrared, triplet.visible)
  return [grey_levels(image, "strict") for image in images]


def public_fmi(crop):
  """({metric: value}, seconds per window) of all variants of FMI, by the loop."""
  images = [x.astype(float) for x in levels(crop)]
  values, seconds = timed(lambda: {name: fmi(*images, FEATURES[name]) for name in FMI})
  return values, seconds / windows(crop)


def windows(triplet):
  """How many 3x3 windows the image has."""
  return (triplet.fused.shape[0] - 2) * (triplet.fused.shape[1] - 2)


def public(triplets):
  """Values by (name, metric), those of FMI of the crops; seconds per triplet, without and with."""
  values, plain, loops = {}, [], []
  for triplet in triplets:
    found, seconds = timed(lambda t=triplet: plain_evaluator(*levels(t)))
    crop_values, per_window = public_fmi(central_crop(triplet, CROP))
    values |= {(triplet.name, k): v for k, v in (found | crop_values).items()}
    plain.append(seconds)
    loops.append(per_window * windows(triplet))
    print(f"{triplet.name}: {seconds:.2f} s, FMI extrapolated {loops[-1]:.0f} s", flush=True)
  return values, np.array(plain), np.array(loops)


def extrapolation(triplet):
  """(extrapolated, measured) seconds of the public FMI of a larger crop."""
  larger = central_crop(triplet, CHECK)
  _, per_window = public_fmi(central_crop(triplet, CROP))
  _, actual = public_fmi(larger)
  return per_window * windows(larger), actual * windows(larger)


def throughput():
  """Triplets of 480x640 per second on the default device, without and with FMI, after compiling."""
  count = 4 if jax.default_backend() == "cpu" else 64
  images = np.random.default_rng(0).integers(0, 256, (3, 480, 640), dtype=np.uint8)
  triplets = [Triplet("m", str(k), *images) for k in range(count)]
  seconds = []
  for names in (PLAIN, FMI):
    ours(triplets, names)
    seconds.append(timed(lambda n=names: ours(triplets, n))[1])
  return count / seconds[0], count / sum(seconds)


def machine():
  """What ran, in lines."""
  names = ("jax", "jaxlib", "numpy", "scipy", "scikit-image", "scikit-learn")
  versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
  cpu = platform.processor() or platform.machine()
  info = pathlib.Path("/proc/cpuinfo")
  if info.exists():
    models = [x.split(":")[1].strip() for x in info.read_text().splitlines() if "model name" in x]
    cpu = f"{models[0]}, {len(models)} logical cores listed" if models else cpu
  device = jax.devices()[0]
  return [
    f"Python {platform.python_version()}, {versions}",
    f"processor: {cpu}; JAX device: {device.platform} ({device.device_kind})",
  ]


def report(triplets, times, first, theirs, check, difference, speeds):
  """The table as text.

  times: seconds of our passes after compiling {names: [...]}.
  first: seconds of our first passes. theirs: public seconds per triplet (plain, FMI).
  """
  plain, loops = (x.sum() for x in theirs)
  own, own_fmi = (float(np.mean(times[names])) for names in (PLAIN, FMI))
  sizes = len({t.visible.shape for t in triplets})
  lines = [
    f"`strict` metrics of {len(triplets)} triplets of {sizes} sizes (fused = average), float32",
    *machine(),
    "",
    f"seconds for all {len(triplets)} triplets{'':12}public way{'':6}cfi_jax{'':6}ratio",
    f"{f'{len(PLAIN)} metrics without FMI':32}{plain:16.1f}{own:13.2f}{plain / own:11.1f}",
    f"{f'{len(PLAIN) + len(FMI)} metrics with FMI (*)':32}{plain + loops:16.1f}"
    f"{own + own_fmi:13.2f}{(plain + loops) / (own + own_fmi):11.1f}",
    f"(*) of the public seconds {plain:.1f} are measured and {loops:.1f} are EXTRAPOLATED: the",
    f"    loop over FMI's windows is timed on {CROP}x{CROP} pixels of every triplet and multiplied",
    f"    by its number of windows. Check on {CHECK}x{CHECK} pixels: "
    f"{check[0]:.1f} s extrapolated, {check[1]:.1f} s measured.",
    "",
    "cfi_jax: passes over all triplets after compiling, without FMI before and after the public",
    f"way ran: {' and '.join(f'{s:.2f} s' for s in times[PLAIN])}; FMI: {times[FMI][0]:.2f} s",
    f"cfi_jax's first pass, all compilation included (no cache): {first[0]:.1f} s without FMI, "
    f"{sum(first):.1f} s with",
    f"largest relative difference of any value (FMI: of the crops): {difference:.1e}",
    f"480x640, triplets per second: {speeds[0]:.1f} without FMI, {speeds[1]:.1f} with FMI",
  ]
  return "\n".join(lines) + "\n"


def read(path):
  """Grey levels of a file."""
  with Image.open(path) as image:
    return np.asarray(image.convert("L"))


def main():
  """Runs the comparison and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--visible", type=pathlib.Path, required=True)
  parser.add_argument("--infrared", type=pathlib.Path, required=True)
  parser.add_argument("--images", type=int, default=42)
  parser.add_argument("--output", type=pathlib.Path)
  arguments = parser.parse_args()
  jax.config.update("jax_enable_compilation_cache", False)
  triplets = []
  for path in sorted(arguments.infrared.iterdir())[: arguments.images]:
    visible, infrared = read(arguments.visible / path.name), read(path)
    average = ((visible.astype(int) + infrared + 1) // 2).astype(np.uint8)
    triplets.append(Triplet("average", path.stem, visible, infrared, average))
  values, first, times = {}, [], {PLAIN: [], FMI: []}
  for names in times:
    found, seconds = timed(lambda n=names: ours(triplets, n))
    values |= found
    first.append(seconds)
    times[names].append(timed(lambda n=names: ours(triplets, n))[1])
  theirs, *seconds = public(triplets)
  times[PLAIN].append(timed(lambda: ours(triplets, PLAIN))[1])
  values |= ours([central_crop(t, CROP) for t in triplets], FMI)
  difference = max(abs(values[k] - v) / max(abs(v), 1e-3) for k, v in theirs.items())
  check = extrapolation(max(triplets, key=windows))
  text = report(triplets, times, first, seconds, check, difference, throughput())
  print(text)
  if arguments.output:
    arguments.output.write_text(text)


if __name__ == "__main__":
  main()
