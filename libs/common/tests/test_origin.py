"""Which pages may open WebSockets."""

from __future__ import annotations

import pytest

from crosstape.common.errors import Forbidden
from crosstape.common.web.origin import check_origin


@pytest.mark.parametrize(
    ("origin", "host", "may"),
    [
        ("https://api.example", "api.example", True),
        ("https://api.example:443", "api.example", True),
        ("http://api.example:8000", "api.example:8000", True),
        ("http://API.example:8000", "api.EXAMPLE:8000", True),
        ("http://api.example", "api.example:8000", False),
        ("http://sub.api.example", "api.example", False),
        ("http://api.example.evil", "api.example", False),
        ("http://evil/api.example", "api.example", False),
        ("http://user@api.example", "api.example", False),
        ("file://api.example", "api.example", False),
        ("http://[::1", "api.example", False),
        ("null", "null", False),
        ("", "", False),
    ],
)
def test_only_the_same_host_and_port_is_the_same_origin(origin: str, host: str, may: bool) -> None:
    if may:
        check_origin([origin], host, [])
    else:
        with pytest.raises(Forbidden):
            check_origin([origin], host, [])


def test_two_origins_are_none() -> None:
    with pytest.raises(Forbidden):
        check_origin(["http://a", "http://a"], "a", [])


def test_programs_and_allowed_pages_may() -> None:
    check_origin([], "a", [])
    check_origin(["https://b"], "a", ["https://b"])
    check_origin(["https://b"], "a", ["*"])
