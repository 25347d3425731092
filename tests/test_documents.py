"""Every command of the documents is run, shrunk by overrides; links and named files exist."""

import importlib.util
import itertools
import pathlib
import re
import shlex
import shutil
import tarfile

import numpy as np
import pytest
import thermal_files
import two_cameras
import videos
from command_line import FIXTURES, ROOT, run
from PIL import Image

import cfi_jax
from cfi_jax.registration.rig import Confidence, Rig
from cfi_jax.weights import shipped

DOCUMENTS = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "launch/README.md"]
DOCUMENTS += ["benchmarks/README.md"]
DOCUMENTS += sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))
CARDS = [f"cfi_jax/weights/shipped/{name}.md" for name in shipped.SHA256]
TEXTS = {name: (ROOT / name).read_text() for name in (*DOCUMENTS, *CARDS)}
HAS_VIDEO = importlib.util.find_spec("av") is not None  # without it videos are left out here
# Beginnings of commands that are not run here, and why.
NOT_RUN = {
  "pip install": "would change the environment of the tests; .ci/run installs into a fresh one",
  "pytest": "this is pytest; that the files named exist is tested below",
  ".ci/run": "runs these tests",
  "pre-commit install": "writes into .git",
  "ruff": "asks about the whole tree, scratch files too; .ci/run does it",
  "mypy": "takes half a minute without its cache; .ci/run does it",
  "python -m cfi_jax.benchmark align": "needs larger pictures; tests/benchmark has some",
  "python -m cfi_jax.align --flir": "another rig; tests/fuse/test_flir.py has the command",
  "python -m cfi_jax.benchmark sequence": "takes minutes; tests/benchmark has a few frames",
  "python -m cfi_jax.export --format=onnx": "needs jax2onnx; tests/export runs it where that is",
  "python -m cfi_jax.benchmark fuse --weights=medical --contenders": "needs jax2onnx, too",
  "python -m cfi_jax.fuse --visible=CT": "needs volumes; tests/fuse/test_volumes.py makes some",
  "python -m cfi_jax.main --config=configs/figures.py": "trains another system; "
  "tests/systems/dfcnet takes its steps",
  "python -m cfi_jax.main --config=configs/harvard.py": "needs whole cases, which "
  "tests/datasets/test_layouts.py makes; configs/roadscene.py:trusting is run",
  "python -m cfi_jax.convert --checkpoint=runs/medical": "of that run; "
  "tests/systems/isfuse/test_trust.py converts with the flag",
  "python -m cfi_jax.downstream": "trains for long; tests/study/test_downstream.py has the study",
  "python -m cfi_jax.benchmark gpu": "needs a GPU; tests/benchmark has its cases and its refusal",
  "python -m cfi_jax.main --config=configs/msrs.py --workdir=gs:": "needs a bucket; "
  "tests/test_buckets.py has some, on this machine",
  "python -m cfi_jax.fuse --visible=s3:": "the same",
  "python -m cfi_jax.study --config=configs/shift.py --workdir=runs/shift_weights": "as the other "
  "study of shift.py, without training; tests/study/test_shift.py runs it in process",
  "launch/local.sh": "starts Python anew; tests/engine/test_resume.py trains by it",
  "MALLOC_ARENA_MAX": "a command with an ellipsis, about the memory of whole trainings",
}
# Studies as that of configs/results.py, which is run; tests/study builds these configs.
ONE_STUDY_IS_ENOUGH = ("configs/medical_results.py", "configs/levers.py")


def commands(text):
  """The commands of a document: in ```bash blocks, and indented ones that begin with python."""
  blocks = re.findall("```bash\n(.*?)```", text, re.DOTALL)
  indented = re.findall(r"(?:^    .*\n)+", re.sub("```.*?```", "", text, flags=re.DOTALL), re.M)
  blocks += [block for block in indented if re.match(r" +(python|[A-Z_]+=\S+ )", block)]
  lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
  return [" ".join(part.split()) for line in lines for part in line.split("&&")]


COMMANDS = {name: commands(text) for name, text in TEXTS.items() if commands(text)}

