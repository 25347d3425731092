"""Names of records: prefixes, suffixes, numbers, and ways of writing letters."""

import unicodedata

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.data import naming
from cfi_jax.data.advice import advise
from cfi_jax.data.naming import OPTIONS, Naming, from_options

RULE = Naming({"visible": ("V-", "_rgb"), "infrared": ("", "_ir")})


@pytest.mark.parametrize(
  ("image", "path", "name"),
  [
    ("visible", "V-1_rgb.png", "1"),
    ("visible", "a/b/V-1.2_rgb.jpg", "a/b/1.2"),
    ("visible", "V-1.png", None),
    ("visible", "1_rgb.png", None),
    ("visible", "V-_rgb.png", None),
    ("visible", "V-/x_rgb.png", None),
    ("infrared", "1_ir.tif", "1"),
    ("infrared", "_ir.tif", None),
    ("mine", "1_ir.tif", "1_ir"),
  ],
)
def test_a_name_is_the_path_without_prefix_suffix_and_extension(image, path, name):
  assert RULE.name(image, path) == name


def test_prefix_and_suffix_do_not_overlap():
  assert Naming({"visible": ("ab", "bc")}).name("visible", "abc.png") is None


def test_a_letter_is_the_same_however_it_is_composed():
  composed, decomposed = (unicodedata.normalize(form, "caf\u00e9") for form in ("NFC", "NFD"))
  assert composed != decomposed
  assert Naming().key(composed) == Naming().key(decomposed) != Naming().key("cafe")


@pytest.mark.parametrize(
  ("a", "b", "equal"),
  [
    ("img_1", "img_01", True),
    ("s1/007b10", "s01/7b010", True),
    ("img_0", "img_000", True),
    ("img_10", "img_1", False),
    ("img_100", "img_1", False),
    ("img_101", "img_11", False),
    ("1.01", "1.1", True),
    ("img_1", "img1", False),
  ],
)
def test_numbers_are_equal_but_for_zeros_only_when_asked(a, b, equal):
  by_number = Naming(match="number")
  assert (by_number.key(a) == by_number.key(b)) == equal
  assert Naming().key(a) != Naming().key(b)


def test_rules_that_none_can_follow_are_refused():
  with pytest.raises(InputError, match="--match=numbers; allowed: name, number"):
    from_options(OPTIONS | {"match": "numbers"})
  with pytest.raises(InputError, match="--config.data.infrared_prefix=ir/: must be a part"):
    from_options(OPTIONS | {"infrared_prefix": "ir/"}, "--config.data.")


@pytest.mark.parametrize(
  ("ours", "theirs", "text"),
  [
    (["a", "img_1"], ["img_01"], "img_1 and img_01 differ only in zeros: --match=number pairs"),
    (["IMG"], ["img"], "IMG and img differ only in capitals"),
    (["s/1_vis", "s/2_vis"], ["s/1_ir", "s/2_ir", "s/3_ir"], "_suffix=_vis --infrared_suffix=_ir"),
    (["1", "2"], ["1_thermal"], "they are pairs with --infrared_suffix=_thermal"),
    (["VIS1", "VIS2"], ["IR1", "IR3"], "--visible_prefix=VIS --infrared_prefix=IR"),
    (["1_vis", "2_rgb"], ["1_ir", "2_ir"], ""),
    (["1_vis"], ["2_ir"], ""),
    (["1"], [], ""),
    (["car"], ["dog"], ""),
  ],
)
def test_what_would_pair_is_suggested(ours, theirs, text):
  alone = {"visible": ours, "infrared": theirs}
  said = advise(alone, False, Naming(options="--"))
  assert text in said and bool(text) == bool(said)


def test_nothing_is_suggested_that_cannot_be_done():
  assert advise({"a": ["x_1"], "b": ["x_01"]}, False, Naming()) == ""
  suffixes = {"a": ["1_vis"], "b": ["1_ir"]}
  assert advise(suffixes, False, Naming()) == advise(suffixes, True, Naming(options="--")) == ""


def test_folders_are_told_by_a_slash_where_the_system_has_another_mark(monkeypatch):
  monkeypatch.setattr(naming.os, "sep", "\\")
  assert RULE.name("visible", "a\\V-1_rgb.png") == "a/1" == Naming().name("visible", "a\\1.png")
  for affix in ("a\\b", "a/b"):
    with pytest.raises(InputError, match="visible_suffix=.*: must be a part of file names"):
      Naming({"visible": ("", affix)})


def test_options_name_the_affixes_of_both_images():
  values = OPTIONS | {"visible_prefix": "a", "visible_suffix": "b", "infrared_suffix": "c"}
  rule = from_options(values | {"match": "number"})
  assert rule == Naming({"visible": ("a", "b"), "infrared": ("", "c")}, "number", "--")
