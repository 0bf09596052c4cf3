"""The demo as a user runs it: it gets ready, answers, survives a crash, stops cleanly and goes on from there."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from crosstape.cli.home import Home, Run
from crosstape.cli.ports import free_port
from crosstape.cli.running import find_run

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

READY_SECONDS = 60.0
STOP_SECONDS = 20.0
EXAMPLE_SECONDS = 90.0
EXAMPLES = Path(__file__).parents[1] / "libs" / "client" / "examples"

Begin = Callable[[], "subprocess.Popen[str]"]


def until(condition: Callable[[], Any], seconds: float = READY_SECONDS) -> Any:
    """The first true value of `condition`, asked until it comes."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return value


def api_key(run: Run) -> str:
    """The key that the demo makes and prints."""
    key: str = until(lambda: Home(Path(run.home)).kept_secret("api_key"))
    return key


def get(run: Run, path: str) -> Any:
    request = urllib.request.Request(run.gateway_url + path, headers={"Authorization": f"Bearer {api_key(run)}"})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


def page(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())


def trade_ids(run: Run) -> list[int]:
    return [trade["trade_id"] for trade in get(run, "/api/v1/trades/binance/BTC-USD?limit=1000")["trades"]]


def is_alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    started: list[subprocess.Popen[str]] = []

    def run() -> "subprocess.Popen[str]":
        ports = ["--port", str(free_port()), "--dashboard-port", str(free_port())]
        options = [*ports, "--home", str(tmp_path), "--exchanges", "binance,kraken", "--rate", "50"]
        command = [sys.executable, "-m", "crosstape.cli", "demo", "--symbols", "2", *options]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return started[-1]

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def test_demo_gets_ready_answers_survives_a_crash_and_goes_on_where_it_ended(begin: Begin, tmp_path: Path) -> None:
    def running(platform: "subprocess.Popen[str]") -> Run:
        def ready() -> Run | None:
            assert platform.poll() is None, platform.communicate()
            return find_run([Home(tmp_path)]) if (tmp_path / "run.json").exists() else None

        found: Run = until(ready)
        return found

    def stop(platform: "subprocess.Popen[str]", run: Run) -> None:
        platform.send_signal(signal.SIGINT)
        _, errors = platform.communicate(timeout=STOP_SECONDS)
        assert (platform.returncode, errors) == (0, "")
        assert not [listing.name for listing in run.processes if is_alive(listing.pid)]

    first = begin()
    run = running(first)
    assert get(run, "/exchanges") == {"exchanges": ["binance", "kraken"]}
    assert "BTCUSDT" in get(run, "/binance/symbols")["symbols"]
    assert "streamlit" in page(run.dashboard_url).lower()
    before = until(lambda: trade_ids(run))

    victim = next(listing for listing in run.processes if listing.name == "ingestor-binance")
    os.kill(victim.pid, signal.SIGKILL)
    before_crash = run.processes
    until(lambda: running(first).processes != before_crash)
    run = running(first)
    until(lambda: trade_ids(run)[-1] > before[-1])
    stop(first, run)

    second = begin()
    run = running(second)
    assert set(before) <= set(until(lambda: trade_ids(run)))
    show_examples(run)
    stop(second, run)


def show_examples(run: Run) -> None:
    """The SDK's documented examples, and the terminal's order book, all at once: each ends by itself."""
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
