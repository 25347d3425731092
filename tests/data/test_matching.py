"""Folders matched by name, with those below them: how many there are does not matter."""

import os

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data import matching
from cfi_jax.data.matching import match_folders, unread
from cfi_jax.data.naming import OPTIONS, from_options
from cfi_jax.data.shards import Shard


def touch(root, *paths):
  for path in paths:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(b"xyz")


def test_records_hold_the_files_of_all_folders_in_their_order(tmp_path):
  touch(tmp_path, "c/1.png", "c/2.png", "a/1.jpg", "a/2.PNG", "b/2.bmp", "b/1.bmp", "b/x.txt")
  found = match_folders(str(tmp_path), {"one": "c", "two": "a", "three": "b"})
  assert [record.name for record in found.records] == ["1", "2"]
  assert [(n, f.path, f.bytes) for n, f in found.records[1].files.items()] == [
    ("one", "c/2.png", 3), ("two", "a/2.PNG", 3), ("three", "b/2.bmp", 3),
  ]  # fmt: skip
  assert found.problems == () and found.strays == ("b/x.txt",)
  assert [record.noun for record in found.records] == ["set", "set"]


def test_a_single_folder_needs_no_partner(tmp_path):
  touch(tmp_path, "a/1.png", "a/2.png")
  found = match_folders(str(tmp_path), {"thermal": "a"})
  assert [record.name for record in found.records] == ["1", "2"] and found.problems == ()
  assert found.records[0].noun == "image"


def test_what_each_folder_lacks_is_said(tmp_path):
  touch(tmp_path, "a/1.png", "a/2.png", "b/1.png", "c/1.png", "c/3.png", "c/1.jpg")
  found = match_folders(str(tmp_path), {"one": "a", "two": "b", "three": "c"})
  assert [record.name for record in found.records] == ["1"]
  doubles, *lacks = found.problems
  assert doubles == "two images of one name: c/1.jpg and c/1.png"
  assert lacks == [
    f"1 of 2 images in {tmp_path}/{here} have no partner of the same name in {there}: {name}"
    for here, there, name in (("a", "b", 2), ("a", "c", 2), ("c", "a", 3), ("c", "b", 3))
  ]


def test_unusable_folders_are_named(tmp_path):
  for name in "abc":
    (tmp_path / name).mkdir()
  with pytest.raises(InputError, match="no image in .*/a nor in .*/b nor in .*/c .looked for .png"):
    match_folders(str(tmp_path), {"one": "a", "two": "b", "three": "c"})
  with pytest.raises(InputError, match="one and three are the same folder, 'a'"):
    match_folders(str(tmp_path), {"one": "a", "two": "b", "three": "a"})


VI_IR = {"visible": "vi", "infrared": "ir"}


def match(root, folders=VI_IR, **options):
  return match_folders(str(root), folders, from_options(OPTIONS | options))


def names(listing):
  return [record.name for record in listing.records]


def test_folders_below_are_searched_and_their_paths_kept(tmp_path):
  touch(tmp_path, "vi/0.png", "vi/s1/1.png", "vi/s2/1.png", "vi/s2/deep/er/2.png")
  touch(tmp_path, "ir/0.jpg", "ir/s1/1.jpg", "ir/s2/1.jpg", "ir/s2/deep/er/2.jpg", "ir/s2/3.jpg")
  found = match(tmp_path)
  assert names(found) == ["0", "s1/1", "s2/1", "s2/deep/er/2"]
  assert found.records[3].files["infrared"].path == "ir/s2/deep/er/2.jpg"
  (problem,) = found.problems
  assert problem.startswith(f"1 of 5 images in {tmp_path}/ir have no partner")
  assert "s2/3" in problem


def test_links_are_followed_and_circles_are_not(tmp_path):
  touch(tmp_path, "store/1.png", "vi/2.png", "ir/2.png", "ir/linked/1.png")
  (tmp_path / "vi" / "linked").symlink_to(tmp_path / "store")
  (tmp_path / "vi" / "circle").symlink_to(tmp_path / "vi")
  (tmp_path / "ir" / "linked" / "circle").symlink_to(tmp_path / "ir" / "linked")
  found = match(tmp_path)
  assert names(found) == ["2", "linked/1"] and found.problems == ()


