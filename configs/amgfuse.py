"""AMG-Fuse on the authors' folders: degraded pairs, clean pairs and pseudo ground truth.

  python -m cfi_jax.main --config=configs/amgfuse.py --workdir=runs/amgfuse \
      --config.data.root=PATH --config.restoration.weights=restoration.safetensors

Below PATH lie Snow, Rain and Haze, with vi, ir, gt_vi, gt_ir and pseudo_gt below each; other names:
--config.data.weathers="('.',)", --config.data.visible and so on. Append :snow, :rain or :haze for
one weather, as the authors train; without, it is one network for all.
First the restoration network, whose run becomes the weights file that is named above; the loss and
schedule of this recipe are ours:
  python -m cfi_jax.main --config=configs/amgfuse.py:restoration --workdir=runs/restoration \
      --config.data.root=PATH
  python -m cfi_jax.convert --checkpoint=runs/restoration --output=restoration.safetensors
Cost: 200 epochs, batches of 2 crops of 168x168, 60 million parameters; not run here in full.
Without data: --config=configs/amgfuse.py:small, a small network on the embedded world with weather
made by its depth, without a restoration network, for which :small_restoration is; nobody has
measured them. The same on two folders of your own clean pairs: :small_folder, with a root; on
RoadScene, longer: :weather_start and its :weather_restoration, or :weather, with a prior.
"""

from cfi_jax.systems.amgfuse import recipes


def get_config(recipe="all"):
  return recipes.get(recipe)
