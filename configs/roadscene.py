"""ISFuse on RoadScene: the 171 names of train.txt, less 10 % held out for validation.

  python -m cfi_jax.main --config=configs/roadscene.py --workdir=runs/roadscene \
      --config.data.root=PATH

Cost: 50 epochs, batches of 16 crops of 256x256. A step needs 31 GB on a CPU; give
  --config.batch_size=4 --config.input.crop=128 on a small machine.
Recipes: the release (default); the paper with --config=configs/roadscene.py:paper;
  more features with :wide.
"""

from cfi_jax import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = dict(name="roadscene", root="", validation_fraction=0.1)
  return config
