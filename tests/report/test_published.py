"""Tables of published means: what is read, and what is refused with which words."""

import math

import pytest
from command_line import SHARED

from cfi_jax.core.types import InputError
from cfi_jax.report.published import read_published

BASELINES = SHARED / "reference" / "baselines.md"
MARKDOWN = """# Theirs, `tang` convention (AG in the convention of cddfuse in the last column)

## TNO42 (n=42)
| method | AG ↑ | SSIM | AG cdd |
|---|:---:|---|---|
| isfuse | 5.076 | 0.478 | 5.054 |
| a\\|b | 2.5 | - | 2.4 |

## Other
| method | AG |
| --- | --- |
| isfuse | 1.0 |
"""
CSV = "method,AG,convention,SSIM\nisfuse,5.076,tang,0.478\n\nother,2.5,tang,\n"


@pytest.fixture
def write(tmp_path):
  """A function (name, text) that writes a file and gives its path as text."""

  def write(name, text):
    (tmp_path / name).write_text(text)
    return str(tmp_path / name)

  return write


def test_a_table_of_markdown_is_read_by_its_heading(write):
  file = write("theirs.md", MARKDOWN)
  for heading in ("TNO42", "TNO42 (n=42)"):
    found = read_published(f"{file}#{heading}", "tang", ("AG", "SSIM", "EI"))
    first, second = found.rows.items()
    assert first == ("isfuse (published)", {"AG": 5.076, "SSIM": 0.478})
    assert second[0] == "a\\|b (published)" and math.isnan(second[1]["SSIM"])
    assert found.images == 42 and found.left_out == ("AG cdd",)
    assert found.title == f"{file}, table 'TNO42 (n=42)'"
  other = read_published(f"{file}#Other", "tang", ("AG",))
  assert other.rows == {"isfuse (published)": {"AG": 1.0}} and other.images is None


def test_the_only_table_needs_no_heading(write):
  only = MARKDOWN.split("## Other")[0]
  assert len(read_published(write("one.md", only), "tang", ()).rows) == 2
  hashed = write("a#b.md", only)  # the whole name is a file
  assert len(read_published(hashed, "tang", ()).rows) == 2


def test_csv_has_a_column_of_conventions(write):
  found = read_published(write("theirs.csv", CSV), "tang", ("AG",))
  assert found.rows["isfuse (published)"] == {"AG": 5.076, "SSIM": 0.478}
  assert math.isnan(found.rows["other (published)"]["SSIM"]) and found.images is None


def test_a_convention_is_that_stated_last_above(write):
  text = "Convention: `strict`\n\n# A\n| method | EN |\n|---|---|\n| a | 7 |\n\nconvention tang\n"
  text += "# B\n| method | EN |\n|---|---|\n| a | 6 |\n"
  file = write("two.md", text)
  assert read_published(f"{file}#A", "strict", ()).rows["a (published)"]["EN"] == 7
  assert read_published(f"{file}#B", "tang", ()).rows["a (published)"]["EN"] == 6
  with pytest.raises(InputError, match="table 'B': scores of the convention 'tang'"):
    read_published(f"{file}#B", "strict", ())


@pytest.mark.skipif(not BASELINES.exists(), reason="no reference data of the workplace")
def test_the_baselines_of_the_workplace_are_read():
  found = read_published(f"{BASELINES}#RoadScene50", "tang", ("AG", "MS_SSIM"))
  assert len(found.rows) == 13 and found.images == 50 and found.left_out == ("AG cdd",)
  assert found.rows["lrrnet (published)"]["SSIM"] == 0.309


