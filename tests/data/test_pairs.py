"""Pairs of files, of folders, and of radiometric files that hold both images."""

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data import pairs
from cfi_jax.data.naming import Naming
from cfi_jax.data.pairs import PairFiles, find_embedded, find_pairs, require_alike, sources
from cfi_jax.data.shards import Shard


def touch(root, *paths):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"xyz")


def flags(**given):
  return dict.fromkeys(("visible", "infrared", "flir"), "") | given


def test_sources_are_two_or_one():
  two = sources(flags(visible="v", infrared="i"))
  assert [str(path) for path in two] == ["v", "i"]
  assert [str(path) for path in sources(flags(flir="f"))] == ["f"]


@pytest.mark.parametrize(
  ("given", "words"),
  [
    ({}, "--visible is missing; required are --visible and --infrared, or --flir"),
    ({"visible": "v"}, "--infrared is missing"),
    ({"infrared": "i"}, "--visible is missing"),
    ({"flir": "f", "infrared": "i"}, "--flir=f holds both images; leave --infrared out"),
    ({"flir": "f", "visible": "v", "infrared": "i"}, "leave --visible out"),
  ],
)
def test_other_sources_are_refused(given, words):
  with pytest.raises(InputError, match=words):
    sources(flags(**given))


def test_both_are_files_or_both_are_folders(tmp_path):
  touch(tmp_path, "a.png", "folder/b.png")
  file, folder = tmp_path / "a.png", tmp_path / "folder"
  require_alike(file, file)
  require_alike(folder, folder)
  for one, other in ((file, folder), (folder, file)):
    with pytest.raises(InputError, match=f"{one} and {other}: one is a folder, the other a file"):
      find_pairs(one, other)
  for given in ((file, tmp_path / "none"), (tmp_path / "none", file)):
    with pytest.raises(InputError, match=f"{tmp_path}/none: does not exist"):
      find_pairs(*given)


def test_two_files_are_a_pair_with_the_name_of_the_visible_one(tmp_path):
  touch(tmp_path, "v.png", "i.tif")
  found = find_pairs(tmp_path / "v.png", tmp_path / "i.tif")
  assert found == pairs.FoundPairs(
    [PairFiles("v", tmp_path / "v.png", tmp_path / "i.tif", embedded=False)], [], [], ()
  )
  (tmp_path / "link.png").symlink_to(tmp_path / "v.png")
  with pytest.raises(InputError, match="v.png: given as the visible and as the infrared image"):
    find_pairs(tmp_path / "v.png", tmp_path / "link.png")


def test_folders_give_pairs_and_all_that_is_none(tmp_path):
  touch(tmp_path, "v/s/1.png", "v/2.png", "v/3.png", "v/4.heic", "v/x.txt", "v/2.jpg")
  touch(tmp_path, "i/s/1.tif", "i/2.png", "i/4.png", "i/9.heic")
  found = find_pairs(tmp_path / "v", tmp_path / "i")
  assert [pair.name for pair in found.pairs] == ["2", "s/1"]
  assert found.pairs[1] == PairFiles("s/1", tmp_path / "v/s/1.png", tmp_path / "i/s/1.tif")
  twice, alone, lost = found.problems
  assert twice.startswith("two images of one name: ") and "1 of 3 images in" in alone
  assert lost.startswith("1 left out for their format: ")
  assert found.left_out == [f"{tmp_path}/i/9.heic"]
  assert [(name.split("/")[-1], reason[:19]) for name, reason in found.failures] == [
    ("2", "two images of one n"), ("3", "no image of the sam"), ("4.heic", "left out for its fo"),
  ]  # fmt: skip
  assert found.failures[1][1] == f"no image of the same name in {tmp_path}/i"


def test_no_pair_is_refused_but_for_a_shard(tmp_path):
  touch(tmp_path, "v/1.png", "i/2.png")
  with pytest.raises(InputError, match="there is no pair to fuse\n.*no partner"):
    find_pairs(tmp_path / "v", tmp_path / "i")
  with pytest.raises(InputError, match="there is no pair to score"):
    find_pairs(tmp_path / "v", tmp_path / "i", purpose="score")
  assert list(find_pairs(tmp_path / "v", tmp_path / "i", shard=Shard(0, 2)).pairs) == []


def test_shards_share_the_pairs(tmp_path):
  numbers = [str(k) for k in range(8)]
  touch(tmp_path, *(f"{folder}/{k}.png" for folder in "vi" for k in numbers))
  shares = [find_pairs(tmp_path / "v", tmp_path / "i", shard=Shard(k, 2)).pairs for k in range(2)]
  assert sorted(pair.name for share in shares for pair in share) == numbers and all(shares)


@pytest.fixture
def radiometric(monkeypatch):
  """Files are radiometric whose name begins with r."""
  monkeypatch.setattr(pairs, "_is_radiometric", lambda path: path.name.startswith("r"))


def test_radiometric_files_are_pairs_by_themselves(tmp_path, radiometric):
  touch(tmp_path, "f/r-1.jpg", "f/r.jpg", "f/s/r2.jpg", "f/plain.jpg", "f/x.txt", "f/y.npy")
  found = find_embedded(tmp_path / "f")
  assert [pair.name for pair in found.pairs] == ["r", "r-1", "s/r2"]
  path = tmp_path / "f" / "s" / "r2.jpg"
  assert found.pairs[2] == PairFiles("s/r2", path, path, embedded=True)
  assert found.left_out == [f"{tmp_path}/f/{name}" for name in ("y.npy", "plain.jpg")]
  assert found.problems == found.failures == []
  assert find_embedded(tmp_path / "f" / "r.jpg") == pairs.FoundPairs(
    [PairFiles("r", tmp_path / "f/r.jpg", tmp_path / "f/r.jpg", embedded=True)], [], [], ()
  )


def test_two_radiometric_files_of_one_name_are_a_problem(tmp_path, radiometric):
  touch(tmp_path, "f/r1.jpg", "f/r01.jpg")
  found = find_embedded(tmp_path / "f", Naming(match="number"))
  assert [pair.name for pair in found.pairs] == ["r01"]
  (problem,) = found.problems
  assert problem.startswith("two images of one name: ") and found.failures == [("r1", problem)]


def test_a_folder_without_radiometric_files_is_refused_but_for_a_shard(tmp_path, radiometric):
  touch(tmp_path, "f/a.jpg")
  (tmp_path / "empty").mkdir()
  for name, words in (("f", "; left out: .*a.jpg$"), ("empty", "$"), ("none", "")):
    what = "holds no radiometric JPEG of FLIR" if name != "none" else "does not exist"
    with pytest.raises(InputError, match=f"{tmp_path}/{name}: {what}{words}"):
      find_embedded(tmp_path / name)
  assert find_embedded(tmp_path / "f", shard=Shard(0, 2)).pairs == []


@pytest.mark.parametrize(
  ("answer", "found"), [(None, False), ("layout", True), (InputError("damaged"), True)]
)
def test_a_damaged_file_counts_as_radiometric(tmp_path, monkeypatch, answer, found):
  def find(file):
    if isinstance(answer, Exception):
      raise answer
    return answer

  touch(tmp_path, "a.jpg")
  monkeypatch.setattr(pairs.radiometric, "find", find)
  assert pairs._is_radiometric(tmp_path / "a.jpg") is found
  with pytest.raises(InputError, match="none.jpg: No such file"):
    pairs._is_radiometric(tmp_path / "none.jpg")
