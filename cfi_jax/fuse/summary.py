"""The summary of fusing by several processes: which pairs were fused, and why others were not."""

import csv
import io
import pathlib
import sys

from cfi_jax.core.files import write_atomically
from cfi_jax.data.parts import Part, Parts
from cfi_jax.fuse.finding import Found

FILE = "summary.csv"
COLUMNS = ("name", "failure")  # failure: empty for a pair that was fused


def finish(part: Part, found: Found) -> None:
  """Adds to a part what its jobs did not tell: pairs that were there already, and no pairs."""
  for name, reason in found.failures:
    part.add({"name": name, "failure": reason})
  part.finish({"pairs": len(found.jobs), "left_out": found.left_out})


def join(output: pathlib.Path, count: int | None) -> int:
  """Writes summary.csv of all parts and lists what failed; returns 1 where something did, else 0.

  count: the number of parts, by default what their folder tells. Raises InputError as `Parts` does.
  """
  parts = Parts(output, count)
  text = io.StringIO(newline="")
  table = csv.writer(text, lineterminator="\n")
  table.writerow(COLUMNS)
  failed = total = 0
  for record in parts.records():
    total += 1
    table.writerow((record["name"], record["failure"]))
    if record["failure"]:
      failed += 1
      print(f"failed: {record['name']}: {record['failure']}", file=sys.stderr)
  write_atomically(output / FILE, text.getvalue().encode(errors="surrogateescape"))
  pairs = sum(notes["pairs"] for notes in parts.notes)
  print(f"{total - failed} of {pairs} pairs are fused, by {parts.count} processes; {failed} failed")
  print(f"summary: {output / FILE}")
  return 1 if failed else 0
