"""The chart as Streamlit knows it: our page, and beside it the library it draws with, both from this machine."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import streamlit.components.v1 as components

from crosstape.dashboard.chart.payload import Payload

components.declare_component("lightweight_charts", path=str(files("litecharts") / "js"))  # the page loads its file
_CHART = components.declare_component("chart", path=str(Path(__file__).with_name("page")))


def chart(payload: Payload, key: str) -> Any:
    """Show the chart; what it says of itself (see `Have`), None before it does."""
    return _CHART(**payload, key=key, default=None)
