"""ISFuse on the Harvard CT-MRI pairs, 256x256; cases are split whole. CT is `visible`.

  python -m cfi_jax.main --config=configs/ct_mri.py --workdir=runs/ct_mri \
      --config.data.root=PATH

Cost: 50 epochs, batches of 16 crops of 256x256. A step needs 11 to 31 GB on a CPU; give
  --config.batch_size=4 --config.input.crop=128 on a small machine.
Recipes: the release (default); the paper with --config=configs/ct_mri.py:paper;
  more features with :wide; ours with :trusting_medical, :multiscale, :filling, :medical.
"""

from cfi_jax.systems.isfuse import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = dict(
    name="ct_mri", root="", split_by="case", test_fraction=0.2, validation_fraction=0.1
  )
  return config
