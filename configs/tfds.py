"""ISFuse on a data set prepared as ArrayRecord files: the same pairs as the folder it was made of.

  python -m cfi_jax.prepare --dataset=msrs --root=PATH --data_dir=tfds_data
  python -m cfi_jax.main --config=configs/tfds.py --workdir=runs/tfds \
      --config.data.root=tfds_data

Another data set: --config.data.builder=NAME; for a medical one also --config.data.split_by=case
--config.data.test_fraction=0.2.
Cost: as configs/msrs.py.
Recipes: the release (default); the paper with --config=configs/tfds.py:paper;
  more features with :wide; ours with :multiscale, :filling, :medical.
"""

from cfi_jax.systems.isfuse import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = dict(
    name="tfds",
    root="",
    builder="msrs",
    split_by="shipped",
    test_fraction=0.0,
    validation_fraction=0.1,
  )
  return config
