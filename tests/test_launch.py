"""The scripts in launch/: what they start trains, survives a loss, and passes their checkers.

srun and gcloud are played by small scripts that set what the real ones set. Detection on real
Slurm, GKE and TPU machines is JAX's own; of it only Slurm's part runs here.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from functools import partial

import jsonschema
import kubernetes_validate
import numpy as np
import pytest
import yaml
from command_line import ROOT, Started, free_port, last_step, wait_for
from full import only_full
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from cfi_jax import main
from cfi_jax.core import cli
from cfi_jax.data import shards
from cfi_jax.engine.workdir import logs
from cfi_jax.fuse import __main__ as fuse

LAUNCH = ROOT / "launch"
VARIANTS = {
  document["metadata"]["labels"]["variant"]: document
  for document in yaml.safe_load_all((LAUNCH / "gke.yaml").read_text())
}

SRUN = """#!/usr/bin/env bash
while [[ $1 == --* ]]; do shift; done
export SLURM_JOB_ID=7 SLURM_STEP_NODELIST=localhost SLURM_NTASKS=2
for index in 0 1; do
  SLURM_PROCID=$index SLURM_LOCALID=$index "$@" &
  pids[index]=$!
done
echo "${pids[@]}" >> "$PIDS"
worst=0
for pid in "${pids[@]}"; do
  status=0; wait "$pid" || status=$?
  ((status > worst)) && worst=$status
done
exit "$worst"
"""

GCLOUD = """#!/usr/bin/env bash
echo "${*//$'\\n'/ }" >> calls
case "$*" in
  *describe*) [ -e asked ] && echo ACTIVE || echo WAITING_FOR_RESOURCES; touch asked ;;
  *cfi_jax.main*) for last; do :; done; bash -c "${last#--command=}" ;;
