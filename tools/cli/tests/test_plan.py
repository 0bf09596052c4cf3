"""The plan of a platform: what is in it, who waits for whom, and that every process listens on loopback."""

from contextlib import suppress
from pathlib import Path

import pytest

from crosstape.cli import plan as plan_module
from crosstape.cli.choice import SIMULATED_EXCHANGES, Choice, Simulation
from crosstape.cli.home import Home
from crosstape.cli.plan import Plan
from crosstape.cli.process import NotNeeded, ProcessError
from crosstape.cli.supervisor import Supervisor, levels
from crosstape.common.bus.connection import BusSettings
from crosstape.exchange_sim.instruments import EXCHANGES
from crosstape.history.settings import HistorySettings, Role
from crosstape.twap_engine.settings import ExecutorKind, TwapSettings


def plan(tmp_path: Path, simulation: Simulation | None = None, symbols: tuple[str, ...] = ()) -> Plan:
    return Plan(Choice(8000, 8501, ("binance", "okx"), simulation, symbols), Home(tmp_path))


def test_what_is_simulated_by_default_is_what_the_simulator_speaks() -> None:
    assert SIMULATED_EXCHANGES == EXCHANGES


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


def test_a_start_waits_for_simulated_exchanges_and_goes_on_without_real_ones(tmp_path: Path) -> None:
    def needed(plan: Plan) -> set[str]:
        return {command.name for command in plan.commands() if not command.may_be_absent}

    real = plan(tmp_path, symbols=("BTC-USD",))
    assert needed(plan(tmp_path, Simulation())) - needed(real) == {
        "exchange-sim", "ingestor-binance", "ingestor-okx",
    }  # fmt: skip


async def test_what_is_shown_as_read_is_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def symbols(origin: str, exchange: str) -> list[str]:
        if exchange == "binance":
            raise NotNeeded("nothing of binance is simulated or recorded")
        return ["BLZ-ETH", "BTC-USDT"] if exchange == "okx" else ["SOL-USDT"]

    monkeypatch.setattr(plan_module, "active_symbols", symbols)
    simulation = Simulation(recordings=Path("/recordings"))
    recorded = Plan(Choice(8000, 8501, ("binance", "okx", "bybit"), simulation), Home(tmp_path))
    commands = recorded.commands()
    supervisor = Supervisor(commands, Home(tmp_path).log, lambda event: None)
    for command in commands:
        with suppress(NotNeeded):
            await command.late_environment() if command.late_environment else None
    # of a recorded exchange's markets the first may have no trade
    assert recorded.markets(supervisor) == {"okx": "BTC-USDT", "bybit": "SOL-USDT"}

    real = plan(tmp_path, symbols=("SOL-USD", "BTC-USD"))
    supervisor.absent["ingestor-binance"] = ProcessError("it is closed to this country")
    assert real.markets(supervisor) == {"okx": "SOL-USD"}


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


ELSEWHERE = {
    "CROSSTAPE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "CROSSTAPE_KAFKA_SSL_CA_FILE": "/run/certificates/ca.pem",
    "CROSSTAPE_KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
    "CROSSTAPE_KAFKA_SASL_USERNAME": "crosstape",
    "CROSSTAPE_KAFKA_SASL_PASSWORD": "a password",
    "CROSSTAPE_TOPIC_REPLICATION": "3",
    "CROSSTAPE_ROLE": "sink",
    "CROSSTAPE_CLICKHOUSE_CLUSTER": "crosstape",
    "CROSSTAPE_EXECUTOR": "ccxt",
    "CROSSTAPE_CCXT_CREDENTIALS": '{"binance": {"apiKey": "a", "secret": "b"}}',
    "CROSSTAPE_CCXT_SANDBOX": "false",
}
"""What a shell in which another deployment is looked after may have in its environment."""


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in ELSEWHERE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def started(plan: Plan, name: str, environment: pytest.MonkeyPatch) -> None:
    """Have the environment that the process `name` of `plan` gets."""
    (command,) = (command for command in plan.commands() if command.name == name)
    for variable, value in command.environment.items():
        environment.setenv(variable, value)


def test_history_keeps_its_own_store_and_broker_whatever_the_environment_says_of_others(
    tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    started(plan(tmp_path, Simulation()), "history", elsewhere)
    settings = HistorySettings()
    assert settings.bus == BusSettings(settings.kafka_bootstrap)
    assert (settings.role, settings.clickhouse_cluster) == (Role.ALL, "")


@pytest.mark.parametrize("simulation", [Simulation(), Simulation(recordings=Path("/recordings"))])
def test_no_order_of_a_simulation_goes_to_a_real_exchange(
    tmp_path: Path, elsewhere: pytest.MonkeyPatch, simulation: Simulation
) -> None:
    started(plan(tmp_path, simulation), "twap-engine", elsewhere)
    settings = TwapSettings()
    assert (settings.executor, settings.ccxt_credentials.get_secret_value()) == (ExecutorKind.SIMULATED, "")


def test_orders_go_where_the_environment_says_when_the_exchanges_are_real(
    tmp_path: Path, elsewhere: pytest.MonkeyPatch
) -> None:
    started(plan(tmp_path, symbols=("BTC-USD",)), "twap-engine", elsewhere)
    assert TwapSettings().executor is ExecutorKind.CCXT
