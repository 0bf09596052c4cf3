"""What the commands ask of services, what they print of the answers, and how they refuse."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import typer

from crosstape.cli import app, doctor, jobs, markets, operate, verify
from crosstape.cli.choice import Choice
from crosstape.cli.errors import CliError
from crosstape.cli.home import Home, Run
from crosstape.cli.process import NotNeeded
from crosstape.cli.recordings import found


class Answers(ThreadingHTTPServer):
    """Answers GET by path from `content`; remembers what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Answers)
        server.asked.append(self.path)
        status, body = server.content.get(self.path.partition("?")[0], (404, b""))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def answers() -> Iterator[Answers]:
    server = Answers()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def homes(tmp_path: Path, answers: Answers) -> Iterator[list[Home]]:
    home = Home(tmp_path)
    with home.locked():
        origin = answers.origin
        home.write_run(Run(os.getpid(), "demo", origin, origin, origin, "", "", "", str(home.directory)))
        home.secret("internal_secret")
        yield [home]


DIGEST = "ab12" * 16
VERIFIED = {"result": "ok", "bars": 7, "mismatches": [], "missing_ids": [], "sha256": {"2025-07-01": DIGEST}}
VERIFY = "/internal/verify/binance/BTC%2FUSDT"


def test_verify_shows_what_history_found(
    answers: Answers, homes: list[Home], capsys: pytest.CaptureFixture[str]
) -> None:
    answers.content[VERIFY] = (200, b'{"bars": 3}\n' + json.dumps(VERIFIED).encode() + b"\n")
    assert verify.verify("binance", "BTC/USDT", "2025-07-01T00:00:00", "", homes)
    assert answers.asked == [f"{VERIFY}?start=2025-07-01T00%3A00%3A00"]
    shown = capsys.readouterr().out
    assert "every bar is what its trades say" in shown and f"SHA-256 2025-07-01  {DIGEST}\n" in shown and "7" in shown


def test_verify_fails_on_a_difference_and_shows_it(
    answers: Answers, homes: list[Home], capsys: pytest.CaptureFixture[str]
) -> None:
    report = VERIFIED | {"result": "mismatch", "mismatches": [{"open_time": 60, "field": "close"}] * 25}
    answers.content[VERIFY] = (200, json.dumps(report).encode() + b"\n")
    assert not verify.verify("binance", "BTC/USDT", "", "", homes)
    shown = capsys.readouterr().out
    assert '"field": "close"' in shown and "and 5 more" in shown


def test_verify_of_an_unknown_symbol_says_what_history_says(answers: Answers, homes: list[Home]) -> None:
    answers.content[VERIFY] = (404, b'{"message": "no symbol BTC/USDT"}')
    with pytest.raises(CliError, match=r"no symbol BTC/USDT \(HTTP 404\)"):
        verify.verify("binance", "BTC/USDT", "", "", homes)


def test_verify_cut_in_the_middle_is_not_taken_for_success(answers: Answers, homes: list[Home]) -> None:
    answers.content[VERIFY] = (200, b'{"bars": 3}\n')
    with pytest.raises(CliError, match="stopped in the middle"):
        verify.verify("binance", "BTC/USDT", "", "", homes)


def test_active_markets_are_spelled_canonically(answers: Answers) -> None:
    listed = [
        {"exchange": "okx", "kind": "spot", "base": "BTC", "quote": "USDT", "is_active": True},
        {"exchange": "okx", "kind": "perpetual", "base": "BTC", "quote": "USDT", "is_active": True},
        {"exchange": "okx", "kind": "spot", "base": "ZEC", "quote": "USDT", "is_active": False},
        {"exchange": "kraken", "kind": "spot", "base": "BTC", "quote": "USD", "is_active": True},
    ]
    answers.content["/_truth/markets"] = (200, json.dumps(listed).encode())
    assert markets.active_symbols(answers.origin, "okx") == ["BTC-USDT", "BTC-USDT.P"]
    with pytest.raises(NotNeeded, match="nothing of bybit is simulated or recorded"):
        markets.active_symbols(answers.origin, "bybit")


def test_what_is_printed_to_be_tried_is_a_market_that_the_exchange_lists(answers: Answers) -> None:
    chosen = ["XMR-USD", "BTC-USD"]
    assert markets.listed_symbol(answers.origin, chosen) == "XMR-USD", "where nothing is told"
    answers.content["/readyz"] = (200, b'{"checks": {"feed": {"status": "up", "unlisted": ["XMR-USD"]}}}')
    assert markets.listed_symbol(answers.origin, chosen) == "BTC-USD"


def test_doctor_finds_the_engines_and_says_when_nothing_runs(tmp_path: Path) -> None:
    found = {finding.subject: finding for finding in doctor.findings([Home(tmp_path)], 8000)}
    assert found["kafka"].state == found["valkey"].state == "OK"
    assert found["platform"].state == "WARN" and "make demo" in found["platform"].seen


