"""Which usernames and passwords there may be: pure rules."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crosstape.auth.passwords import check_password, normalised
from crosstape.auth.usernames import PATTERN, check_username
from crosstape.common.errors import ValidationFailed
from crosstape.common.identity.usernames import username_key

names = st.from_regex(re.compile(PATTERN), fullmatch=True)

GOOD = [
    "bob",
    "Alice",
    "jean-luc.picard",
    "zoë",
    "Ærøskøbing",
    "bob@example.org",
    "bob+bots",
    "42nd",
    "Ωmega".replace("mega", "μέγα"),
    "Пётр_1",
    "דוד",
    "محمد",
    "山田太郎",
    "カタカナ",
    "김철수",
    "ｂｏｂ",
    "x" * 64,
]
BAD = {
    "two characters": "ab",
    "65 characters": "x" * 65,
    "empty": "",
    "a space": "bob smith",
    "a space at the end": "bob ",
    "no-break space": "bob\u00a0smith",
    "ideographic space": "bob\u3000smith",
    "line end": "bob\n",
    "null byte": "bob\x00",
    "right-to-left override": "bob\u202e",
    "isolate": "\u2066bob\u2069",
    "zero width joiner": "b\u200dob",
    "soft hyphen": "b\u00adob",
    "byte order mark": "\ufeffbob",
    "Hangul filler": "bob\u3164",
    "Latin and Hebrew": "bobדוד",
    "Cyrillic а in admin": "\u0430dmin",
    "Greek ο in bob": "b\u03bfb",
    "dotless i": "adm\u0131n",
    "long s": "bo\u017fs",
    "combining accent": "bo\u0301b",
    "emoji": "bob😀",
    "a lone surrogate": "bob\ud800",
    "a slash": "../etc",
    "a quote": "bob'--",
    "begins with a dot": ".bob",
    "begins with @": "@bob",
    "Arabic digits": "bob٣",
    "superscript": "bob²",
    "ligature": "ﬁsh",
}


@pytest.mark.parametrize("name", GOOD)
def test_a_name_of_one_script_is_taken(name: str) -> None:
    assert check_username(name) == unicodedata.normalize("NFKC", name)


@pytest.mark.parametrize("name", BAD.values(), ids=BAD)
def test_any_other_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(ValidationFailed, match="3 to 64 characters: letters of one script"):
        check_username(name)


def test_every_letter_of_a_name_stays_one_letter_that_may_stand_in_a_name() -> None:
    for letter in map(chr, range(sys.maxunicode + 1)):
        if re.fullmatch(PATTERN, letter * 3):
            shown = unicodedata.normalize("NFKC", letter)
            assert len(shown) == 1
            assert re.fullmatch(PATTERN, shown * 3)
            assert unicodedata.category(shown) in ("Lu", "Ll", "Lo", "Lm", "Nd")


@given(names)
@example("STRASSE")
@example("Straße")
@example("ΣΊΣΥΦΟΣ")
def test_a_name_and_its_key_are_stable(name: str) -> None:
    shown = check_username(name)
    assert check_username(shown) == shown
    assert username_key(shown) == username_key(name) == username_key(username_key(name))
    assert len(shown) <= 64
    assert len(username_key(name)) <= 255


@given(names)
def test_case_makes_no_other_name(name: str) -> None:
    assert username_key(name.upper()) == username_key(name.casefold()) == username_key(name)


@pytest.mark.parametrize(
    "password", ["mypassword", "correct horse battery", "        x", "ünïcödé!", "密码密码密码密码", "p" * 255 + "q"]
)
def test_a_long_uncommon_password_is_taken_whatever_it_is_made_of(password: str) -> None:
    check_password(password, "bob")


@pytest.mark.parametrize(
    ("password", "problem"),
    [
        ("7 chars", "at least 8 characters"),
        ("e\u0301" * 7, "at least 8 characters"),
        ("x" * 257, "at most 256 bytes"),
        ("密" * 86, "at most 256 bytes"),
        ("\ufdfa" * 64, "at most 256 bytes"),
        ("password1", "first that are tried"),
        ("PASSWORD1", "first that are tried"),
        ("ｐａｓｓｗｏｒｄ１", "first that are tried"),
        ("university", "first that are tried"),
        ("Robert.Bob", "must not be the username"),
        ("robert.bob", "must not be the username"),
    ],
)
def test_a_weak_password_is_refused_and_says_why_without_repeating_it(password: str, problem: str) -> None:
    with pytest.raises(ValidationFailed, match=problem) as refused:
        check_password(password, "Robert.Bob")
    assert password not in refused.value.message


@given(st.text())
def test_a_password_is_the_same_on_every_keyboard(password: str) -> None:
    assert (
        normalised(unicodedata.normalize("NFD", password)) == normalised(password) == normalised(normalised(password))
    )
