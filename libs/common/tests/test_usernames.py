"""Usernames: two that differ in case or in compatibility forms alone are one."""

from __future__ import annotations

import pytest

from crosstape.common.identity.usernames import username_key


@pytest.mark.parametrize("name", ["alice", "Alice", "ALICE", "ａｌｉｃｅ", "Ärger", "ΣΊΣΥΦΟΣ", "ЁЛКА", "ſtraße", "ﬁsh"])
def test_a_name_is_the_same_in_every_case(name: str) -> None:
    assert username_key(name) == username_key(name.upper()) == username_key(name.casefold())


def test_names_in_other_letters_are_others() -> None:
    assert username_key("ａｌｉｃｅ") == username_key("Alice") != username_key("alise")
