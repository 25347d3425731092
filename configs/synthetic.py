"""ISFuse on the embedded procedural street scenes; needs no data.

  python -m cfi_jax.main --config=configs/synthetic.py --workdir=runs/synthetic

Cost: 240 steps of 4 crops of 64x64: 2.4 minutes on 2 CPU cores, with compilation 3.
Expect: a training loss of 0.4 to 0.5 after 20 steps and 0.25 to 0.3 at the end; SSIM (strict) 0.49.
Recipes: the release (default); the paper with --config=configs/synthetic.py:paper;
  more features with :wide.
"""

from cfi_jax import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = dict(
    name="synthetic",
    scenes=256,
    validation_scenes=16,
    test_scenes=16,
    seed=0,
    size=128,
    objects=(2, 6),
    correlation=0.5,
    night=0.3,
    smoke=0.07,
    darkness=0.06,
    crossover=0.12,
    read_noise=0.008,
    shot_noise=0.02,
    infrared_noise=0.012,
    pattern_noise=0.005,
    infrared_blur=0.9,
    visibility=3.0,
  )
  config.input.crop = 64
  config.batch_size = 4
  config.steps = 240
  config.optim.learning_rate = 1e-3
  config.optim.schedule = "cosine"
  config.checkpoint.every = 120
  config.validate_every = 120
  config.log_every = 10
  config.validation_pairs = 16
  return config
