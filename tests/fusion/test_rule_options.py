"""Rules chosen by a text: its options, and what is refused."""

import dataclasses

import pytest

from cfi_jax.core.types import InputError
from cfi_jax.fusion import rule_options
from cfi_jax.fusion.rule_options import DEFAULTS, parse


@pytest.mark.parametrize(
  ("text", "full"),
  [
    ("average", "average"),
    ("wavelet", "wavelet:planes=4,exponent=4,gain=1.1,spread=0.7,brighter=0.3"),
    ("wavelet:gain=2,planes=8", "wavelet:planes=8,exponent=4,gain=2,spread=0.7,brighter=0.3"),
    ("wavelet:brighter=0", "wavelet:planes=4,exponent=4,gain=1.1,spread=0.7,brighter=0"),
  ],
)
def test_a_choice_is_told_with_all_its_options_and_is_chosen_again_by_that(text, full):
  choice = parse(text)
  assert str(choice) == full and parse(full) == choice
  assert type(choice.options) is type(DEFAULTS[choice.name])
  if choice.name == "wavelet":
    assert type(choice.options.planes) is int and type(choice.options.gain) is float


@pytest.mark.parametrize(
  ("text", "words"),
  [
    (
      "wavelet:gian=2",
      "rule 'wavelet:gian=2': no option 'gian' .did you mean 'gain'.*; allowed: pl",
    ),
    (
      "wavelet:gain",
      "'gain' is no OPTION=VALUE; allowed: planes, exponent, gain, spread, brighter",
    ),
    ("wavelet:", "'' is no OPTION=VALUE"),
    ("average:gain=2", "no option 'gain'; average has no options"),
    ("wavelet:gain=1,gain=2", "gain is given twice"),
    ("wavelet:planes=2.5", "planes is '2.5'; allowed: a whole number"),
    ("wavelet:gain=big", "gain is 'big'; allowed: a number"),
    ("wavelet:planes=9", "rule 'wavelet:planes=9': planes is 9; allowed: 1 to 8"),
    ("wavelet:planes=0", "planes is 0"),
    ("wavelet:gain=-1", "gain is -1.0; allowed: finite, 0 or more"),
    ("wavelet:brighter=nan", "brighter is nan"),
    ("wavelet:spread=inf", "spread is inf"),
  ],
)
def test_options_that_a_rule_has_not_are_named(text, words):
  with pytest.raises(InputError, match=words):
    parse(text)


@pytest.mark.parametrize("planes", [1, 8])
def test_limits_themselves_are_allowed(planes):
  assert dataclasses.replace(DEFAULTS["wavelet"], planes=planes, gain=0.0).planes == planes


@pytest.mark.parametrize(
  ("text", "rule"),
  [("wavelet", True), ("maximum:x", True), ("./wavelet", False), ("wavelets", False), (7, False)],
)
def test_a_text_names_a_rule_or_does_not(text, rule):
  assert rule_options.is_rule(text) is rule


def test_a_prior_is_the_rule_wavelet_or_none():
  assert rule_options.prior_of("none") is None
  assert rule_options.prior_of("wavelet") == DEFAULTS["wavelet"]
  assert rule_options.prior_of("wavelet:planes=2").planes == 2
  for text in ("average", "", "wavelets", "None"):
    with pytest.raises(InputError, match=f"model.prior='{text}'; valid: none, wavelet, wavelet:OP"):
      rule_options.prior_of(text)