def module(tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "job_under_test.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "job_under_test"


def test_lines_of_a_job_come_as_they_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(tmp_path, "import sys\nprint('{\"done\": 1}')\nprint('{\"done\": 2}')", monkeypatch)
    assert list(jobs.lines(name, [], {})) == [{"done": 1}, {"done": 2}]


def test_failed_job_gives_its_last_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(tmp_path, "import sys\nsys.exit('backfill: no such symbol')", monkeypatch)
    with pytest.raises(CliError, match="backfill: no such symbol"):
        list(jobs.lines(name, [], {}))


def test_a_job_that_is_killed_in_the_middle_of_a_line_is_said_to_have_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = 'import os\nos.write(1, b\'{"done": 1}\\n{"do\')\nos.kill(os.getpid(), 9)'
    name = module(tmp_path, text, monkeypatch)
    with pytest.raises(CliError, match="ended with exit code -9"):
        list(jobs.lines(name, [], {}))


def test_a_recording_into_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match=r"cannot write in .*choose another with --out"):
        jobs.record("kraken", ["BTC-USD"], tmp_path / "file" / "folder" / "out.jsonl", "")


def test_backfill_without_a_platform_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CROSSTAPE_KAFKA_BOOTSTRAP", raising=False)
    with pytest.raises(CliError, match="start one with make demo"):
        jobs.backfill("binance", "BTC-USD", "2025-07-01", "", [Home(tmp_path)])


def test_error_is_one_line_and_exit_code_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["crosstape", "up", "--exchanges", ","])
    with pytest.raises(SystemExit) as ended:
        app.main()
    assert ended.value.code == 1
    errors = capsys.readouterr().err
    assert errors == "error: an empty list was given: name at least one, separated by commas\n"


@pytest.mark.parametrize("name", ["one.jsonl", "one.jsonl.gz"])
def test_a_folder_with_what_the_simulator_reads_and_one_file_of_it_are_taken_as_they_are(
    tmp_path: Path, name: str
) -> None:
    file = tmp_path / "kraken" / name
    file.parent.mkdir()
    file.touch()
    assert (found(tmp_path), found(file)) == (tmp_path, file)


def test_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"has no \.jsonl or \.jsonl\.gz file"):
        found(tmp_path)
    with pytest.raises(CliError, match="does not exist"):
        found(tmp_path / "absent")


@pytest.mark.parametrize("command", [["demo", "--recordings"], ["replay"]])
def test_recordings_are_played_by_the_demo_and_with_a_state_of_their_own(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "okx.jsonl").touch()
    run: list[tuple[Any, str]] = []
    monkeypatch.setattr(app, "_run", lambda *args, simulation, name="demo", **options: run.append((simulation, name)))
    words = [*command, str(tmp_path), "--times", "now", "--speed", "max"]
    app.app(words, standalone_mode=False)
    ((simulation, name),) = run
    assert (simulation.recordings, simulation.times, simulation.speed) == (tmp_path, "now", "max")
    assert name == command[0]


def test_a_tape_of_recorded_frames_is_not_moved_to_another_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "okx.jsonl").touch()
    ran: list[str] = []
    monkeypatch.setattr(operate, "run_platform", lambda choice, home, console: ran.append(choice.simulation.times))

    def play(times: str) -> None:
        words = ["replay", str(tmp_path), "--times", times, "--home", str(tmp_path / "home")]
        app.app(words, standalone_mode=False)

    play("now")
    (tmp_path / "home" / "clickhouse").mkdir(parents=True)
    play("recorded")
    with pytest.raises(CliError, match="has a tape, whose trades --times now would move"):
        play("now")
    with Home(tmp_path / "home").locked():
        play("now")
    assert ran == ["now", "recorded", "now"]


@pytest.mark.parametrize("option", ["--times=yesterday", "--speed=0", "--speed=fast"])
def test_a_word_that_no_replay_knows_is_refused_before_anything_starts(option: str, tmp_path: Path) -> None:
    (tmp_path / "okx.jsonl").touch()
    with pytest.raises(typer.BadParameter):
        app.app(["replay", str(tmp_path), option], standalone_mode=False)


def test_exchanges_are_taken_by_any_of_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Choice] = []
    monkeypatch.setattr(operate, "run_platform", lambda choice, home, console: ran.append(choice))
    app.app(["demo", "--exchanges", "Coinbase,KRAKEN,kraken", "--log-level", "debug"], standalone_mode=False)
    assert (ran[0].exchanges, ran[0].log_level) == (("coinbasepro", "kraken"), "DEBUG")
    with pytest.raises(CliError, match="deribit cannot be simulated: name some of binance"):
        app.app(["demo", "--exchanges", "deribit"], standalone_mode=False)


@pytest.mark.integration
def test_busy_port_is_refused_in_one_line(answers: Answers, tmp_path: Path) -> None:
    port = str(answers.server_address[1])
    command = [sys.executable, "-m", "crosstape.cli", "demo", "--port", port, "--home", str(tmp_path)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"error: port {port} is in use by ") and refused.stderr.count("\n") == 1


@pytest.mark.integration
def test_help_comes_quickly_and_lists_every_command() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "crosstape.cli", "--help"], capture_output=True, text=True, timeout=10, check=True
    ).stdout
    for command in ("demo", "up", "replay", "record", "backfill", "verify", "doctor", "settings"):
        assert f" {command} " in shown