esac
"""


def play(folder, name, text):
  """Puts a script into `folder` that is found before the real program; returns the PATH for it."""
  folder.mkdir(exist_ok=True)
  (folder / name).write_text(text)
  (folder / name).chmod(0o755)
  return f"{folder}:{os.environ['PATH']}"


@pytest.mark.parametrize("script", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_shellcheck(script):
  result = subprocess.run(["shellcheck", script], capture_output=True, text=True)
  assert result.returncode == 0, result.stdout
  assert os.access(script, os.X_OK)


def test_gpu_quarter_goes_on_with_the_results_that_there_are(tmp_path):
  wheels = tmp_path / "checkout" / ".whl"
  wheels.mkdir(parents=True)
  (wheels / "a.whl").touch()
  script = tmp_path / "checkout" / "launch" / "gpu_quarter.sh"
  script.parent.mkdir()
  script.write_text((LAUNCH / "gpu_quarter.sh").read_text())
  results = tmp_path / "results"
  results.mkdir()
  (results / "train.json").write_text("{}")
  path = play(tmp_path / "bin", "python3", '#!/bin/sh\necho "$PYTHONPATH | $*" >>calls\n')
  places = {"RESULTS": str(results), "OUT": str(tmp_path / "out"), "SITE": "/site"}
  environment = {"PATH": path, "SECONDS_THERE": "9", **places}
  subprocess.run(["bash", script, "measure", "--turns=3"], check=True, env=environment)
  install, measure = (tmp_path / "checkout" / "calls").read_text().splitlines()
  assert install.endswith("--target /site .whl/a.whl") and "--no-index" in install
  assert measure.startswith("/site | -m cfi_jax.benchmark gpu ")
  assert measure.endswith(f"--output={tmp_path / 'out'} --seconds=9 --turns=3")
  assert (tmp_path / "out" / "train.json").exists()
  help_ = subprocess.run(["bash", script], capture_output=True, text=True, env=environment)
  assert help_.returncode == 2 and "rehearse" in help_.stderr


def mapping(required=(), **fields):
  return {
    "type": "object",
    "properties": fields,
    "required": list(required),
    "additionalProperties": False,
  }


TEXT, FLAG, COUNT = {"type": "string"}, {"type": "boolean"}, {"type": "integer", "minimum": 0}
TEXTS = {"type": "array", "items": TEXT, "uniqueItems": True}
# Of jobset.x-k8s.io/v1alpha2 the fields that a JobSet like these can use; written after its API, as
# no package has the schema. The Jobs inside are checked against Kubernetes' own schema.
JOB_SET = mapping(
  ["apiVersion", "kind", "metadata", "spec"],
  apiVersion={"const": "jobset.x-k8s.io/v1alpha2"},
  kind={"const": "JobSet"},
  metadata={"type": "object", "required": ["name"]},
  spec=mapping(
    ["replicatedJobs"],
    network=mapping(enableDNSHostnames=FLAG, subdomain=TEXT, publishNotReadyAddresses=FLAG),
    failurePolicy=mapping(
      maxRestarts=COUNT,
      rules={
        "type": "array",
        "items": mapping(
          ["name", "action"],
          name={"type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"},
          action={
            "enum": ["FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"],
          },
          onJobFailureReasons=TEXTS,
          targetReplicatedJobs=TEXTS,
        ),
      },
    ),
    replicatedJobs={
      "type": "array",
      "minItems": 1,
      "items": mapping(
        ["name", "template"], name=TEXT, replicas=COUNT, template={"type": "object"}
      ),
    },
    suspend=FLAG,
    ttlSecondsAfterFinished=COUNT,
  ),
)


@pytest.mark.parametrize("variant", ["gpu", "tpu"])
def test_job_sets_fit_their_schemas(variant):
  document = VARIANTS[variant]
  jsonschema.validate(document, JOB_SET)
  (replicated,) = document["spec"]["replicatedJobs"]
  job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
  job |= replicated["template"]
  kubernetes_validate.validate(job, "1.37", strict=True)
  spec = job["spec"]
  assert spec["parallelism"] == spec["completions"] and spec["completionMode"] == "Indexed"
  # Bad input ends with status 2: the same one that JobSet's rule is about.
  (rule,) = spec["podFailurePolicy"]["rules"]
  assert rule["onExitCodes"]["values"] == [2] and rule["action"] == "FailJob"
  assert rule["onExitCodes"]["containerName"] == container(variant)["name"]


def container(variant):
  job = VARIANTS[variant]["spec"]["replicatedJobs"][0]["template"]
  (found,) = job["spec"]["template"]["spec"]["containers"]
  return found


def gke_arguments(index, tiny, port):
  """Module and arguments of the GPU variant in pod `index`, as Kubernetes makes them, but tiny."""
  values = {}
  for variable in container("gpu")["env"]:
    if "value" in variable:
      values[variable["name"]] = variable["value"]
    else:
      path = variable["valueFrom"]["fieldRef"]["fieldPath"]
      assert path == "metadata.annotations['batch.kubernetes.io/job-completion-index']"
      values[variable["name"]] = str(index)
  document = VARIANTS["gpu"]
  name = document["metadata"]["name"]
  job = document["spec"]["replicatedJobs"][0]
  host = f"{name}-{job['name']}-0-0.{name}"  # pod 0, as JobSet names it
  assert values["COORDINATOR"].startswith(host + ":")
  assert values["PROCESSES"] == str(job["template"]["spec"]["parallelism"]) == "2"
  values["COORDINATOR"] = f"localhost:{port}"
  arguments = [
    re.sub(r"\$\((\w+)\)", lambda match: values[match[1]], argument)
    for argument in container("gpu")["args"]
  ]
  placed = [argument for argument in arguments if not argument.startswith(("--config", "--work"))]
  assert [argument.partition("=")[0] for argument in placed] == [
    "--status_when_stopped", "--coordinator", "--processes", "--process",
  ]  # fmt: skip
  command = container("gpu")["command"]
  assert command == ["python", "-m", "cfi_jax.main"]
  return [command[2], *tiny, *placed]


# The tests of running pairs share one compiled program, of two steps.
SMALL = (
  "loss.invariance.views=()", "steps_per_dispatch=2", "data.validation_fraction=0",
  "validate_every=100000", "steps=100000", "log_every=2", "checkpoint.every=4",
  "checkpoint.keep=100000",
)  # fmt: skip


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, write_pairs, make_trainer):
  """The trainer, and the workdir of a pair as gke.yaml starts it that SIGTERM stopped after step 4.

  Only one of the two was told to stop.
  """
  root = tmp_path_factory.mktemp("stopped")
  write_pairs(root / "pairs", 8)
  trainer, workdir, port = make_trainer(root / "pairs"), root / "run", free_port()
  _, _, _, *tiny = trainer.command(workdir, *SMALL)
  pods = [Started(*gke_arguments(i, tiny, port)) for i in (0, 1)]
  wait_for(pods[0], lambda: last_step(workdir) > 4)
  pods[1].send_signal(signal.SIGTERM)
  ends = [pod.finish(120) for pod in pods]
  assert [status for status, *_ in ends] == [75, 75], ends
  return trainer, workdir, ends[0][1]


def test_sigterm_to_one_of_two_processes_saves_one_step_in_both(stopped):
  _, workdir, output = stopped
  saved = int(output.split("saved after step ")[1].split()[0])
  steps = sorted(int(path.name) for path in (workdir / "checkpoints").iterdir())
  assert steps[-1] == saved
  assert [step for step in steps if step % 4] == [saved] * (saved % 4 > 0)


# Four trainings in Python anew. What slurm.sh does has the next test; lost processes that end the
# others tests/engine/cluster/test_processes.py, runs that go on tests/engine/test_resume.py.
@only_full
def test_a_run_that_lost_a_process_ends_as_the_undisturbed_one(
  tmp_path, stopped, checkpoint_leaves
):
  """By slurm.sh it loses process 0 and is started again."""
  trainer, whole, _ = stopped
  broken = tmp_path / "broken"
  _, _, _, *tiny = trainer.command(broken, *SMALL, "steps=4", "checkpoint.every=2")
  pids = tmp_path / "pids"
  environment = {
    "PATH": play(tmp_path / "bin", "srun", SRUN),
    "PYTHON": sys.executable,
    "PIDS": str(pids),
    "JAX_COORDINATOR_PORT": free_port(),
  }
  job = subprocess.Popen(
    [LAUNCH / "slurm.sh", *tiny],
    env=os.environ | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
  )
  wait_for(job, (broken / "checkpoints" / "2").exists)
  os.kill(int(pids.read_text().split()[0]), signal.SIGKILL)
  output, _ = job.communicate(timeout=300)
  assert job.returncode == 0, output
  assert re.search(
    r"^process 1 of 2 stops: lost process 0 of 2 \(host .+\): localhost:\d+ does not answer any "
    r"more; the same command goes on from the last checkpoint$",
    output,
    re.MULTILINE,
  ), output
  assert "going on after step" in output and len(pids.read_text().splitlines()) == 2

  ours, theirs = checkpoint_leaves(broken, 4), checkpoint_leaves(whole, 4)
  assert ours.keys() == theirs.keys()
  for name, leaf in theirs.items():
    np.testing.assert_array_equal(ours[name], leaf, err_msg=name)
  steps = [row["step"] for row in logs.read_metrics(broken / logs.METRICS_FILE)]
  assert steps == [2, 4]


@pytest.mark.parametrize(
  ("ends", "starts", "status"),
  [("0", 1, 0), ("2", 1, 2), ("137 0", 2, 0), ("1 1 2", 3, 2), ("1 1 1 137 0", 4, 137)],
)
def test_slurm_starts_again_three_times_but_not_what_cannot_be_used(tmp_path, ends, starts, status):
  played = (
    '#!/usr/bin/env bash\necho "$*" >> calls\nn=$(wc -l < calls)\nset -- $ENDS\nexit "${!n}"\n'
  )
  environment = {"PATH": play(tmp_path / "bin", "srun", played), "ENDS": ends, "PYTHON": "python3"}
  given = ["--workdir=a b", "--config.steps=4"]
  job = subprocess.run([LAUNCH / "slurm.sh", *given], env=environment, cwd=tmp_path)
  assert job.returncode == status
  call = (
    f"--kill-on-bad-exit=0 --wait=90 python3 -m cfi_jax.main {' '.join(given)} --coordinator=auto"
  )
  assert (tmp_path / "calls").read_text().splitlines() == [call] * starts


def test_a_queued_tpu_is_asked_for_used_and_given_back(tmp_path, trainer):
  """The command on the workers is run, as far as it comes without a TPU."""
  (tmp_path / "cfi_jax").symlink_to(ROOT)
  _, _, _, *tiny = trainer.command(tmp_path / "run")
  result = subprocess.run(
    [LAUNCH / "tpu_vm.sh", "all", *tiny],
    env=os.environ
    | {
      "PATH": play(tmp_path / "bin", "gcloud", GCLOUD),
      "PYTHON": sys.executable,
      "POLL": "0",
      "OPTIONS": "--spot --valid-until-duration=6h",
    },
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert result.returncode == 2, result.stderr
  # Every flag was read, as quotes and brackets came through whole; then JAX found no cluster.
  assert "error: --coordinator=auto: JAX detects nothing it knows here" in result.stderr
  assert "Traceback" not in result.stderr and not (tmp_path / "run").exists()

  calls = (tmp_path / "calls").read_text().splitlines()
  verbs = ["resources create", "describe", "describe", "pip install", "cfi_jax.main", "describe"]
  verbs += ["delete"]
  assert len(calls) == len(verbs)
  for call, verb in zip(calls, verbs, strict=True):
    assert verb in call and "--zone=" in call and "--project=" in call
  assert "--node-id=cfi-jax" in calls[0] and "--spot --valid-until-duration=6h" in calls[0]
  assert all("--worker=all" in call for call in calls[3:5])
  assert "--force" in calls[-1]


# Slices of which the first is taken away amid the training.
SPOT = """#!/usr/bin/env bash
echo "${*//$'\\n'/ }" >> calls
case "$*" in
  *resources\\ create*) echo ACTIVE > state ;;
  *describe*) cat state ;;
  *cfi_jax.main*) [ -e taken ] || { touch taken; echo SUSPENDED > state; exit 255; } ;;
