"""ISFuse on RoadScene: the 171 names of train.txt, less 10 % held out for validation.

  python -m cfi_jax.main --config=configs/roadscene.py --workdir=runs/roadscene \
      --config.data.root=PATH

Cost: 50 epochs, batches of 16 crops of 256x256; a step needs 11 to 31 GB on a CPU. On a small one:
  --config.batch_size=4 --config.input.crop=128 --config.steps=1000 --config.optim.schedule=cosine \
      --config.optim.learning_rate=5e-4 --config.statistics.views=original
  which is all that has been run of it: 2.3 s a step on 2 CPU cores.
Expect of these 1000 steps: a training loss of 0.30 over the first 200, 0.24 over the last; held out
  0.304, 0.297, 0.286, 0.288, 0.287 at every 200th, SSIM 0.67 and Qabf 0.49 (strict) at the end.
Recipes: the release (default); the paper with --config=configs/roadscene.py:paper;
  more features with :wide; ours with :multiscale, :filling, :medical.
"""

from cfi_jax.systems.isfuse import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = dict(name="roadscene", root="", validation_fraction=0.1)
  return config
