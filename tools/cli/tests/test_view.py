"""What is printed of a platform that runs."""

from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from crosstape.cli.home import Home, Run
from crosstape.cli.view import View

RUN = Run(1, "demo", "http://gateway", "", "", "", "", "", "/data")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("demo", "simulated exchanges (kraken)"),
        ("replay", "recorded frames (kraken)"),
        ("live", "real exchanges (kraken)"),
    ],
)
def test_what_is_read_is_named_and_what_is_to_be_tried_asks_for_it(tmp_path: Path, mode: str, words: str) -> None:
    output = StringIO()
    home = Home(tmp_path / "of [mine]")
    View(Console(file=output), 1).announce(replace(RUN, mode=mode), home, {"kraken": "SOL/USD"}, 1.0, None)
    shown = output.getvalue()
    assert words in shown
    assert (
        "/api/v1/trades/kraken/SOL%2FUSD?limit=3" in shown
        and f"verify kraken SOL/USD --home '{home.directory}'" in shown
    )
    assert str(home.log("*")) in shown
    assert "BTC" not in shown


def test_a_platform_whose_exchanges_are_all_away_says_so(tmp_path: Path) -> None:
    output = StringIO()
    View(Console(file=output), 1).announce(replace(RUN, mode="live"), Home(tmp_path), {}, 1.0, None)
    assert "the real exchanges (none yet)" in output.getvalue()
