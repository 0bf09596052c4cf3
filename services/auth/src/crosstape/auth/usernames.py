"""Usernames: which there may be."""

from __future__ import annotations

import re
import unicodedata

from crosstape.common.errors import ValidationFailed

_LATIN = (
    "A-Za-z\uff21-\uff3a\uff41-\uff5a\uff10-\uff19"
    "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u012f\u0134-\u0137\u0139-\u013e\u0141-\u0148\u014a-\u017e"
    "\u01a0\u01a1\u01af\u01b0\u1ea0-\u1ef9"
)
"""With the full-width forms, and without what folds to two letters or looks like another one (dotless i, long s)."""
_SCRIPTS = {
    "Latin": _LATIN,
    "Greek": "\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03ce",
    "Cyrillic": "\u0400-\u045f\u048a-\u04ff",
    "Hebrew": "\u05d0-\u05ea",
    "Arabic": "\u0621-\u063a\u0641-\u064a",
    "Chinese, Japanese, Korean": "\u3041-\u3096\u30a1-\u30fa\u30fc\u4e00-\u9fff\uac00-\ud7a3",
}
PATTERN = (
    "^(?:" + "|".join(f"[{letters}0-9][{letters}0-9._@+-]{{2,63}}" for letters in _SCRIPTS.values()) + ")$"
)  # letters of one script: no mixed directions, nothing invisible, no look-alikes out of another alphabet
RULE = (
    f"a username has 3 to 64 characters: letters of one script ({'; '.join(_SCRIPTS)}), digits, and . _ @ + - "
    "after the first one"
)

_valid = re.compile(PATTERN)


def check_username(name: str) -> str:
    """`name` as it is shown: its compatibility form (NFKC). Raises ValidationFailed with the rule."""
    if not _valid.fullmatch(name):
        raise ValidationFailed(f"username: {RULE}.", {"parameter": "username"})
    return unicodedata.normalize("NFKC", name)
