"""Which options of the wavelet rule are best on pairs held out of training?

  python -m cfi_jax.study --config=configs/rule_options.py --workdir=runs/rule_options \
      --config.roots.roadscene=PATH

The rule written down here: of the candidates whose Nabf is not above that of a Laplacian pyramid,
and which clip no more pixels than the wavelets with their default options, the best mean rank over
twelve scores beside the rules as they come, and of equal ones among themselves; on RoadScene's
held-out training pairs, each as it is and five times as other cameras might have taken it. It was
settled by such tables of held-out pairs; no test pair is read. For brains:
--config=configs/rule_options.py:medical, on the held-out cases of CT-MRI, PET-MRI and SPECT-MRI
without variations, with --config.roots.harvard=PATH.
Cost: 5 to 10 s a candidate on a busy CPU core, 48 and 36 candidates.
Expect: docs/results/rule_options.md and rule_options_medical.md.
"""

from ml_collections import ConfigDict

from cfi_jax.core.types import InputError
from cfi_jax.report.ranks import RANKED
from cfi_jax.systems.isfuse import recipes

KINDS = ("visible_infrared", "medical")
MEDICAL = ("ct_mri", "pet_mri", "spect_mri")


def get_config(kind="visible_infrared"):
  if kind not in KINDS:
    raise InputError(f"no kind {kind!r}; valid: {', '.join(KINDS)}")
  # Tone, contrast, scale and polarity; noise would be what details are scored by.
  cameras = recipes.trusting().cameras.to_dict()
  cameras |= dict(probability=1.0, noise=0.0, pattern=0.0, misaligned=0.0, blur=0.5)
  config = ConfigDict(
    dict(
      study="options",
      sets=dict(roadscene=dict(name="roadscene", root="", validation_fraction=0.1)),
      score=("roadscene",),
      crop=192,
      pairs=0,
      views=5,
      cameras=cameras,
      seed=0,
      rule="wavelet",
      grid=dict(
        planes=(4,),
        exponent=(4, 8),
        gain=(1.0, 1.03, 1.05, 1.1),
        spread=(0.6, 0.7, 0.8),
        brighter=(0.0, 0.3),
      ),
      beside=("wavelet", "laplacian", "average", "maximum"),
      limit=dict(metric="Nabf", rule="laplacian", clipped="wavelet"),
      metrics=(*RANKED, "Nabf"),
      convention="tang",
      roots=dict(roadscene=""),
    )
  )
  if kind == "medical":
    split = dict(root="", validation_fraction=0.1, split_by="case", test_fraction=0.2)
    config.sets = {name: dict(name=name, **split) for name in MEDICAL}
    config.score = MEDICAL
    config.crop, config.pairs, config.views = 256, 12, 0
    config.roots = dict(harvard="")
    config.grid.update(gain=(1.0, 1.05), spread=(0.5, 0.6, 0.7), brighter=(0.3, 0.6, 1.0))
  for name in config.score:
    config.sets[name].root = config.roots.get_ref("harvard" if name in MEDICAL else name)
  return config
