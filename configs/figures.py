"""Pose transfer (DFC-Net) on the embedded procedural people; needs no data.

  python -m cfi_jax.main --config=configs/figures.py --workdir=runs/figures

Renders its people; trains pose estimator, discriminator and generator at 64x64 pixels.
Recipes: keypoints as input of the pose branch (default); the estimator's amplified maps with
  --config=configs/figures.py:estimator; 128x128 pixels for accelerators with :large.
"""

from cfi_jax.systems.dfcnet import recipes


def get_config(recipe="small"):
  return recipes.get(recipe)
