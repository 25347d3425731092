"""Alignment of folders by name, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from cfi_jax.core.types import InputError
from cfi_jax.data.alignment import Opened, Unscored, align, cut, eight_bits, merge, read
from cfi_jax.data.naming import Naming


def save(folder, name, size=(20, 24), mode="L"):
  folder.mkdir(parents=True, exist_ok=True)
  Image.new(mode, size[::-1], 99).save(folder / name)


@pytest.fixture
def folders(tmp_path):
  for role in ("visible", "infrared", "net"):
    for name in ("a", "b", "c"):
      extension = ".bmp" if role == "net" else ".png"
      save(tmp_path / role, name + extension)
  return {role: tmp_path / role for role in ("visible", "infrared", "net")}


def test_names_match_across_extensions(folders):
  alignment = align(folders)
  assert [scene.name for scene in alignment.scenes] == ["a", "b", "c"]
  assert alignment.scenes[0].paths["net"].name == "a.bmp"
  assert alignment.scenes[0].size == (20, 24)
  assert alignment.notes == ()


def test_missing_extra_and_differing_files_are_listed(folders):
  (folders["net"] / "b.bmp").unlink()
  save(folders["net"], "z.png")
  save(folders["net"], "c.bmp", (24, 20))
  save(folders["visible"], "y.png")
  (folders["net"] / "readme.txt").write_text("not an image")
  alignment = align(folders)
  assert [scene.name for scene in alignment.scenes] == ["a"]
  notes = "\n".join(alignment.notes)
  assert "net" in notes and "lacks 1 of 3 pairs: b" in notes
  assert "has 1 images that belong to no pair: z" in notes
  assert "has 1 images that belong to no pair: y" in notes
  assert "1 pairs left out, sizes differ: c (visible 20x24, infrared 20x24, net 24x20)" in notes
  assert len(alignment.notes) == 4


def test_every_missing_file_is_listed(folders):
  for k in range(30):
    for role in ("visible", "infrared"):
      save(folders[role], f"n{k}.png")
  (note,) = align(folders).notes
  assert all(f"n{k}" in note.split(": ")[1].split(", ") for k in range(30))


def test_unusable_folders(folders, tmp_path):
  with pytest.raises(InputError, match="other: .*nowhere does not exist"):
    align({**folders, "other": tmp_path / "nowhere"})
  with pytest.raises(InputError, match="a.png is not a folder"):
    align({**folders, "other": folders["visible"] / "a.png"})
  (tmp_path / "empty").mkdir()
  with pytest.raises(InputError, match=r"other: no image in .*empty \(looked for .png"):
    align({**folders, "other": tmp_path / "empty"})
  save(tmp_path / "alien", "q.png")
  with pytest.raises(InputError, match=r"(?s)no image is present in all folders.*lacks 3 of 3"):
    align({**folders, "other": tmp_path / "alien"})
  save(folders["net"], "a.png")
  with pytest.raises(
    InputError, match="net: two images of one name: .*a.bmp and .*a.png|a.png and"
  ):
    align(folders)


def test_unreadable_files_are_all_named(folders):
  (folders["net"] / "a.bmp").write_bytes(b"no image")
  (folders["infrared"] / "b.png").write_bytes(b"")
  with pytest.raises(InputError, match=r"(?s)2 images cannot be read.*b\.png.*") as error:
    align(folders)
  assert "a.bmp" in str(error.value)


def test_sixteen_bits_are_scored_as_eight_by_a_stated_rule(folders):
  values = np.array([[0, 128, 129, 385, 386, 65406, 65407, 65535]], np.uint16).repeat(20, 0)
  path = folders["net"] / "a.png"
  (folders["net"] / "a.bmp").unlink()
  Image.fromarray(values.repeat(3, 1)).save(path)
  assert read(path)[0, ::3, 0].tolist() == [0, 0, 1, 1, 2, 254, 255, 255]
  notes = align(folders).notes
  assert "1 files hold 16 bits per channel, scored as round(value / 257)" in notes
  Image.new("RGBA", (8, 6), (1, 2, 3, 4)).save(path)
  assert read(path)[0, 0].tolist() == [1, 2, 3]


def test_sixteen_bits_that_are_hardly_used_are_named(folders):
  path = folders["net"] / "a.png"
  (folders["net"] / "a.bmp").unlink()
  for values, named in ((np.arange(48) + 29_000, True), (np.full(48, 29_000), False)):
    Image.fromarray(values.astype(np.uint16).reshape(6, 8)).save(path)
    notes = align(folders).notes
    assert any("1 of them use so little of it" in n and str(path) in n for n in notes) == named


def test_floating_point_is_refused_before_anything_is_scored(folders):
  (folders["net"] / "a.bmp").unlink()
  Image.fromarray(np.ones((6, 8), np.float32)).save(folders["net"] / "a.tif")
  with pytest.raises(InputError, match="1 images cannot be read\n.*a.tif: values are float32"):
    align(folders)


def test_values_without_a_largest_one_are_not_scored():
  with pytest.raises(InputError, match="x: values are float32; metrics take 8 or 16 bits"):
    eight_bits(np.ones((2, 2, 1), np.float32), "x")


def test_folders_below_and_names_with_suffixes(folders, tmp_path):
  both = tmp_path / "both"
  for stem in ("s/1_rgb", "s/1_ir", "s/2_rgb", "s/2_ir", "t/1_rgb", "t/1_ir"):
    save(both / stem[0], f"{stem[2:]}.png")
  for name in ("s/1", "s/2", "t/1"):
    save(tmp_path / "mine" / name[0], f"{name[2:]}.png")
  (both / "s" / "0003.heic").write_bytes(b"x")
  rule = Naming({"visible": ("", "_rgb"), "infrared": ("", "_ir")}, options="--")
  found = align({"visible": both, "infrared": both, "mine": tmp_path / "mine"}, rule)
  assert [scene.name for scene in found.scenes] == ["s/1", "s/2", "t/1"]
  assert found.scenes[2].paths["infrared"] == both / "t" / "1_ir.png"
  assert found.notes == (f"1 other files are left out: {both}/s/0003.heic",)


def test_a_rule_that_would_pair_is_named(folders):
  for role, name in (("visible", "img_1"), ("infrared", "img_01"), ("net", "img_1")):
    save(folders[role], f"{name}.png")
  notes = align(folders, Naming(options="--")).notes
  assert "img_1 and img_01 differ only in zeros: --match=number pairs such names" in notes
  assert "img_1" in [scene.name for scene in align(folders, Naming(match="number")).scenes]


def test_a_scene_is_in_the_folder_of_every_method(folders, tmp_path):
  for name in ("a", "b"):
    save(tmp_path / "other", f"{name}.png")
  for role in (*folders, "other"):
    save(tmp_path / role, "a-1.png")
  found = align(folders | {"other": tmp_path / "other"})
  assert [scene.name for scene in found.scenes] == ["a", "a-1", "b"]  # not as their files are
  (note,) = found.notes
  assert note == f"other ({tmp_path}/other) lacks 1 of 4 pairs: c"


def test_all_16_bit_files_of_a_scene_are_counted(folders):
  for role in ("visible", "infrared"):
    Image.fromarray(np.full((6, 8), 29_000, np.uint16)).save(folders[role] / "a.png")
  save(folders["net"], "a.bmp", (6, 8))
  assert align(folders).notes == ("2 files hold 16 bits per channel, scored as round(value / 257)",)


def test_all_that_is_wrong_with_a_scene_is_told(folders):
  for role in ("visible", "infrared"):
    (folders[role] / "a.png").write_bytes(b"")
  with pytest.raises(InputError, match="^1 images cannot be read\n.*visible/a.png.*; .*infrared/a"):
    align(folders)


def test_a_note_has_400_characters():
  assert cut("x" * 400) == "x" * 400 and cut("x" * 401) == "x" * 400 + " ..."


def test_what_shards_did_not_score_is_joined():
  def unscored(name, advice):
    return Unscored(
      folders={"v": "V", "m": "M"},
      paired=3,
      missing={"v": [], "m": [f"m{name}"]},
      extra={"v": [f"e{name}"], "m": []},
      advice=advice,
      unread=[f"u{name}"],
      left_out=[f"l{name}"],
      differing=[f"d{name}"],
      wide=2,
      narrow=[f"n{name}"],
    )

  joined = merge([unscored("2", ""), unscored("1", "do so"), unscored("3", "or so")])
  assert joined == Unscored(
    folders={"v": "V", "m": "M"},
    paired=9,
    missing={"v": [], "m": ["m1", "m2", "m3"]},
    extra={"v": ["e1", "e2", "e3"], "m": []},
    advice="do so",
    unread=["u1", "u2", "u3"],
    left_out=["l1", "l2", "l3"],
    differing=["d1", "d2", "d3"],
    wide=6,
    narrow=["n1", "n2", "n3"],
  )
  assert merge([unscored("1", "")]).advice == ""
  first, *_, last = joined.sentences()
  assert first == "v (V) has 3 images that belong to no pair: e1, e2, e3"
  assert last.startswith("3 of them use so little of it") and last.endswith(": n1, n2, n3")
  found = Opened([], ["d0"], {"s": 2, "t": 1}, {"s": ["n9", "n0"], "t": ["n5"]})
  more = joined.and_sizes([found, Opened([])])
  assert (more.wide, more.narrow, more.differing) == (9, ["n0", "n5", "n9"], ["d0"])
