"""The numbers to expect on Harvard pairs: one network for CT-MRI, PET-MRI and SPECT-MRI.

  python -m cfi_jax.study --config=configs/medical_results.py \
      --workdir=runs/medical_results --config.roots.harvard=PATH \
      [--config.published.authors=isfuse_best.pth]

Test cases are whole and none of them, of whichever kind, is trained on. The split that is shipped
with the data has neighbouring slices of one case on both sides; to compare with those who use it:
--config=configs/medical_results.py:shipped_split, in another --workdir.
Rows: recipes of `systems.isfuse.recipes`, and `medical_long`, which is `medical` trained three
times as long. `shipped` is what the package carries as medical, of the recipe `trusting_medical`.
Cost: on one CPU core a run of `released`, `paper` or `filling` takes 5 minutes, of
`medical_long` 4, of the others 2, scoring extra. With 50 epochs of 16 crops of 256x256 on an
accelerator: --config=configs/medical_results.py:full; nobody has run it.
Expect: docs/RESULTS.md.
"""

from cfi_jax.core.types import InputError
from cfi_jax.study.results import template
from cfi_jax.systems.isfuse import recipes

SIZES = ("cpu", "full", "shipped_split", "full_shipped_split")
KINDS = ("ct_mri", "pet_mri", "spect_mri")


def get_config(size="cpu"):
  if size not in SIZES:
    raise InputError(f"no size {size!r}; valid: {', '.join(SIZES)}")
  split = dict(
    root="harvard",
    validation_fraction=0.0,
    split_by="shipped" if size.endswith("shipped_split") else "case",
    test_fraction=0.2,
  )
  names = ("released", "paper", "fusion_only", "multiscale", "filling", "medical")
  rows = {name: recipes.get(name) for name in names}
  rows["medical_long"] = recipes.medical()
  for row in rows.values():
    if not size.startswith("full"):
      recipes.small(row, steps=300)
  recipes.longer(rows["medical_long"], 3)
  tests = {kind: dict(name=kind, **split) for kind in KINDS}
  # The shipped weights were trained on pairs that the shipped split tests on.
  own = "" if size.endswith("shipped_split") else "medical"
  published = dict(authors="", shipped=own)
  return template.settings(
    rows, dict(name="harvard", **split), tests, seeds=(0, 1, 2), published=published
  )
