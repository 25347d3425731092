"""Segmentation and detection on the embedded world, or on labelled images; needs no data.

  python -m cfi_jax.main --config=configs/perception.py --workdir=runs/perception

Trains on both images, whose features are summed at every level. Others: one image alone with
  --config=configs/perception.py:visible or :infrared; both with :early, :middle, :late,
  :all_levels (default) or, in the place of the sum, :special, which averages what each modality
  tells of the other, :concatenation or :squeeze_excitation.
On images fused before: --config=configs/perception.py:fused, by the package's weights, or by
  --config.fused.weights=FILE_OR_RULE, or those of --config.fused.folder=DIR.
Labelled images instead of the world: --config=configs/perception.py:special:fmb
  --config.data.root=PATH; also msrs_labels, mfnet, pst900, nyudv2 (RGB and depth), and boxes of
  m3fd_boxes and llvip_boxes; labelled_folder for any folders.
Cost: 1500 steps of 8 crops of 64x64; nobody has run it in full.
"""

from cfi_jax.systems.perception import recipes


def get_config(recipe="all_levels"):
  return recipes.get(recipe)
