"""The command line: one function for each command, its options and their help. The work is elsewhere."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crosstape.cli.errors import CliError

if TYPE_CHECKING:
    from crosstape.cli.choice import Simulation
    from crosstape.cli.home import Home

app = typer.Typer(
    help="Crosstape on one machine: run it, look into it, repair it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _speed(text: str) -> str:
    try:
        is_factor = text == "max" or float(text) > 0
    except ValueError:
        is_factor = False
    if not is_factor:
        raise typer.BadParameter("a number above 0, or max")
    return text


Port = Annotated[int, typer.Option(min=1, max=65535, help="Port of the gateway on 127.0.0.1.")]
DashboardPort = Annotated[int, typer.Option(min=1, max=65535, help="Port of the dashboard on 127.0.0.1.")]
HomeOption = Annotated[
    Path | None,
    typer.Option(
        "--home", help="Folder of the state. Default: $CROSSTAPE_HOME or .crosstape, and demo, live or replay."
    ),
]
Exchanges = Annotated[
    str | None, typer.Option(help="Exchanges to read, separated by commas. Default: all that are native or simulated.")
]
LogLevel = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR"], typer.Option(case_sensitive=False, help="From which level on.")
]
Times = Annotated[
    Literal["recorded", "now"],
    typer.Option(help="Of recorded frames. recorded: as they were; now: shifted to the present, once in a folder."),
]
Speed = Annotated[
    str,
    typer.Option(callback=_speed, help="Of recorded frames. A factor of the original pace, or max."),
]
Market = Annotated[str, typer.Argument(help="Symbol, in any spelling.")]
Exchange = Annotated[str, typer.Argument(help="Exchange id, such as binance.")]


def main() -> None:
    """Run a command. What its user can mend is one line on stderr and exit code 1, never a traceback."""
    try:
        app()
    except CliError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


@app.command()
def demo(
    port: Port = 8000,
    dashboard_port: DashboardPort = 8501,
    home: HomeOption = None,
    exchanges: Exchanges = None,
    symbols: Annotated[int, typer.Option(min=1, help="Bases that trade fast on each exchange.")] = 20,
    rate: Annotated[float, typer.Option(min=0.1, help="Trades per second over all markets.")] = 200.0,
    seed: Annotated[int, typer.Option(help="Same seed, same prices and faults.")] = 1,
    faults: Annotated[str, typer.Option(help="Faults on the wire: KIND=PROBABILITY,...")] = "",
    recordings: Annotated[
        Path | None, typer.Option(help="Recorded frames instead of simulated markets: a folder, or one file.")
    ] = None,
    times: Times = "recorded",
    speed: Speed = "1",
    log_level: LogLevel = "INFO",
) -> None:
    """Run the whole platform with [b]simulated[/b] exchanges, until Ctrl-C."""
    from crosstape.cli.choice import Simulation
    from crosstape.cli.recordings import found

    played = None if recordings is None else found(recordings)
    simulation = Simulation(symbols, rate, seed, faults, played, times, speed)
    _run((port, dashboard_port), home, exchanges, log_level, simulation=simulation)


@app.command()
def up(
    port: Port = 8000,
    dashboard_port: DashboardPort = 8501,
    home: HomeOption = None,
    exchanges: Exchanges = None,
    symbols: Annotated[
        str, typer.Option(help="Markets to read, separated by commas, in any spelling.")
    ] = "BTC-USD,ETH-USD",
    log_level: LogLevel = "INFO",
) -> None:
    """Run the whole platform with the [b]real[/b] exchanges, until Ctrl-C."""
    _run((port, dashboard_port), home, exchanges, log_level, symbols=_words(symbols))


@app.command()
def replay(
    recordings: Annotated[Path, typer.Argument(help="Folder of recorded frames, or one file of them.")],
    port: Port = 8000,
    dashboard_port: DashboardPort = 8501,
    home: HomeOption = None,
    exchanges: Exchanges = None,
    times: Times = "recorded",
    speed: Speed = "1",
) -> None:
    """Run the platform on [b]recorded[/b] frames: the simulator serves them as the exchanges did."""
    from crosstape.cli.choice import Simulation
    from crosstape.cli.recordings import found

    simulation = Simulation(recordings=found(recordings), times=times, speed=speed)
    _run((port, dashboard_port), home, exchanges, "INFO", simulation=simulation, name="replay")


@app.command()
def record(
    exchange: Exchange,
    symbols: Annotated[list[str], typer.Argument(help="Symbols, in any spelling.")],
    out: Annotated[Path, typer.Option(help="File to write; .gz compresses it.")],
    origin: Annotated[str, typer.Option(help="Origin of a simulator; empty: the real exchange.")] = "",
) -> None:
    """Write an exchange's live frames to a file, unchanged, until Ctrl-C. [b]replay[/b] plays such files."""
    from crosstape.cli.jobs import record as run_record

    run_record(exchange, symbols, out, origin)


