"""Usernames: when two are the same."""

from __future__ import annotations

import unicodedata


def username_key(name: str) -> str:
    """What is unique of a name: two that differ in case or in compatibility forms alone are one."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
