"""ISFuse on your own pairs: two folders of images with equal names below one root.

  python -m cfi_jax.main --config=configs/folder.py --workdir=runs/folder \
      --config.data.root=PATH

Both modalities in one folder: --config.data.visible= --config.data.infrared=
  --config.data.visible_suffix=_vis --config.data.infrared_suffix=_ir
Cost: 50 epochs, batches of 16 crops of 256x256. A step needs 11 to 31 GB on a CPU; give
  --config.batch_size=4 --config.input.crop=128 on a small machine.
Recipes: the release (default); the paper with --config=configs/folder.py:paper;
  more features with :wide; ours with :trusting, :trusting_medical, :multiscale, :filling, :medical.
"""

from cfi_jax.systems.isfuse import recipes


def get_config(recipe="released"):
  config = recipes.get(recipe)
  config.data = dict(
    name="folder",
    root="",
    visible="visible",
    infrared="infrared",
    validation_fraction=0.1,
    visible_prefix="",
    visible_suffix="",
    infrared_prefix="",
    infrared_suffix="",
    match="name",
  )
  return config
