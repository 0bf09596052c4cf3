"""What a platform on one machine is made of: every process, its port, its settings, and what it needs.

Everything listens on loopback. The ports of gateway and dashboard are the user's choice, the others are free ones.
"""

import asyncio
import sys
from collections.abc import Mapping

from crosstape.cli import engines, probe
from crosstape.cli.access import Access, access
from crosstape.cli.choice import Choice, Simulation
from crosstape.cli.home import Home, Listing, Run
from crosstape.cli.markets import active_symbols, listed_symbol
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command, LateEnvironment
from crosstape.cli.supervisor import Supervisor

SIMULATED_TRADES = 20_000
"""Trades that a simulated exchange's REST history reaches back in each market: what repairs need, in little memory."""

EXCHANGE_SECONDS = 20.0
"""So long a start waits for a real exchange, which may be away, or closed to this country, for days."""

RECORDINGS_SECONDS = 3_600.0
"""All recorded frames are read once before the first is played: a million in some seconds."""

_SIMULATED_ORDERS = {"CROSSTAPE_EXECUTOR": "simulated", "CROSSTAPE_CCXT_CREDENTIALS": ""}
"""Where the books are simulated or recorded, no order goes to a real exchange, whatever the environment says."""


class Plan:
    """The commands of one run, made once: the ports are settled here."""

    def __init__(self, choice: Choice, home: Home) -> None:
        self.exchanges = choice.exchanges
        self._traded: dict[str, str] = {}
        self._choice = choice
        self._home = home
        engines_and_services = (
            *("kafka", "kafka-controller", "valkey", "exchange-sim", "history", "auth"),
            *("stream-hub", "stream-hub-sockets", "twap-engine"),
        )
        names = (*engines_and_services, *map(ingestor, choice.exchanges))
        chosen = {"gateway": choice.port, "dashboard": choice.dashboard_port}
        self._ports = {name: free_port() for name in names} | chosen

    def commands(self) -> list[Command]:
        """Every process of the platform."""
        simulator = [self._simulator(self._choice.simulation)] if self._choice.simulation else []
        return [
            engines.kafka(self._ports["kafka"], self._ports["kafka-controller"], self._home.data("kafka")),
            engines.valkey(self._ports["valkey"], self._home.data("valkey")),
            *simulator,
            self._history(),
            *(self._ingestor(exchange) for exchange in self.exchanges),
            self._auth(),
            self._stream_hub(),
            self._twap_engine(),
            self._gateway(),
            self._dashboard(),
        ]

    def run(self, supervisor: Supervisor, pid: int) -> Run:
        """What `run.json` says of this run, supervised by process `pid`."""
        return Run(
            pid=pid,
            mode=self._choice.mode,
            gateway_url=self._url("gateway"),
            dashboard_url=self._url("dashboard"),
            history_url=self._url("history"),
            exchange_origin=self._exchange_origin,
            kafka_bootstrap=f"{LOOPBACK}:{self._ports['kafka']}",
            redis_url=self._redis_url,
            clickhouse_url=self._clickhouse_url,
            home=str(self._home.directory),
            processes=[
                Listing(
                    name=process.command.name,
                    pid=process.pid,
                    port=process.command.port,
                    url="" if process.command.is_isolated else f"http://{LOOPBACK}:{process.command.port}",
                    log=str(process.log),
                )
                for process in supervisor.running()
            ],
        )

    def markets(self, supervisor: Supervisor) -> dict[str, str]:
        """The exchanges that are read, each with a market of it."""
        if self._choice.simulation:
            return {name: self._traded[name] for name in self.exchanges if name in self._traded}
        read = {name: ingestor(name) for name in self.exchanges if ingestor(name) not in supervisor.absent}
        return {name: listed_symbol(self._url(process), self._choice.symbols) for name, process in read.items()}

    def access(self) -> Access:
        """The operator's login of this platform; asks the gateway."""
        return access(self._url("gateway"), self._home)

    def _simulator(self, simulation: Simulation) -> Command:
        options = {
            "--port": str(self._ports["exchange-sim"]),
            "--exchanges": ",".join(self.exchanges),
            "--symbols": str(simulation.symbols),
            "--rate": str(simulation.rate),
            "--seed": str(simulation.seed),
            "--state": str(self._home.data("exchange-sim")),
            "--history": str(SIMULATED_TRADES),
            "--times": simulation.times,
            "--speed": simulation.speed,
        }
        if simulation.faults:
            options["--faults"] = simulation.faults
        if simulation.recordings:
            options["--recordings"] = str(simulation.recordings)
        port = self._ports["exchange-sim"]
        return Command(
            name="exchange-sim",
            argv=_module("crosstape.exchange_sim", *(word for option in options.items() for word in option)),
            ready=probe.http(LOOPBACK, port, "/_truth/markets"),
            port=port,
            ready_seconds=RECORDINGS_SECONDS if simulation.recordings else None,
        )

    def _history(self) -> Command:
        settings = {
            "CROSSTAPE_EXCHANGES": ",".join(self.exchanges),
            "CROSSTAPE_ROLE": "all",
            "CROSSTAPE_CLICKHOUSE_CLUSTER": "",
        }
        return self._service("history", "crosstape.history", settings, needs=("kafka",))

    def _ingestor(self, exchange: str) -> Command:
        async def markets() -> Mapping[str, str]:
            """The simulator's own list of what trades; it is short-lived knowledge, so it is asked, not repeated."""
            symbols = await asyncio.to_thread(active_symbols, self._exchange_origin, exchange)
            self._traded[exchange] = next((symbol for symbol in symbols if symbol.startswith("BTC-")), symbols[0])
            return {"CROSSTAPE_SYMBOLS": ",".join(symbols)}

        simulator = ("exchange-sim",) if self._choice.simulation else ()
        return self._service(
            ingestor(exchange),
            "crosstape.ingestor",
            {"CROSSTAPE_EXCHANGE": exchange, "CROSSTAPE_SYMBOLS": ",".join(self._choice.symbols)},
            needs=("kafka", "history", *simulator),
            after=simulator,
            late=markets if self._choice.simulation else None,
            ready_seconds=None if self._choice.simulation else EXCHANGE_SECONDS,
            may_be_absent=self._choice.simulation is None,
        )

    def _auth(self) -> Command:
        settings = {
            "CROSSTAPE_AUTH_DATABASE_URL": self._home.accounts_url,
            "CROSSTAPE_SIGNING_KEY_SECRET": self._home.secret("signing_key_secret"),
            "CROSSTAPE_ADMIN_PASSWORD": self._home.secret("admin_password"),
        }
        return self._service("auth", "crosstape.auth", settings, needs=("valkey",))

    def _stream_hub(self) -> Command:
        settings = {"CROSSTAPE_STREAM_PORT": str(self._ports["stream-hub-sockets"])}
        return self._service("stream-hub", "crosstape.stream_hub", settings, needs=("kafka", "valkey", "history"))

    def _twap_engine(self) -> Command:
        database = self._home.data("orders") / "orders.db"
        settings = {"CROSSTAPE_ORDERS_DATABASE_URL": f"sqlite:///{database}"}
        if self._choice.simulation:
            settings |= _SIMULATED_ORDERS
        return self._service("twap-engine", "crosstape.twap_engine", settings, needs=("kafka", "history"))

    def _gateway(self) -> Command:
        return self._service(
            "gateway",
            "crosstape.api_gateway",
            {
                "CROSSTAPE_STREAM_HUB_URL": self._url("stream-hub"),
                "CROSSTAPE_STREAM_HUB_SOCKETS_URL": self._url("stream-hub-sockets"),
                "CROSSTAPE_TWAP_URL": self._url("twap-engine"),
            },
            needs=("valkey", "history", "auth", "stream-hub", "twap-engine", *map(ingestor, self.exchanges)),
        )

    def _dashboard(self) -> Command:
        """It needs no other process to start, and leaves the machine to the broker until that one is ready."""
        port = self._ports["dashboard"]
        return Command(
            name="dashboard",
            argv=_module("crosstape.dashboard.launch", "--port", str(port), "--url", self._url("gateway")),
            ready=probe.http(LOOPBACK, port, "/_stcore/health"),
            port=port,
            needs=("gateway",),
            after=("kafka",),
        )

    def _service(
        self,
        name: str,
        module: str,
        settings: Mapping[str, str],
        needs: tuple[str, ...],
        after: tuple[str, ...] = (),
        late: LateEnvironment | None = None,
        ready_seconds: float | None = None,
        may_be_absent: bool = False,
    ) -> Command:
        port = self._ports[name]
        return Command(
            name=name,
            argv=_module(module),
            ready=probe.http(LOOPBACK, port, "/readyz"),
            environment={**self._shared_settings, "CROSSTAPE_PORT": str(port), **settings},
            late_environment=late,
            port=port,
            needs=needs,
            after=after,
            ready_seconds=ready_seconds,
            may_be_absent=may_be_absent,
        )

    @property
    def _shared_settings(self) -> dict[str, str]:
        return {
            "CROSSTAPE_HOST": LOOPBACK,
            "CROSSTAPE_KAFKA_BOOTSTRAP": f"{LOOPBACK}:{self._ports['kafka']}",
            **engines.KAFKA_SETTINGS,
            "CROSSTAPE_CLICKHOUSE_URL": self._clickhouse_url,
            "CROSSTAPE_REDIS_URL": self._redis_url,
            "CROSSTAPE_EXCHANGE_ORIGIN": self._exchange_origin,
            "CROSSTAPE_HISTORY_URL": self._url("history"),
            "CROSSTAPE_AUTH_URL": self._url("auth"),
            "CROSSTAPE_INTERNAL_SECRET": self._home.secret("internal_secret"),
            "CROSSTAPE_LOG_FORMAT": "json",
            "CROSSTAPE_LOG_LEVEL": self._choice.log_level,
            "PYTHONUNBUFFERED": "1",
        }

    @property
    def _exchange_origin(self) -> str:
        return self._url("exchange-sim") if self._choice.simulation else ""

    @property
    def _redis_url(self) -> str:
        return f"redis://{LOOPBACK}:{self._ports['valkey']}/0"

    @property
    def _clickhouse_url(self) -> str:
        return f"chdb://{self._home.data('clickhouse')}"

    def _url(self, name: str) -> str:
        return f"http://{LOOPBACK}:{self._ports[name]}"


def ingestor(exchange: str) -> str:
    """The name of the process that reads `exchange`."""
    return f"ingestor-{exchange}"


def _module(name: str, *arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-P", "-m", name, *arguments)
