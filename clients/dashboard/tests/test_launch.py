"""The launcher: loopback only, protected, silent; and the chart's library is the one that TradingView published."""

from __future__ import annotations

import hashlib
from importlib.resources import files

from crosstape.dashboard.launch import arguments

# The SHA-256 of dist/lightweight-charts.standalone.production.js of 5.1.0.
# pragma: allowlist nextline secret
PUBLISHED = "756b0ba9f58930226d6b8b9d47ad310448ab85d799ea1f7c2c02304777c10b52"


def test_streamlit_listens_on_loopback_with_xsrf_protection_and_without_statistics() -> None:
    given = arguments(8501)
    assert {
        "--server.address=127.0.0.1",
        "--server.port=8501",
        "--server.headless=true",
        "--server.enableXsrfProtection=true",
        "--browser.gatherUsageStats=false",
    } <= set(given)


def test_the_wheel_carries_the_published_library_unchanged() -> None:
    library = (files("litecharts") / "js" / "lightweight-charts.js").read_bytes()
    assert hashlib.sha256(library).hexdigest() == PUBLISHED
