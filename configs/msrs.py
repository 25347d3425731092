"""ISFuse on MSRS: 1083 pairs of 480x640, day and night, less 10 % held out for validation.

  python -m cfi_jax.main --config=configs/msrs.py --workdir=runs/msrs \
      --config.data.root=PATH

Cost: 50 epochs, batches of 16 crops of 256x256. A step needs 11 to 31 GB on a CPU; give
  --config.batch_size=4 --config.input.crop=128 on a small machine.
Recipes: the release (default); the paper with --config=configs/msrs.py:paper;
  more features with :wide; ours with :multiscale, :filling, :medical.
"""

from cfi_jax.systems.isfuse import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = dict(name="msrs", root="", validation_fraction=0.1)
  return config
