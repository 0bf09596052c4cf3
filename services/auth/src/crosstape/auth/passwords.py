"""Which passwords are taken (NIST SP 800-63B: long enough, not a common one, nothing else)."""

from __future__ import annotations

import unicodedata

from zxcvbn.frequency_lists import FREQUENCY_LISTS

from crosstape.common.errors import ValidationFailed
from crosstape.common.identity.usernames import username_key

FEWEST_CHARACTERS = 8
MOST_BYTES = 256

_SEED_EXAMPLE = "mypassword"
"""Seed 1 registers bob with it, and what a seed shows holds; it is the one common password that is taken."""

_COMMON = frozenset(word for words in FREQUENCY_LISTS.values() for word in words if len(word) >= FEWEST_CHARACTERS) - {
    _SEED_EXAMPLE
}


def normalised(password: str) -> str:
    """What is hashed: the same on every keyboard."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, username: str) -> None:
    """Raises ValidationFailed with what is wrong with it as a new password of `username`."""
    text = normalised(password)
    if len(text) < FEWEST_CHARACTERS:
        raise _refused(f"at least {FEWEST_CHARACTERS} characters")
    if len(text.encode()) > MOST_BYTES:
        raise _refused(f"at most {MOST_BYTES} bytes")
    if text.casefold() in _COMMON:
        raise _refused("this one is among the first that are tried, choose another")
    if username_key(text) == username_key(username):
        raise _refused("it must not be the username")


def _refused(problem: str) -> ValidationFailed:
    return ValidationFailed(f"password: {problem}.", {"parameter": "password"})