esac
"""


def run_tpu_vm(tmp_path, **environment):
  path = play(tmp_path / "bin", "gcloud", SPOT)
  done = subprocess.run(
    [LAUNCH / "tpu_vm.sh", "all", "--workdir=gs://b/run"],
    env=os.environ | {"PATH": path, "POLL": "0", "OPTIONS": "--spot"} | environment,
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  return done, (tmp_path / "calls").read_text().splitlines()


def test_spot_slices_that_are_taken_away_come_back_and_the_run_goes_on(tmp_path):
  done, calls = run_tpu_vm(tmp_path, SLICES="2")
  assert done.returncode == 0, done.stderr
  assert "cfi-jax: SUSPENDED; it is asked for again, and the run goes on" in done.stderr
  created = [call for call in calls if "resources create" in call]
  assert len(created) == 2 and len([call for call in calls if "delete" in call]) == 2
  assert all(
    "--node-prefix=cfi-jax --node-count=2 " in call and "--spot" in call for call in created
  )
  trained = [call for call in calls if "cfi_jax.main" in call]
  assert sorted(call.split()[4] for call in trained) == ["cfi-jax-0"] * 2 + ["cfi-jax-1"] * 2
  assert all("--workdir=gs://b/run  --coordinator=auto" in call for call in trained)


def test_a_slice_is_asked_for_so_often_and_no_more(tmp_path):
  done, calls = run_tpu_vm(tmp_path, TRIES="1")
  assert done.returncode == 255
  assert len([call for call in calls if "delete" in call]) == 1


# Tasks run at once; the flags say which is which, as sbatch itself would.
SBATCH = """#!/usr/bin/env bash
options=()
while [[ $1 == --* ]]; do options+=("$1"); shift; done
echo "${options[*]} | ${*:2}" >> calls
case "${options[*]}" in
  *--array=*)
    echo 41
    tasks=$(sed -E 's/.*--array=([^ ]*).*/\\1/; s/0-(.*)/$(seq -s, 0 \\1)/' <<<"${options[*]}")
    for task in $(eval "echo $tasks" | tr , ' '); do
      SLURM_JOB_ID=41 SLURM_ARRAY_TASK_ID=$task "$@" >> out 2>&1
    done ;;
  *) SLURM_JOB_ID=42 "$@" >> out 2>&1 ;;
