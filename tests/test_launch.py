"""The scripts in launch/: what they start trains, survives a loss, and passes their checkers.

srun and gcloud are played by small scripts that set what the real ones set. Detection on real
Slurm, GKE and TPU machines is JAX's own; of it only Slurm's part runs here.
"""

import os
import re
import signal
import subprocess
import sys

import jsonschema
import kubernetes_validate
import numpy as np
import pytest
import yaml
from command_line import ROOT, Started, free_port, last_step, wait_for
from full import only_full

from cfi_jax.engine.workdir import logs

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
  assert len(placed) == 3
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
  assert [status for status, *_ in ends] == [0, 0], ends
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
  verbs = ["resources create", "describe", "describe", "pip install", "cfi_jax.main", "delete"]
  assert len(calls) == len(verbs)
  for call, verb in zip(calls, verbs, strict=True):
    assert verb in call and "--zone=" in call and "--project=" in call
  assert "--node-id=cfi-jax" in calls[0] and "--spot --valid-until-duration=6h" in calls[0]
  assert all("--worker=all" in call for call in calls[3:5])
  assert "--force" in calls[-1]


def test_the_tpu_variants_leave_the_place_to_jax():
  assert "--coordinator=auto" in container("tpu")["args"]
  assert container("tpu")["command"] == ["python", "-m", "cfi_jax.main"]
  assert not any(argument.startswith("--process") for argument in container("tpu")["args"])
