"""History answers, and the gateway counts, what an Accept header asks for by one rule."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.web.layout import Layout, layout_of


@pytest.mark.parametrize(
    ("accept", "layout"),
    [
        ("", None),
        ("*/*", None),
        ("text/html, */*;q=0.8", None),
        ("application/json", None),
        ("text/csv", Layout.CSV),
        ("Text/CSV; charset=utf-8", Layout.CSV),
        ("text/html, application/vnd.apache.parquet", Layout.PARQUET),
        ("application/json, text/csv", None),
        ("text/csv, application/json", Layout.CSV),
        ("text/csv;q=0.5, application/json", None),
        ("application/json; q=0.5, application/vnd.apache.arrow.stream;q=0.9", Layout.ARROW),
        ("text/csv;q=0", None),
        ("text/csv;q=0, application/json", None),
        ("text/csv;q=much", None),
        ("application/vnd.apache", None),
    ],
)
def test_an_export_is_what_an_accept_header_prefers(accept: str, layout: Layout | None) -> None:
    assert layout_of(accept) is layout


@given(st.lists(st.sampled_from([*",;=q.0159", "text/csv", "application/json", " "]), max_size=12).map("".join))
def test_every_accept_header_is_understood(accept: str) -> None:
    assert layout_of(accept) in (None, Layout.CSV)