esac
"""


def submit(tmp_path, *arguments, **environment):
  path = play(tmp_path / "bin", "sbatch", SBATCH)
  play(tmp_path / "bin", "python", '#!/bin/sh\necho "$*"\n')
  done = subprocess.run(
    [LAUNCH / "slurm_array.sh", *arguments],
    env={"PATH": path} | environment,
    cwd=tmp_path,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return (tmp_path / "calls").read_text().splitlines(), (tmp_path / "out").read_text().splitlines()


def test_an_array_of_slurm_does_all_parts_and_joins_them(tmp_path):
  calls, out = submit(tmp_path, "3", "fuse", "--output=a b", OPTIONS="--partition=p --qos=q")
  assert calls == [
    "--parsable --array=0-2 --partition=p --qos=q | 3 fuse --output=a b",
    "--dependency=afterany:41 --output=%x-%j.out --partition=p --qos=q | 3 fuse --output=a b",
  ]
  part = "-m cfi_jax.fuse --output=a b --array=slurm --process_count=3 --skip_existing"
  assert out == [part] * 3 + ["-m cfi_jax.fuse --output=a b --join --process_count=3"]


def test_lost_tasks_of_slurm_are_done_again_alone(tmp_path):
  calls, out = submit(tmp_path, "64", "evaluate", "--output=x", TASKS="3,17")
  assert calls[0] == "--parsable --array=3,17 | 64 evaluate --output=x"
  assert len(out) == 3 and out[-1] == "-m cfi_jax.evaluate --output=x --join --process_count=64"


ARRAY = {
  document["metadata"]["labels"]["step"]: document
  for document in yaml.safe_load_all((LAUNCH / "gke_array.yaml").read_text())
}


@pytest.mark.parametrize("step", ["parts", "join"])
def test_indexed_jobs_fit_their_schema_and_their_flags_are_read(step):
  document = ARRAY[step]
  kubernetes_validate.validate(document, "1.37", strict=True)
  (work,) = document["spec"]["template"]["spec"]["containers"]
  assert work["command"] == ["python", "-m", "cfi_jax.fuse"]
  given = cli.parse(fuse.FLAGS, work["args"])
  parts = ARRAY["parts"]["spec"]
  assert given["process_count"] == parts["completions"] == parts["maxFailedIndexes"]
  if step == "parts":
    assert shards.from_flags(given, {"JOB_COMPLETION_INDEX": "5"}) == shards.Shard(5, 64)
    assert given["skip_existing"]
    rules = parts["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "FailIndex"]
    assert rules[1]["onExitCodes"]["values"] == [2]
  else:
    assert given["join"] and shards.from_flags(given) is None
  both = [ARRAY[s]["spec"]["template"]["spec"]["containers"][0]["args"] for s in ARRAY]
  assert len(set(both[0]) & set(both[1])) == 4  # folders and the number of parts


def test_what_is_stopped_by_a_lost_node_is_started_again():
  for variant in VARIANTS:
    args = container(variant)["args"]
    status = int(next(a for a in args if "status_when_stopped" in a).split("=")[1])
    assert status not in (0, 2)  # JobSet starts again after it
    given = cli.parse(main.FLAGS, [arg for arg in args if not arg.startswith("--process")])
    assert given["workdir"].startswith("gs://") and given["status_when_stopped"] == status


DOCKERFILE = (LAUNCH / "Dockerfile").read_text()


def stages():
  """Instructions of every stage of the Dockerfile, [(word, rest)], by its name."""
  found = {}
  for line in DOCKERFILE.replace("\\\n", " ").splitlines():
    if not line or line.startswith("#"):
      continue
    word, rest = line.split(None, 1)
    if word == "FROM":
      name = rest.split(" AS ")[1]
      found[name] = []
    if found:
      found[name].append((word, rest))
  return found


def test_the_dockerfile_names_what_there_is():
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  ignored = (LAUNCH / "Dockerfile.dockerignore").read_text().splitlines()
  sent = {line[1:] for line in ignored if line.startswith("!")}
  copied, known = set(), stages()
  for name, instructions in known.items():
    for word, rest in instructions:
      if word == "COPY" and "--from=" in rest:
        assert rest.split()[0].removeprefix("--from=") in known, rest
      elif word == "COPY":
        copied |= set(rest.split()[:-1])
      elif word == "RUN" and "pip install" in rest:
        extras = re.search(r'"\.\[(.*)\]"', rest)[1].split(",")
        assert set(extras) <= set(project["optional-dependencies"]) | {"cloud"}, extras
        assert name.removeprefix("install-") in [*extras, "cpu"] and "constraints.txt" in rest
  assert copied == sent and all((ROOT / path).exists() for path in copied)
  assert {f"cfi_jax:{target}" for target in ("cpu", "cuda", "tpu")} >= {
    word.split("REGISTRY/")[1]
    for name in ("gke.yaml", "gke_array.yaml")
    for word in (LAUNCH / name).read_text().split()
    if word.startswith("REGISTRY/")
  }
  for target in ("cpu", "cuda", "tpu"):
    users = [rest for word, rest in known["run"] + known[target] if word == "USER"]
    assert users[-1] == "1000"  # nobody's rights but its own
    assert "/opt/cfi_jax /opt/cfi_jax" in str(known[target])


def pins():
  lines = (LAUNCH / "constraints.txt").read_text().splitlines()
  return [Requirement(line) for line in lines if line and not line.startswith("#")]


def test_the_constraints_are_versions_that_the_package_allows():
  pinned = {canonicalize_name(pin.name): str(pin.specifier) for pin in pins()}
  assert all(re.fullmatch(r"==[\w.+]+", version) for version in pinned.values()), pinned
  project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
  extras = project["optional-dependencies"]
  wanted = [*project["dependencies"], *extras["cuda"], *extras["tpu"], *extras.get("cloud", ())]
  for requirement in map(Requirement, wanted):
    version = pinned[canonicalize_name(requirement.name)].removeprefix("==")
    assert requirement.specifier.contains(version), requirement


@only_full
def test_the_steps_of_the_dockerfile_run_in_a_fresh_environment(tmp_path):
  """Copies and runs as the target cpu does, without an engine and the system's packages."""
  source, home = tmp_path / "source", tmp_path / "opt"
  places = {"/opt/cfi_jax": str(home / "cfi_jax"), "python -m venv": f"{sys.executable} -m venv"}
  source.mkdir()
  for word, rest in stages()["source"] + stages()["install-cpu"]:
    if word == "COPY":
      *names, target = rest.split()
      for name in names:
        path = ROOT / name
        place = source / target if path.is_dir() else source / target / path.name
        copy = shutil.copytree if path.is_dir() else shutil.copy
        copy(path, place)
    elif word == "RUN":
      for text, ours in places.items():
        rest = rest.replace(text, ours)
      subprocess.run(rest, shell=True, check=True, cwd=source)
  shutil.rmtree(source)
  environment = {"PATH": f"{home}/cfi_jax/bin:/usr/bin:/bin", "HOME": str(tmp_path)}
  run = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
  helped = run(["cfi-jax", "--help"])
  assert helped.returncode == 0 and "fuse" in helped.stdout, helped.stderr
  listed = run(["python", "-m", "cfi_jax.main", "--config=msrs", "--help"])
  assert listed.returncode == 0 and "--config.data.root" in listed.stdout, listed.stderr
  installed = run([f"{home}/cfi_jax/bin/pip", "freeze"]).stdout.splitlines()
  wanted = {canonicalize_name(pin.name): str(pin.specifier)[2:] for pin in pins()}
  for line in installed:
    name, at, version = line.partition("==")
    assert not at or wanted[canonicalize_name(name)] == version, line


def uncommented(name):
  """A launch file with its lines for NFS."""
  text = (LAUNCH / name).read_text()
  return re.sub(r"^( *)# (.*?) # NFS$", r"\1\2", text, flags=re.MULTILINE)


def test_nfs_is_a_comment_away():
  for document in yaml.safe_load_all(uncommented("gke.yaml")):
    jsonschema.validate(document, JOB_SET)
    (replicated,) = document["spec"]["replicatedJobs"]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}}
    kubernetes_validate.validate(job | replicated["template"], "1.37", strict=True)
    spec = replicated["template"]["spec"]["template"]["spec"]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if len(v) and
              "persistentVolumeClaim" in v]  # fmt: skip
    mounts = [m["mountPath"] for m in spec["containers"][0]["volumeMounts"]]
    assert claims == ["cfi-jax"] and "/share" in mounts


def test_the_tpu_variants_leave_the_place_to_jax():
  assert "--coordinator=auto" in container("tpu")["args"]
  assert container("tpu")["command"] == ["python", "-m", "cfi_jax.main"]
  assert not any(argument.startswith("--process") for argument in container("tpu")["args"])
