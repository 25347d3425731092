"""ISFuse on the embedded procedural street scenes; needs no data.

  python -m cfi_jax.main --config=configs/synthetic.py --workdir=runs/synthetic

Cost: 160 steps of 4 crops of 64x64: 0.6 s each on 2 CPU cores, 2.5 minutes with compilation.
Expect: a training loss of 0.45 after 20 steps and 0.25 to 0.38 (darkest and brightest batches) at
  the end; held out 0.34 after 80 steps and 0.30 at the end, SSIM (strict) 0.61.
Recipes: the release (default); the paper with --config=configs/synthetic.py:paper;
  more features with :wide; ours with :multiscale, :filling, :medical.
"""

from cfi_jax.datasets.world.defaults import street_scenes
from cfi_jax.systems.isfuse import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = street_scenes()
  config.input.crop = 64
  config.batch_size = 4
  config.steps = 160
  # With those of all views a run as short as this ends with pictures that are far too bright.
  config.statistics.views = "original"
  config.optim.learning_rate = 1e-3
  config.optim.schedule = "cosine"
  config.checkpoint.every = 80
  config.validate_every = 80
  config.log_every = 10
  config.validation_pairs = 16
  return config
