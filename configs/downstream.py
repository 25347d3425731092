"""What are fused images good for? One network on one image, the other, both, and fused ones.

  python -m cfi_jax.downstream --config=configs/downstream.py --workdir=runs/downstream
  python -m cfi_jax.study --config=configs/downstream.py --workdir=runs/downstream

Trains the same network with the same budget and seeds on the visible images alone, the infrared
alone, both side by side, and the images fused by each entry of `fused`, on the embedded world, of
which classes and boxes are exact. Further ones: --fused=NAME:DIR or NAME:FILE of the first command.
Labelled images instead: --config=configs/downstream.py:fmb --config.probe.data.root=PATH; also
msrs_labels, mfnet, pst900, nyudv2, m3fd_boxes, llvip_boxes, labelled_folder; recipes as in
configs/perception.py, scored on the split `split`.
Writes summary.md, findings.csv and report.html into the workdir.
Cost: seven rows from three seeds took some 20 minutes of one CPU core, a minute each.
Expect: docs/downstream.md.
"""

from ml_collections import ConfigDict

from cfi_jax.systems.perception import recipes


def get_config(data="synthetic_labels"):
  probe = recipes.get(f"visible:{data}")
  if data == "synthetic_labels":
    probe.data.update(size=48, scenes=512, validation_scenes=16, test_scenes=192)
    probe.input.crop = 48
    probe.model.width = 8
    probe.steps = 600
    probe.optim.learning_rate = 3e-3
    probe.checkpoint.every = 300
    probe.validate_every = 300
    probe.validation_pairs = 16
    probe.pictures = 0
  fused = dict(average="average", wavelet="wavelet", visible_infrared="visible-infrared")
  return ConfigDict(
    dict(
      study="downstream",
      probe=probe,
      both="early",
      fused=fused,
      order=("visible", "infrared", "both", *fused),
      seeds=(0, 1, 2),
      split="validation" if data in ("m3fd_boxes", "labelled_folder") else "test",
    )
  )
