"""Is a network of pose transfer ahead of what needs no training?

  python -m cfi_jax.study --config=configs/transfers.py --workdir=runs/transfers \
      --config.methods.figures="('FILE',)" --config.judge=FILE

FILE: weights of a run of configs/figures.py; one for each training seed, with commas. The judge,
which reads keypoints off all pictures, may also be BlazePose (a .tflite file, or a package of it,
see python -m cfi_jax.keypoints --help), which no training has seen. On 200 transfers between new
people in new poses (and the same of known people), the weights are scored beside the skeleton warp
without a network, copies, the mean picture and nearest pictures: summary.md, findings.csv and
pictures in the workdir, after every split. Asked for are gains over the skeleton warp of 1.5 dB in
PSNR and 1 dB over the person, without a loss of identity or pose.
Goes on where it was stopped.
Recipes: the people of configs/figures.py (default); of its 128x128 pixels with :large; its
characters with :characters and --config.data.root=PATH.
Cost: 50 s of processor time for the split "test" and one file, mostly to render training pictures.
"""

from ml_collections import ConfigDict

from cfi_jax.systems.dfcnet import recipes


def get_config(recipe="small"):
  return ConfigDict(
    dict(
      study="transfers",
      data=recipes.get(recipe).data,
      splits=("test", "known"),
      methods=dict(figures=("",)),
      judge="",
      reference="skeleton warp",
      bars={"PSNR": 1.5, "foreground PSNR": 1.0, "identity error": 0.0, "PCK": 0.0},
    )
  )