TINY = ["steps=1", "input.crop=16", "batch_size=2", "model.features=4", "model.grid=2"]
TINY += ["validation_pairs=1", "pictures=1", "validation_metrics=('EN',)"]
# As the other tests, and with that their compiled step.
TINY += ["loss.invariance.views=('complementary',)", "loss.necessity.views=()", "input.device_gb=0"]
TINY += ["model.gate=paper", "model.shared_encoder=True", "optim.schedule=constant"]
TINY += ["model.levels=1", "optim.learning_rate=1e-4", "masks.size=(4, 4)"]
SYNTHETIC = ["data.scenes=4", "data.validation_scenes=1", "data.test_scenes=1", "data.size=32"]
# Studies: one row, one step of it, one metric.
ROW = [f"rows.fusion_only.{item}" for item in TINY if not item.startswith(("loss", "input.device"))]
ROW += ["order=('fusion_only',)", "seeds=(0,)", "metrics=('EN',)", "published.shipped="]
ROW += ["published.authors="]
SHIFT = [f"train.{item}" for item in TINY if not item.startswith(("loss", "optim", "model.gate"))]
SHIFT = [item for item in SHIFT if "shared_encoder" not in item]
SHIFT += ["recipes.fusion_only.model.shared_encoder=True", "recipes.fusion_only.model.gate=paper"]
SHIFT += ["train.data.size=32", "train.data.scenes=4", "order=('fusion_only',)", "seeds=(0,)"]
SHIFT += ["tests.scenes=2", "tests.metrics=('EN',)", "tests.correlations=(0.9,)"]
SHIFT += ["tests.objects.width=3", "train.checkpoint.every=1", "train.log_every=1"]
SHIFT += [
  f"tests.corruptions.{name}=()"
  for name in ("noise", "blur", "misregistration", "haze", "rain", "snow", "missing_visible")
]
# Fewer candidates, of pairs that are small.
OPTIONS = ["crop=16", "views=0", "pairs=1", "metrics=('EN','Nabf')", "grid.exponent=(4.0,)"]
OPTIONS += ["grid.gain=(1.0,)", "grid.spread=(0.6,)", "grid.planes=(2.0,)"]
OVERRIDES = {
  "--temporal": [],
  "cfi_jax.export": ["--sizes=16x16", "--weights=average"],
  "cfi_jax.evaluate": ["--metrics=EN,SSIM"],
  "cfi_jax.analyze": ["--parts=gates,features"],
  "--align=rig.json": ["--weights=average"],
  "fuse --visible=RECORDED": ["--weights=average"],
  "roadscene.py:trusting": ["--config.loss.target.planes=3"],
  "cfi_jax.benchmark": ["--turns=1", "--floor_mb=1", "--floor_side=64"],
}


def overrides(command):
  """Flags that make a command small."""
  if "cfi_jax.study" in command:
    kinds = {"shift.py": SHIFT, "rule_options.py": OPTIONS}
    values = next((v for name, v in kinds.items() if f"configs/{name}" in command), ROW)
    if "configs/shift.py" in command:  # what it says itself stays
      given = tuple(re.findall(r"--config\.(\S+?=)", command))
      values = [value for value in values if not value.startswith(given)] if given else values
  elif "--config=" in command and "cfi_jax.check" not in command:
    values = TINY
  else:
    values = []
  if "synthetic" in command:
    values = [*values, *SYNTHETIC]
  flags = next((flags for name, flags in OVERRIDES.items() if name in command), [])
  return [*flags, *(f"--config.{value}" for value in values)]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory, write_pairs):
  """A folder with what the documents take for granted: data, weights, fused images.

  MSRS is the folder itself; RoadScene and TNO are below it.
  """
  root = tmp_path_factory.mktemp("workspace")
  for seed, part in enumerate(("train", "test")):
    write_pairs(root / part / "pairs", 4, seed)
    (root / part / "pairs" / "visible").rename(root / part / "vi")
    (root / part / "pairs" / "infrared").rename(root / part / "ir")
    (root / part / "pairs").rmdir()
  for path in list((root / "test").rglob("*.png")):
    path.rename(path.with_stem(f"test{path.stem}"))
  shutil.copytree(root / "test" / "vi", root / "FUSED")
  for folder, part in (("visible", "vi"), ("infrared", "ir")):  # of configs/folder.py
    (root / folder).symlink_to(root / "train" / part)
  with tarfile.open(FIXTURES / "work_directory_1.tar.xz") as archive:
    archive.extractall(root / "authors", filter="data")
  roadscene, tno = root / "roadscene", root / "tno"
  for folder, part in (("crop_LR_visible", "vi"), ("cropinfrared", "ir")):
    (roadscene / folder).mkdir(parents=True)
    (tno / part).mkdir(parents=True)
    for path in (root / "train" / part).iterdir():
      Image.open(path).save(roadscene / folder / f"FLIR_{path.stem}.jpg")
    Image.open(path).convert("L").save(tno / part / "01.png")
  names = sorted(path.stem for path in (roadscene / "cropinfrared").iterdir())
  recordings = root / "recordings"
  for sequence in ("day", "night"):
    (recordings / sequence).mkdir(parents=True)
    picture, counts = Image.open(path), np.random.default_rng(0).integers(29315, 30822, (24, 24))
    picture.convert("RGB").save(recordings / sequence / "0001_rgb.jpg")
    Image.fromarray(counts.astype(np.uint16)).save(recordings / sequence / "0001_thermal.tiff")
  (root / "msrs").symlink_to(root / "test")
  for name, images in zip(("photos", "thermal"), two_cameras.rig(3), strict=True):
    (root / name).mkdir()
    for k, image in enumerate(images):
      Image.fromarray(image).save(root / name / f"{k}.png")
  sizes = two_cameras.SIZE, two_cameras.INFRARED
  Rig(two_cameras.TRUTH, *sizes, (), Confidence(1.0, 1.0)).save(root / "rig.json")
  (root / "flir").mkdir()
  for k, (photo, levels) in enumerate(zip(*two_cameras.rig(3), strict=True)):
    content = thermal_files.flir(10 + levels / 10, np.stack([photo] * 3, -1), way="<")
    (root / "flir" / f"{k}.jpg").write_bytes(content)
  if HAS_VIDEO:
    (root / "recorded").mkdir()
    scenes = list(videos.world(4))
    videos.write(root / "recorded" / "visible.mkv", [videos.photo(celsius) for celsius in scenes])
    videos.write(root / "recorded" / "infrared.mkv", [videos.counts(celsius) for celsius in scenes])
  (roadscene / "train.txt").write_text("\n".join(names[:3]))
  (roadscene / "test.txt").write_text(names[3])
  for name in ("isfuse", "msrs"):
    shutil.copy(FIXTURES / "weights_1.safetensors", root / f"{name}.safetensors")
  (table,) = re.findall("```\n(Convention: .*?)```", TEXTS["docs/evaluating.md"], re.DOTALL)
  (root / "published.md").write_text(table)
  yield root
  shutil.rmtree(root)