@app.command()
def backfill(
    exchange: Exchange,
    symbol: Market,
    since: Annotated[str, typer.Option(help="ISO 8601 time or date, or Unix seconds.")],
    until: Annotated[str, typer.Option(help="The same; default: now.")] = "",
    home: HomeOption = None,
) -> None:
    """Fetch a market's trade history from the exchange onto the tape of the running platform. Safe to repeat."""
    from crosstape.cli.jobs import backfill as run_backfill

    run_backfill(exchange, symbol, since, until, _homes(home))


@app.command()
def verify(
    exchange: Exchange,
    symbol: Market,
    start: Annotated[
        str, typer.Option(help="ISO 8601 time or date, or Unix seconds; default: all that is stored.")
    ] = "",
    end: Annotated[str, typer.Option(help="The same, not included.")] = "",
    home: HomeOption = None,
) -> None:
    """Recompute every stored bar of a market from its trades and compare. Exit code 1: they differ."""
    from crosstape.cli.verify import verify as run_verify

    if not run_verify(exchange, symbol, start, end, _homes(home)):
        raise typer.Exit(1)


_PASSED_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_PASSED_ON, options_metavar="[--home FOLDER] COMMAND ...")
def users(words: typer.Context, home: HomeOption = None) -> None:
    """Accounts: list, add, role, password, remove. [b]users --help[/b] says more."""
    from crosstape.cli.accounts import administer

    raise typer.Exit(administer("users", words.args, _homes(home)))


@app.command(context_settings=_PASSED_ON, options_metavar="[--home FOLDER] COMMAND ...")
def keys(words: typer.Context, home: HomeOption = None) -> None:
    """The keys that sign access tokens: list, rotate."""
    from crosstape.cli.accounts import administer

    raise typer.Exit(administer("keys", words.args, _homes(home)))


@app.command()
def doctor(home: HomeOption = None, port: Port = 8000) -> None:
    """What is installed, what answers, what is wrong and what to do. Exit code 1: something is wrong."""
    from crosstape.cli.doctor import doctor as run_doctor

    if not run_doctor(_homes(home), port):
        raise typer.Exit(1)


@app.command()
def settings() -> None:
    """Every CROSSTAPE_ variable: default, meaning and who reads it, as a Markdown table."""
    from crosstape.cli.settings_page import page

    sys.stdout.write(page())


def _run(
    ports: tuple[int, int],
    home: Path | None,
    exchanges: str | None,
    log_level: str,
    *,
    simulation: "Simulation | None" = None,
    symbols: tuple[str, ...] = (),
    name: str = "demo",
) -> None:
    from rich.console import Console

    from crosstape.cli.choice import SIMULATED_EXCHANGES, Choice
    from crosstape.cli.home import Home, default_directory
    from crosstape.cli.operate import run_platform
    from crosstape.cli.recordings import require_new
    from crosstape.common.symbols import exchange_id
    from crosstape.exchanges import DIALECTS

    usual = SIMULATED_EXCHANGES if simulation else tuple(DIALECTS)
    chosen = usual if exchanges is None else tuple(dict.fromkeys(map(exchange_id, _words(exchanges))))
    if simulation and (unknown := [name for name in chosen if name not in SIMULATED_EXCHANGES]):
        raise CliError(f"{', '.join(unknown)} cannot be simulated: name some of {', '.join(SIMULATED_EXCHANGES)}")
    folder = Home(home or default_directory(name if simulation else "live"))
    if simulation and simulation.times == "now" and name == "replay":
        require_new(folder)
    choice = Choice(*ports, chosen, simulation, symbols, log_level)
    run_platform(choice, folder, Console())


def _homes(home: Path | None) -> "list[Home]":
    """Where a running platform may be: the folder that was named, else the usual ones."""
    from crosstape.cli.home import Home, usual_homes

    return [Home(home)] if home else usual_homes()


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise CliError("an empty list was given: name at least one, separated by commas")
    return words