def test_hidden_folders_and_files_are_named_and_not_read(tmp_path):
  touch(tmp_path, "vi/1.png", "ir/1.png", "vi/.trash/2.png", "vi/._1.png")
  found = match(tmp_path)
  assert names(found) == ["1"] and found.strays == ("vi/._1.png", "vi/.trash")
  assert unread(found.strays) == []


def test_a_folder_inside_the_other_is_not_part_of_it(tmp_path):
  touch(tmp_path, "1.png", "s/2.png", "ir/1.png", "ir/s/2.png")
  found = match(tmp_path, {"visible": "", "infrared": "ir"})
  assert names(found) == ["1", "s/2"] and found.problems == ()


def test_suffixes_and_prefixes_tell_the_images_of_one_folder_apart(tmp_path):
  touch(tmp_path, "s/1_vis.jpg", "s/1_ir.tif", "s/2_vis.jpg", "s/2_ir.tif", "s/1_mask.png")
  one = {"visible": "", "infrared": ""}
  found = match(tmp_path, one, visible_suffix="_vis", infrared_suffix="_ir")
  assert names(found) == ["s/1", "s/2"] and found.problems == ()
  assert found.strays == ("s/1_mask.png",) == tuple(unread(found.strays))
  with pytest.raises(InputError, match="the same folder.*--visible_suffix and --infrared_suffix"):
    match(tmp_path, one)
  with pytest.raises(InputError, match="with visible prefix 'V', infrared suffix '_x'"):
    match(tmp_path, one, visible_prefix="V", infrared_suffix="_x")


def test_in_one_folder_the_longest_affix_owns_a_file(tmp_path):
  touch(tmp_path, "FLIR_1.jpg", "FLIR_1_heat.jpg", "FLIR_2.jpg", "FLIR_2_heat.jpg")
  one = {"visible": "", "infrared": ""}
  found = match(tmp_path, one, infrared_suffix="_heat")
  assert names(found) == ["FLIR_1", "FLIR_2"] and found.problems == found.strays == ()


def test_two_names_that_a_rule_makes_equal_are_a_problem(tmp_path):
  touch(tmp_path, "vi/1.png", "vi/01.png", "ir/001.png")
  found = match(tmp_path, match="number")
  assert names(found) == ["01"]
  assert found.problems == ("two images of one name: vi/01.png and vi/1.png",)


def test_a_record_has_the_name_of_its_first_file(tmp_path):
  touch(tmp_path, "vi/cafe\u0301 07.png", "ir/caf\u00e9 7.png")
  (record,) = match(tmp_path, match="number").records
  assert record.name == "cafe\u0301 07" and record.files["infrared"].path == "ir/caf\u00e9 7.png"


@pytest.mark.parametrize("extension", ["heic", "npy", "dcm", "mp4"])
def test_a_format_that_is_not_read_is_named_with_those_that_are(tmp_path, extension):
  touch(tmp_path, "vi/1.png", "ir/1.png", "vi/2.png", f"ir/2.{extension}", f"ir/9.{extension}")
  touch(tmp_path, f"vi/3.{extension}", f"ir/3.{extension}", "vi/4.txt", "ir/4.txt")
  found = match(tmp_path)
  assert names(found) == ["1"]
  (problem,) = found.problems
  assert problem.startswith(
    f"2 left out for their format: ir/2.{extension}, vi/3.{extension} and ir/3.{extension}; "
    "readable are .png, .jpg"
  )
  assert unread(found.strays) == [f"ir/9.{extension}"]  # no partner in any format
  assert {"vi/4.txt", "ir/4.txt"} <= set(found.strays)


