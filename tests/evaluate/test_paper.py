"""The authors' weights on the 42 TNO pairs: the paper's row, with and without its protocol.

By default its parts are tested: six of the pictures in tests/fuse/test_fuse.py, the values of the
toolkits in tests/metrics/test_toolkit.py, JPEG and conventions in test_evaluate.py.
"""

import numpy as np
import pytest
from command_line import SHARED, run
from full import only_full

from cfi_jax.data.alignment import align, read
from cfi_jax.evaluate import PROTOCOLS, through_jpeg
from cfi_jax.metrics import Triplet, score
from cfi_jax.systems import files
from cfi_jax.systems.files import save

CHECKPOINT = SHARED / "reference" / "official" / "isfuse_best.pth"
TNO = SHARED / "data" / "tno"


@only_full
@pytest.mark.skipif(
  not (CHECKPOINT.is_file() and TNO.is_dir()), reason="the authors' weights are not in shared"
)
def test_the_papers_row(tmp_path, one_canvas):
  path = tmp_path / "isfuse.safetensors"
  save(path, *files.read(CHECKPOINT))
  scenes = align({"visible": TNO / "vi", "infrared": TNO / "ir"}).scenes
  assert len(scenes) == 42
  pairs = [[read(scene.paths[m]) for m in ("visible", "infrared")] for scene in scenes]
  folders = [f"--{m}={TNO / folder}" for m, folder in (("visible", "vi"), ("infrared", "ir"))]
  # Optimised, as there is much to compute.
  done = run(
    "cfi_jax.fuse", *folders, f"--weights={path}", f"--output={tmp_path}", "--gray", XLA_FLAGS=""
  )
  assert done.returncode == 0, done.stderr
  fused = [read(tmp_path / f"{scene.name}.png") for scene in scenes]

  def means(images, metrics, convention):
    triplets = [
      Triplet("isfuse", scene.name, *pair, image)
      for scene, pair, image in zip(scenes, pairs, images, strict=True)
    ]
    scores = score(triplets, metrics, convention, progress=False)
    return {metric: scores.mean(metric, "isfuse") for metric in metrics}

  tang = means(fused, ("AG", "SF", "PSNR", "CC", "Qabf"), "tang")
  expected = {"AG": 5.076, "SF": 13.054, "PSNR": 62.066, "CC": 0.5083, "Qabf": 0.4391}
  assert tang == pytest.approx(expected, abs=0.002)
  assert means(fused, ("AG",), "cddfuse")["AG"] == pytest.approx(5.0545, abs=0.002)

  saved = [through_jpeg(np.asarray(image)) for image in fused]
  assert ("cddfuse", ("AG",)) in PROTOCOLS["paper_tno"]
  assert means(saved, ("AG",), "cddfuse")["AG"] == pytest.approx(5.13, abs=0.005)
  assert means(saved, ("PSNR",), "tang")["PSNR"] == pytest.approx(62.06, abs=0.005)
