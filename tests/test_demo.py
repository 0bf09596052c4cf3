"""The demo as a user runs it: it gets ready, answers, survives a crash, stops cleanly and goes on from there."""

import json
import os
import shlex
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from crosstape.cli.home import Home, Run
from crosstape.cli.view import examples
from tests.demo import Demo, until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

EXAMPLE_SECONDS = 90.0
EXAMPLES = Path(__file__).parents[1] / "libs" / "client" / "examples"


def api_key(run: Run) -> str:
    """The key that the demo makes and prints."""
    key: str = until(lambda: Home(Path(run.home)).kept_secret("api_key"))
    return key


def get(run: Run, path: str) -> Any:
    request = urllib.request.Request(run.gateway_url + path, headers={"Authorization": f"Bearer {api_key(run)}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as response:
        return str(response.read().decode())


def trade_ids(run: Run, asked: str = "?start=2020-01-01T00:00:00Z&limit=10000") -> list[int]:
    """Of the trades that are asked for: from the first one on."""
    return [trade["trade_id"] for trade in get(run, f"/api/v1/trades/binance/BTC-USD{asked}")["trades"]]


def test_demo_gets_ready_answers_survives_a_crash_and_goes_on_where_it_ended(demo: Demo) -> None:
    demo.begin()
    run = demo.run
    assert get(run, "/exchanges") == {"exchanges": ["binance", "kraken"]}
    assert "BTCUSDT" in get(run, "/binance/symbols")["symbols"]
    assert "streamlit" in page(run.dashboard_url).lower()
    before = until(lambda: trade_ids(run))

    victim = next(listing for listing in run.processes if listing.name == "ingestor-binance")
    os.kill(victim.pid, signal.SIGKILL)
    until(lambda: demo.run.processes != run.processes)
    until(lambda: trade_ids(run, "?limit=1")[0] > before[-1])
    demo.stop()

    demo.begin()
    run = demo.run
    assert set(before) <= set(until(lambda: trade_ids(run)))
    show_examples(run)
    demo.stop()


def show_examples(run: Run) -> None:
    """What the demo prints to be tried; the SDK's documented examples and the terminal's order book, all at once: each
    ends by itself."""
    printed = [shlex.split(line) for line in examples(run.gateway_url, {"binance": "BTC-USDT"}, api_key(run))]
    for words in printed:
        if words[0] == "curl":
            assert get(run, words[-1].removeprefix(run.gateway_url))
    environment = {**os.environ, "CROSSTAPE_URL": run.gateway_url, "CROSSTAPE_API_KEY": api_key(run)}
    book = str(Path(sys.executable).with_name("crosstape-orderbook"))
    commands = {
        **{file.name: [sys.executable, str(file)] for file in sorted(EXAMPLES.glob("*.py"))},
        "orderbook": [book, "BTC-USD", "--exchanges", "binance,kraken", "--plain", "--frames", "2"],
    }
    assert len(commands) > 5
    started = {
        name: subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name, command in commands.items()
    }
    for name, process in started.items():
        output, errors = process.communicate(timeout=EXAMPLE_SECONDS)
        assert process.returncode == 0 and output.strip(), f"{name}: {errors}"
        if name == "orderbook":
            assert output.count("Aggregated Order Book for BTC-USD") == 2, output