def test_a_second_file_in_another_format_is_no_partner(tmp_path):
  touch(tmp_path, "vi/1.png", "vi/1.heic", "vi/2.png", "ir/2.png", "ir/2.npy")
  found = match(tmp_path)
  assert names(found) == ["2"] and found.strays == ("ir/2.npy", "vi/1.heic")
  (problem,) = found.problems
  assert "1 of 2 images" in problem and problem.endswith("no partner of the same name in ir: 1")


def test_folders_of_nothing_readable_say_so(tmp_path):
  touch(tmp_path, "vi/1.mp4", "ir/1.mp4", "vi/.2.mp4")
  with pytest.raises(InputError, match=r"no image in .*looked for .png.*left out: vi/1") as e:
    match(tmp_path)
  assert str(e.value).endswith("left out: vi/1.mp4, ir/1.mp4")


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
  touch(tmp_path, "vi/s/1.png", "ir/1.png")
  listed = os.scandir

  def scandir(path):
    if str(path).endswith("vi/s"):
      raise PermissionError(13, "Permission denied")
    return listed(path)

  monkeypatch.setattr(os, "scandir", scandir)
  with pytest.raises(InputError, match="vi/s: cannot be listed: Permission denied"):
    match(tmp_path)


def test_records_are_in_the_order_of_their_names_not_of_their_paths(tmp_path):
  touch(tmp_path, "vi/a-1.png", "vi/a.png", "ir/a-1.png", "ir/a.png")
  assert names(match(tmp_path)) == ["a", "a-1"]


def test_a_record_is_in_every_folder(tmp_path):
  touch(tmp_path, "a/1.png", "a/2.png", "b/1.png", "b/2.png", "c/1.png")
  found = match_folders(str(tmp_path), {"one": "a", "two": "b", "three": "c"})
  assert names(found) == ["1"] and len(found.problems) == 2


def test_an_empty_folder_beside_others_leaves_them_alone(tmp_path):
  touch(tmp_path, "vi/1.png")
  (tmp_path / "ir").mkdir()
  found = match(tmp_path)
  assert found.records == () and "1 of 1 images" in found.problems[0]
  with pytest.raises(InputError, match=f"no image .* in {tmp_path}/ir .looked"):  # said once
    match(tmp_path, {"visible": "ir", "infrared": "ir"}, visible_suffix="_v")


def test_a_format_that_nobody_knows_is_no_half_of_a_pair(tmp_path):
  touch(tmp_path, "vi/1.png", "ir/1.png", "vi/2.heic", "ir/2.txt", "vi/3.png", "ir/3.txt")
  found = match(tmp_path)
  (problem,) = found.problems
  assert problem.startswith("1 left out for their format: ir/3.txt;")
  assert found.strays == ("ir/2.txt", "vi/2.heic")


def test_shards_share_records_and_strays_and_count_all_images(tmp_path):
  numbers = [str(k) for k in range(9)]
  touch(tmp_path, *(f"{folder}/{k}.png" for folder in ("vi", "ir") for k in numbers))
  touch(tmp_path, *(f"vi/.{k}" for k in numbers), *(f"vi/{k}x.txt" for k in numbers))
  shares = [matching.match(str(tmp_path), VI_IR, shard=Shard(k, 2)) for k in range(2)]
  assert sorted(key for share in shares for key in share.keys) == numbers
  assert all(share.found["visible"].total == 9 for share in shares)
  strays = [matching.strays(list(share.found.values())) for share in shares]
  assert all(strays) and len(strays[0] + strays[1]) == 18 == len({*strays[0], *strays[1]})


def test_a_file_of_no_image_name_is_one_shards(tmp_path):
  touch(tmp_path, "vi/1_v.png", "ir/1.png", *(f"vi/{k}.png" for k in range(9)))
  naming = from_options(OPTIONS | {"visible_suffix": "_v"})
  shares = [matching.match(str(tmp_path), VI_IR, naming, Shard(k, 2)) for k in range(2)]
  strays = [matching.strays(list(share.found.values())) for share in shares]
  assert all(strays) and sorted(sum(strays, ())) == [f"vi/{k}.png" for k in range(9)]
