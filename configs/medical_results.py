"""The numbers to expect on Harvard pairs: one network for CT-MRI, PET-MRI and SPECT-MRI.

  python -m cfi_jax.reproduce --config=configs/medical_results.py --workdir=runs/medical_results \
      --config.roots.harvard=PATH [--config.published.authors=isfuse_best.pth]

Test cases are whole and none of them, of whichever kind, is trained on. The split that is shipped
with the data has neighbouring slices of one case on both sides; to compare with those who use it:
--config=configs/medical_results.py:shipped_split, in another --workdir.
Rows: recipes of `cfi_jax.recipes`, and `medical_long`, which is `medical` trained three times as
long: a seed of it is what the package carries as medical.
Cost: on one CPU core a run of `medical_long` takes 6 minutes, scoring included. With 50 epochs of
16 crops of 256x256 on an accelerator: --config=configs/medical_results.py:full; nobody has run it.
Expect: docs/RESULTS.md.
"""

from ml_collections import ConfigDict

from cfi_jax import recipes
from cfi_jax.types import InputError

SIZES = ("cpu", "full", "shipped_split", "full_shipped_split")
KINDS = ("ct_mri", "pet_mri", "spect_mri")
METRICS = ("AG", "SF", "EN", "SD", "PSNR", "CC", "SCD", "MI", "VIF", "Qabf", "SSIM", "MS_SSIM")


def get_config(size="cpu"):
  if size not in SIZES:
    raise InputError(f"no size {size!r}; valid: {', '.join(SIZES)}")
  split = dict(
    root="",
    validation_fraction=0.0,
    split_by="shipped" if size.endswith("shipped_split") else "case",
    test_fraction=0.2,
  )
  names = ("released", "fusion_only", "multiscale", "medical")
  rows = {name: recipes.get(name) for name in names}
  rows["medical_long"] = recipes.medical()
  config = ConfigDict(
    dict(
      rows=rows,
      order=tuple(rows),
      seeds=(0, 1, 2),
      tests={kind: dict(name=kind, **split) for kind in KINDS},
      score=KINDS,
      published=dict(authors="", shipped="medical"),
      metrics=(*METRICS, "Nabf"),
      convention="tang",
      roots=dict(harvard=""),
    )
  )
  for kind in KINDS:
    config.tests[kind].root = config.roots.get_ref("harvard")
  for name, row in config.rows.items():
    row.data = dict(name="harvard", **split)
    row.data.root = config.roots.get_ref("harvard")
    row.validation_metrics = ()
    if not size.startswith("full"):
      recipes.small(row, steps=300)
    if name == "medical_long":  # at the small size its steps rule, otherwise its epochs
      row.steps, row.epochs = 3 * row.steps, row.epochs * (1 if row.steps else 3)
  return config
