"""ISFuse on all Harvard pairs, CT-MRI, PET-MRI and SPECT-MRI, 256x256: one network for the three.

  python -m cfi_jax.main --config=configs/harvard.py --workdir=runs/harvard \
      --config.data.root=PATH

Cases are split whole, whichever the kind. CT, PET or SPECT is `visible`.
Cost: 50 epochs, batches of 16 crops of 256x256. A step needs 11 to 31 GB on a CPU; give
  --config.batch_size=4 --config.input.crop=128 on a small machine.
Recipes: the release (default); the paper with --config=configs/harvard.py:paper;
  more features with :wide; ours with :trusting_medical, :multiscale, :filling, :medical.
"""

from cfi_jax.systems.isfuse import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = dict(
    name="harvard", root="", split_by="case", test_fraction=0.2, validation_fraction=0.1
  )
  return config