@pytest.fixture(scope="module")
def done():
  """Commands that were run; one that several documents have is run once."""
  return set()


def shrink(command, root):
  """The command as it is run: small, in the workspace, with our files in the place of theirs."""
  words = command.replace("isfuse_best.pth", str(root / "authors" / "run"))
  # Weights of the workspace's size; of the recipe whose step is compiled already.
  words = words.replace("init_from=visible-infrared", f"init_from={root / 'msrs.safetensors'}")
  words = words.replace("configs/folder.py:trusting", "configs/folder.py")
  # README's first command fuses by the shipped network; elsewhere tiny ones take its place.
  if re.search(r"cfi_jax\.(evaluate|analyze|study) ", words):
    words = words.replace("=visible-infrared", f"={root / 'msrs.safetensors'}")
  for name in ("roadscene", "tno", "msrs"):
    words = words.replace(f"roots.{name}=PATH", f"roots.{name}={root / name}")
  if "configs/roadscene.py" in words:
    words = words.replace("data.root=PATH", f"data.root={root / 'roadscene'}")
  ours = (
    r"(?<![\w./])(runs/|tfds_data\b|isfuse\.|msrs\.|published\.|FUSED|WEATHER\b|scores\b|results/"
    r"|analysis\b|rig\.json|check\.png)"
  )
  words = re.sub(ours, rf"{root}/\1", words)
  places = {"VISIBLE": "test/vi", "INFRARED": "test/ir", "RECORDINGS": "recordings", "PATH": ""}
  places |= {"PHOTOS": "photos", "THERMAL": "thermal", "FLIR": "flir", "RECORDED": "recorded"}
  for name, path in places.items():
    words = re.sub(rf"\b{name}\b", str(root / path), words)
  small = overrides(command)
  keys = {flag.split("=")[0] for flag in small}
  # A tuple that is given twice is not replaced, but longer.
  return [*(word for word in shlex.split(words) if word.split("=")[0] not in keys), *small]


def is_run(command):
  if not HAS_VIDEO and "RECORDED" in command:
    return False
  return not any(command.startswith(name) for name in NOT_RUN) and not any(
    name in command for name in ONE_STUDY_IS_ENOUGH
  )


@pytest.mark.parametrize("document", COMMANDS)
def test_commands_run_in_order(document, workspace, done):
  for command in filter(is_run, COMMANDS[document]):
    words = shrink(command, workspace)
    if tuple(words) in done:
      continue
    assert words[:2] == ["python", "-m"]
    result = run(*words[2:])
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    done.add(tuple(words))
    workdir = re.search(r"--workdir=(\S+)", " ".join(words))
    if workdir and "cfi_jax.study" not in command:
      assert list(pathlib.Path(workdir[1], "pictures").glob("*.png"))
      assert (pathlib.Path(workdir[1]) / "checkpoints" / "1").is_dir()