ROW = "| isfuse | 5.076 | 0.478 | 5.054 |"
BAD_MARKDOWN = {
  "several tables": ("", "", "", "2 tables; name one behind the file's name, of #TNO42, #Other"),
  "no such table": ("#TNO", "", "", "0 tables under #TNO; name one"),
  "unknown column": ("#TNO42", "AG ↑", "ACG", r"column 'ACG': unknown metric 'ACG' \(did you mean"),
  "not of it": (
    "#TNO42",
    "AG ↑",
    "NMI",
    "column 'NMI': NMI is not defined under conv",
  ),
  "no convention": ("#TNO42", "AG cdd", "AG old", "column 'AG old': 'old' is no convention; valid"),
  "column twice": ("#TNO42", "AG cdd", "ag tang", "column 'ag tang': AG is there twice"),
  "no names": ("#TNO42", "method", "MI", "columns MI, AG ↑, SSIM, AG cdd; one must be 'method'"),
  "only names": ("#Other", "| method | AG |\n", "| method | AG cdd |\n", "no column of a metric"),
  "unstated": ("#TNO42", "`tang` convention", "by us", "its convention is not stated; write above"),
  "method twice": ("#TNO42", "a\\|b", "isfuse", "line 7: the method 'isfuse' is there twice"),
  "no name": ("#TNO42", "a\\|b", "", "line 7: a method without a name"),
  "short row": ("#TNO42", ROW, "| isfuse | 1 |", "line 6: 2 cells in a table of 4 columns"),
  "no number": ("#TNO42", "5.076", "n/a", "line 6: AG of 'isfuse' is 'n/a'; allowed: a number"),
  "infinite": ("#TNO42", "5.076", "inf", "AG of 'isfuse' is 'inf'; allowed: a number, or - for"),
  "percent": ("#TNO42", "0.478", "47.8", "SSIM of 'isfuse' is 47.8; under tang it is -1 to 1"),
  "no rows": ("#Other", "| isfuse | 1.0 |\n", "", "table 'Other': a table without rows"),
  "no line": ("#TNO42", "|---|:---:|---|---|\n", "", r"line 4: no line \| --- \| below the head"),
}


@pytest.mark.parametrize("case", BAD_MARKDOWN)
def test_bad_tables_of_markdown(write, case):
  heading, old, new, message = BAD_MARKDOWN[case]
  assert old in MARKDOWN
  file = write("theirs.md", MARKDOWN.replace(old, new))
  with pytest.raises(InputError, match=message):
    read_published(f"{file}{heading}", "tang", ("AG",))


BAD_CSV = {
  "no column": ("convention", "year", "there is no column 'convention'"),
  "mixed": ("2.5,tang", "2.5,strict", "rows of several conventions, strict, tang"),
  "unknown": ("tang", "matlab", "unknown convention 'matlab'; valid: tang, cddfuse, strict"),
  "other": ("tang", "strict", "scores of the convention 'strict', which must not .*--convention="),
  "short": ("other,2.5,tang,", "other,2.5", r"theirs.csv, line 4: 2 cells in a table of 4 columns"),
  "empty": (CSV, "", "there is no column 'convention'"),
  "no rows": (CSV.split("\n", 1)[1], "", "its convention is not stated"),
  "psnr": ("AG", "PSNR", r"PSNR of 'isfuse' is 5.076; under tang it is 48.13\d+ to inf: is this"),
}


@pytest.mark.parametrize("case", BAD_CSV)
def test_bad_csv(write, case):
  old, new, message = BAD_CSV[case]
  assert old in CSV
  with pytest.raises(InputError, match=message):
    read_published(write("theirs.csv", CSV.replace(old, new)), "tang", ())


def test_metrics_that_mean_ranks_need_must_be_there(write):
  file = write("theirs.csv", CSV)
  assert read_published(file, "tang", ("AG", "Nabf")).rows  # Nabf is not ranked
  with pytest.raises(InputError, match="need the columns VIF, which it lacks; .*--metrics=AG,SSIM"):
    read_published(file, "tang", ("AG", "VIF", "SSIM"))


def test_bad_files(write, tmp_path):
  with pytest.raises(InputError, match=r"scores.txt: published scores are read from files .md and"):
    read_published(str(tmp_path / "scores.txt"), "tang", ())
  with pytest.raises(InputError, match="none.md: cannot be read as text"):
    read_published(str(tmp_path / "none.md#TNO"), "tang", ())
  with pytest.raises(InputError, match="a CSV file is one table; leave #TNO out"):
    read_published(write("theirs.csv", CSV) + "#TNO", "tang", ())
  with pytest.raises(InputError, match="0 tables; name one behind the file's name, of none"):
    read_published(write("empty.md", "Convention: `tang`\n"), "tang", ())
  with pytest.raises(InputError, match="line 2: cannot be read as CSV"):
    read_published(write("quote.csv", 'method,convention\n"a,tang\n'), "tang", ())
