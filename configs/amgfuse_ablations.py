"""Parts of AMG-Fuse, each left out: the small recipe on the embedded world, from three seeds.

  python -m cfi_jax.study --config=configs/amgfuse_ablations.py --workdir=runs/ablations \
      --config.paths.restoration=FILE

FILE: weights of the restoration network, for the loss `tdas`; a run of its own comes first:
  python -m cfi_jax.main --config=configs/amgfuse.py:small_restoration \
      --workdir=runs/small_restoration
  python -m cfi_jax.convert --checkpoint=runs/small_restoration --output=FILE
Rows: `full`; without masks, the gate, the loss `mgls`, the loss `tdas` or the clip of the gradient;
and with the numerator of all other masks in that of the masked image, which `tdas` restores. All
have the same steps. Held-out scenes are scored against the clean pair, the visible output by
`restored_psnr`: findings.csv and summary.md in the workdir, after every seed that all rows have.
Another recipe with its restoration network, such as :weather on RoadScene, with
--config.paths.data=PATH. Fewer rows: --config.order="('full','no_tdas')".
Cost: not measured; seven rows compile a step each, and 21 runs take 200 steps each.
"""

from cfi_jax.study.ablations.template import ablations
from cfi_jax.systems.amgfuse import recipes


def get_config(recipe="small"):
  full = recipes.get(recipe)
  full.loss.tdas = recipes.LOSS["tdas"]
  full.validation_metrics = ("VIF", "Qabf", "SSIM", "CC")
  full.validate_every = full.checkpoint.every = full.steps
  full.checkpoint.keep = 1
  full.pictures = 0
  full.validation_pairs = 64
  if "validation_scenes" in full.data:
    full.data.validation_scenes = full.validation_pairs
  without = dict(
    no_masks={"model.mask": False},
    no_gate={"model.gate": False},
    masked_by_infrared={"model.masked_by": "infrared"},
    no_mgls={"loss.mgls": 0.0},
    no_tdas={"loss.tdas": 0.0},
    no_clip={"optim.clip_norm": 0.0},
  )
  scores = (*full.validation_metrics, "restored_psnr")
  config = ablations(full, without, scores, paths=("restoration", "data"))
  for row in config.rows.values():
    row.restoration.weights = config.paths.get_ref("restoration")
    if "root" in row.data:
      row.data.root = config.paths.get_ref("data")
  return config
