"""The plan of a platform: what is in it, who waits for whom, and that every process listens on loopback."""

from pathlib import Path

import pytest

from crosstape.cli.home import Home
from crosstape.cli.plan import Choice, Plan, Simulation
from crosstape.cli.supervisor import levels
from crosstape.common.bus.connection import BusSettings
from crosstape.common.runtime.settings import BusUserSettings


def plan(tmp_path: Path, simulation: Simulation | None = None, symbols: tuple[str, ...] = ()) -> Plan:
    return Plan(Choice(8000, 8501, ("binance", "okx"), simulation, symbols), Home(tmp_path))


def test_demo_has_every_process_and_one_ingestor_for_each_exchange(tmp_path: Path) -> None:
    names = [command.name for command in plan(tmp_path, Simulation()).commands()]
    assert names == [
        "kafka", "valkey", "exchange-sim", "history", "ingestor-binance", "ingestor-okx",
        "auth", "stream-hub", "twap-engine", "gateway", "dashboard",
    ]  # fmt: skip


def test_up_reads_the_real_exchanges(tmp_path: Path) -> None:
    commands = {command.name: command for command in plan(tmp_path, symbols=("BTC-USD",)).commands()}
    assert "exchange-sim" not in commands
    settings = commands["ingestor-okx"].environment
    assert settings["CROSSTAPE_EXCHANGE_ORIGIN"] == ""
    assert (settings["CROSSTAPE_EXCHANGE"], settings["CROSSTAPE_SYMBOLS"]) == ("okx", "BTC-USD")


def test_what_serves_clients_stops_first_and_engines_last(tmp_path: Path) -> None:
    order = levels(plan(tmp_path, Simulation()).commands())
    assert order == [
        ["kafka", "valkey", "exchange-sim"],
        ["history", "auth"],
        ["ingestor-binance", "ingestor-okx", "stream-hub", "twap-engine"],
        ["gateway"],
        ["dashboard"],
    ]


def test_processes_have_ports_of_their_own_on_loopback(tmp_path: Path) -> None:
    commands = plan(tmp_path, Simulation()).commands()
    assert len({command.port for command in commands}) == len(commands)
    assert {command.environment.get("CROSSTAPE_HOST", "127.0.0.1") for command in commands} == {"127.0.0.1"}


def test_state_of_every_process_is_in_the_home(tmp_path: Path) -> None:
    commands = {command.name: command for command in plan(tmp_path, Simulation(faults="drop=0.1")).commands()}
    assert commands["history"].environment["CROSSTAPE_CLICKHOUSE_URL"] == f"chdb://{tmp_path}/clickhouse"
    assert str(tmp_path / "kafka") in commands["kafka"].argv
    assert str(tmp_path / "valkey") in commands["valkey"].argv
    assert str(tmp_path / "exchange-sim") in commands["exchange-sim"].argv
    assert "drop=0.1" in commands["exchange-sim"].argv


def test_auth_alone_has_the_secret_of_signing_keys_and_has_the_same_one_at_every_start(tmp_path: Path) -> None:
    first, second = ({each.name: each for each in plan(tmp_path, Simulation()).commands()} for _ in range(2))
    having = {name for name, command in first.items() if "CROSSTAPE_SIGNING_KEY_SECRET" in command.environment}
    assert having == {"auth"}
    secret = first["auth"].environment["CROSSTAPE_SIGNING_KEY_SECRET"]
    assert secret == second["auth"].environment["CROSSTAPE_SIGNING_KEY_SECRET"]
    assert secret not in {command.environment.get("CROSSTAPE_INTERNAL_SECRET") for command in first.values()}


def test_the_broker_here_is_spoken_to_in_the_clear_whatever_the_environment_says_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = {command.name: command for command in plan(tmp_path, Simulation()).commands()}
    settings = commands["history"].environment
    for name in BusUserSettings.model_fields:
        if name.startswith("kafka_"):
            monkeypatch.setenv(f"CROSSTAPE_{name.upper()}", settings[f"CROSSTAPE_{name.upper()}"])
    assert BusUserSettings().bus == BusSettings(settings["CROSSTAPE_KAFKA_BOOTSTRAP"])