def test_commands_are_found_and_what_is_not_run_is_said():
  every = list(itertools.chain(*COMMANDS.values()))
  assert {"README.md", "CONTRIBUTING.md", "docs/RESULTS.md", "docs/training.md"} <= set(COMMANDS)
  assert len(set(filter(is_run, every))) >= 18
  for name in (*NOT_RUN, *ONE_STUDY_IS_ENOUGH):
    assert any(name in command for command in every), f"no document has {name} any longer"
  extras = [c.split("[")[1].split("]")[0] for c in every if c.startswith("pip") and "[" in c]
  project = (ROOT / "pyproject.toml").read_text()
  assert extras
  for extra in extras:
    assert re.search(rf"^{extra} = \[", project, re.MULTILINE), extra
  for command in every:
    for path in re.findall(r"(?:configs|tests|launch)/\S+\.(?:py|sh)", command):
      assert (ROOT / path).exists(), command


def test_pictures_exist():
  pictures = re.findall(r"!\[.*?\]\((.*?)\)", TEXTS["README.md"])
  assert pictures
  for path in pictures:
    assert (ROOT / path).exists(), path


def headings(text):
  """Anchors of a document, as GitHub makes them."""
  found = re.findall(r"^#+ (.*)$", re.sub("```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
  return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("document", TEXTS)
def test_links_lead_somewhere(document):
  for link in re.findall(r"\]\(([^)\s]+)\)", TEXTS[document]):
    if "://" in link:
      continue
    name, _, anchor = link.partition("#")
    path = (ROOT / document).parent.joinpath(name).resolve() if name else ROOT / document
    assert path.exists(), link
    assert not anchor or anchor in headings(path.read_text()), link


NAMED = sorted(
  (document, path)
  for document, text in TEXTS.items()
  for path in set(re.findall(r"`([\w/.]+/[\w/.]*\.(?:py|sh|cff|jsonl|json|txt|yaml|csv))`", text))
)


@pytest.mark.parametrize(("document", "path"), NAMED)
def test_named_files_exist(document, path):
  folders = (ROOT, ROOT / "cfi_jax", (ROOT / document).parent)
  assert any((folder / path).exists() for folder in folders)


def test_tables_of_results_are_those_that_were_written():
  tables = {path: path.read_text().splitlines() for path in (ROOT / "docs/results").glob("*.md")}
  written = {line for lines in tables.values() for line in lines}
  lines = [line for line in TEXTS["docs/RESULTS.md"].splitlines() if line.startswith("| ")]
  assert len(lines) > 40
  for line in lines:
    assert line in written, line


def test_results_say_by_which_pairs_weights_were_chosen():
  for name in shipped.of("isfuse"):
    assert f"- `shipped` ({name}): {shipped.CHOSEN[name]}" in TEXTS["docs/RESULTS.md"]


def test_the_picture_can_be_drawn_anew(tmp_path):
  output = tmp_path / "fuse.png"
  tiny = f"--weights={FIXTURES / 'weights_1.safetensors'}"  # the default compiles for seconds
  done = run("docs.fuse_picture", f"--output={output}", "--size=48", tiny)
  assert done.returncode == 0, done.stderr
  with Image.open(output) as picture:
    assert picture.size == (3 * 48, 4 * 48)


def test_python_of_the_documents_compiles():
  blocks = [b for text in TEXTS.values() for b in re.findall("```python\n(.*?)```", text, re.S)]
  assert len(blocks) >= 4
  for block in blocks:
    compile(block, "<document>", "exec")


def test_the_python_of_fusing_runs(monkeypatch):
  load = cfi_jax.load
  default = FIXTURES / "weights_1.safetensors"  # as above
  monkeypatch.setattr(cfi_jax, "load", lambda *given: load(*(given or (default,))))
  (block,) = re.findall("```python\n(.*?)```", TEXTS["docs/fusing.md"], re.DOTALL)
  rng = np.random.default_rng(0)
  values = {name: rng.integers(0, 256, (16, 24), np.uint8) for name in ("visible", "infrared")}
  values["mask"] = values["infrared"] > 20
  exec(block, values)
  assert values["fused"].shape == (16, 24) and values["fused"].dtype == np.uint8
  assert np.isfinite(values["details"].gates[0]).all()
