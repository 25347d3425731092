"""A run killed at random moments, inside saves too, ends bit-identical to an undisturbed one.

Not by default, as tests/systems/test_contract.py kills each system's run once. Prints how many
kills came inside a save, and how many before a step was logged:

  python -m pytest -n 0 -s tests/engine/test_kills.py --kills=50
"""

import random
import signal

import numpy as np
import pytest
from command_line import ROOT, last_step, run

from cfi_jax.engine.workdir import logs

CLOCK = logs.CLOCK
EARLY = 0.2  # share of the kills that come before the first step of a start, or about then


def rows(workdir):
  """The log without what depends on the clock."""
  read = logs.read_metrics(workdir / logs.METRICS_FILE)
  return [{k: v for k, v in row.items() if k not in CLOCK} for row in read]


def test_a_run_killed_at_random_moments_ends_as_an_undisturbed_one(
  request, tmp_path, write_pairs, checkpoint_leaves
):
  kills, draw = request.config.getoption("--kills"), random.Random(0)
  write_pairs(tmp_path / "pairs", 8)
  if not kills:
    pytest.skip("takes minutes; --kills=50 kills a run fifty times")
  steps = 40 * kills  # a kill lets some ten steps pass on a quick machine

  def train(name, **env):
    return run(
      "toys.train",
      f"--config={ROOT / 'tests' / 'toys' / 'tiny.py'}:one",
      f"--workdir={tmp_path / name}",
      *(f"--config.data.root={tmp_path / 'pairs'}", f"--config.steps={steps}"),
      *("--config.checkpoint.every=2", "--config.validate_every=20"),
      **env,
    )

  done = train("whole")
  assert done.returncode == 0, done.stderr
  broken, count = tmp_path / "broken", {"kills": 0, "inside a save": 0, "before a step": 0}
  while count["kills"] < kills:
    start = last_step(broken)
    early = draw.random() < EARLY
    after, delay = (0, draw.uniform(0, 1)) if early else (start + 1, draw.uniform(0, 0.1))
    killed = train("broken", SIGNAL="SIGKILL", SIGNAL_AFTER=str(after), SIGNAL_DELAY=str(delay))
    assert killed.returncode == -signal.SIGKILL, (count, killed.stdout + killed.stderr)
    count["kills"] += 1
    count["inside a save"] += bool(list((broken / "checkpoints").glob("*tmp*")))
    count["before a step"] += last_step(broken) == start
  print(f"\n{count}, at step {last_step(broken)} of {steps}")
  done = train("broken")
  assert done.returncode == 0, done.stderr
  ours, theirs = (checkpoint_leaves(tmp_path / name, steps) for name in ("broken", "whole"))
  assert ours.keys() == theirs.keys()
  for name, leaf in theirs.items():
    np.testing.assert_array_equal(ours[name], leaf, err_msg=name)
  assert rows(broken) == rows(tmp_path / "whole")
  pictures = sorted(path.name for path in (broken / logs.PICTURES).iterdir())
  assert pictures == sorted(p.name for p in (tmp_path / "whole" / logs.PICTURES).iterdir())
  for name in pictures:
    both = [(tmp_path / run_name / logs.PICTURES / name) for run_name in ("broken", "whole")]
    assert both[0].read_bytes() == both[1].read_bytes()
