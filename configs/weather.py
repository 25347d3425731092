"""Do methods that know of rain, haze and snow fuse better than those that do not?

  python -m cfi_jax.study --config=configs/weather.py --workdir=runs/weather_study \
      --config.methods.weather=FILE --config.roots.roadscene=PATH --config.roots.tno=PATH \
      --config.roots.msrs=PATH

FILE: weights of AMG-Fuse, or of any method; more of them are more entries of `methods`. On the test
pairs of each data set weather of each kind and level is made from each seed, every method fuses the
degraded pair, methods that restore also do so before `after` fuses, and all is scored against the
clean pair: weather.md and rows.jsonl in the workdir, after every seed. Leave a data set out by
--config.score="('tno',)"; take fewer pairs, evenly spread over their names, by --config.pairs=12,
fewer seeds by --config.seeds="(0,)".
Cost, estimated from single pairs on a busy CPU core with a small network without `model.fold`:
40 s per megapixel in a cell for its fusing and restoring, 14 s for all else, and 17 s to compile
for each size of images. That is 9 hours of one core for TNO, RoadScene and the sample of MSRS with
two test pairs (21 megapixels, 27 cells, 65 sizes), 2.3 hours with --config.pairs=10; nobody has run
it in full.
"""

from ml_collections import ConfigDict

TESTS = ("tno", "roadscene", "msrs")


def get_config():
  config = ConfigDict(
    dict(
      study="weather",
      tests={test: dict(name=test, root="", validation_fraction=0.0) for test in TESTS},
      score=TESTS,
      pairs=0,
      kinds=("haze", "rain", "snow"),
      levels=("light", "medium", "heavy"),
      thermal="physical",
      seeds=(0, 1, 2),
      methods=dict(
        weather="",
        visible_infrared="visible-infrared",
        average="average",
        wavelet="wavelet",
      ),
      after=("visible_infrared",),
      reference="visible_infrared",
      judged=("weather",),
      metrics=("VIF", "Qabf", "SSIM", "CC"),
      convention="strict",
      roots=dict.fromkeys(TESTS, ""),
    )
  )
  for test in TESTS:
    config.tests[test].root = config.roots.get_ref(test)
  return config
