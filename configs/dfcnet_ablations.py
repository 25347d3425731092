"""Parts of DFC-Net that its abstract claims to help, each left out, from three seeds.

  python -m cfi_jax.study --config=configs/dfcnet_ablations.py --workdir=runs/dfcnet_ablations

Rows: `full`, whose pose branch reads the estimator's amplified maps; without the amplifier (the
maps as the estimator gives them, also where keypoints are read off them), the pose consistency,
the static consistency, the adversary, or the support data; the person drawn from both branches side
by side (concat) instead of the skeleton warp; with the source's proportions instead of learned
ones; with the limbs' fixed blend; and, as a bound, exact keypoints instead of the estimator's. All
have the same steps. New people in new poses are scored by the system's own validation: findings.csv
and summary.md in the workdir, after every seed that all rows have.
Other sizes with :large. Fewer rows: --config.order="('full','no_static')".
A short training, for one core, with :short: 240 steps, the losses read off pictures from step 80.
Cost, by the time of a run of configs/figures.py: ten rows of three seeds are 11 hours of a CPU
core; nobody has run it. With :short the first seven rows took two hours of a core that shared a
processor; docs/studies.md says what they say.
"""

from cfi_jax.study.ablations.template import ablations
from cfi_jax.systems.dfcnet import recipes


def get_config(recipe="estimator"):
  full = recipes.get("estimator" if recipe == "short" else recipe)
  if recipe == "short":
    full.steps, full.loss.consistency_from, full.loss.ramp_steps = 240, 80, 40
  full.model.pose_input = "estimator"
  full.validate_every = full.checkpoint.every = full.steps
  full.checkpoint.keep = 1
  full.pictures = 0
  full.validation_pairs = full.data.validation_pairs = 200
  changes = dict(
    no_amplifier={"model.amplifier": "none"},
    no_pose={"loss.pose": 0.0},
    no_static={"loss.static": 0.0},
    no_adversary={"loss.adversary": 0.0},
    no_support={"support_rows": 0},
    concat={"model.transport": "concat", "model.blend": "fixed"},
    no_proportions={"model.proportions": "source", "optim.proportions_steps": 0},
    fixed_blend={"model.blend": "fixed"},
    keypoints={"model.pose_input": "keypoints"},
  )
  scores = ("psnr", "ssim", "foreground_psnr", "identity_error", "pck")
  return ablations(full, changes, scores)
