"""What a person sees of a platform that starts, runs and stops: a live line on a terminal, plain lines elsewhere."""

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from crosstape.cli.access import Access
from crosstape.cli.home import Home, Run, usual_homes
from crosstape.cli.supervisor import Event

_MARKS = {
    "ready": "[green]✓[/]",
    "restarted": "[green]✓[/]",
    "stopped": "[green]✓[/]",
    "skipped": "[dim]-[/]",
    "ended": "[red]✗[/]",
    "killed": "[yellow]![/]",
    "warning": "[yellow]![/]",
}
_SOURCES = {"demo": "simulated exchanges", "replay": "recorded frames", "live": "the real exchanges"}


class View:
    """Prints events as they come, as long as that is possible: a lost terminal or a full disk behind stdout ends only
    the printing. The progress line exists only while the platform starts.
    """

    def __init__(self, console: Console, count: int) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._progress.add_task("Starting", total=count)
        self._pending: list[str] = []

    def begin(self, title: str) -> None:
        with self._while_possible():
            self._console.print(f"[bold]{_escape(title)}[/]")
            self._progress.start()

    def report(self, event: Event) -> None:
        """Show one event of the supervisor."""
        if event.kind == "starting":
            self._pending.append(event.name)
        elif event.name in self._pending:
            self._pending.remove(event.name)
        if event.kind in ("ready", "skipped"):
            self._progress.advance(self._task)
        self._progress.update(self._task, description="Starting " + ", ".join(self._pending))
        if mark := _MARKS.get(event.kind):
            took = f"  [dim]{event.seconds:.1f} s[/]" if event.kind in ("ready", "restarted", "stopped") else ""
            text = "" if event.kind in ("ready", "stopped") else f"  {_escape(event.text)}"
            self._print([f"  {mark} {event.name:<22}{took}{text}"])

    def announce(self, run: Run, home: Home, markets: Mapping[str, str], seconds: float, access: Access | None) -> None:
        """Say where everything is and how to get in, once all are ready. `markets` has one of each exchange read."""
        gateway, read = run.gateway_url, ", ".join(markets) or "none yet"
        lines = [
            f"\n[bold green]Crosstape runs[/] with {_SOURCES[run.mode]} ({read}), ready after {seconds:.1f} s.",
            "Ctrl-C stops it; the next run goes on from here.\n",
            f"  dashboard   [bold]{run.dashboard_url}[/]",
            f"  gateway     [bold]{gateway}[/]",
            f"  API docs    {gateway}/docs",
            f"  health      {gateway}/health/ready",
            f"  metrics     {gateway}/metrics",
            f"  broker      {run.kafka_bootstrap} (Kafka protocol)",
            *([f"  exchanges   {run.exchange_origin}/_truth/markets"] if run.exchange_origin else []),
            f"  logs        {_escape(str(home.log('*')))}",
            *([f"  login       {access.username} / {access.password}"] if access else []),
            *([f"  API key     {access.api_key}"] if access else []),
            "\nTry:",
            *(
                f"  {_escape(example)}"
                for example in examples(gateway, markets, access.api_key if access else "$API_KEY", _home_option(home))
            ),
            "",
        ]
        self._end_progress()
        self._print(lines)

    def stopping(self) -> None:
        self._end_progress()
        self._print(["\nStopping; Ctrl-C again kills what is left"])

    def _end_progress(self) -> None:
        with self._while_possible():
            self._progress.stop()

    def _print(self, lines: Sequence[str]) -> None:
        with self._while_possible():
            for line in lines:
                self._console.print(line, highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def _while_possible(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SystemExit):  # rich makes SystemExit of a pipe that nobody reads
            self._console.quiet = True
            _let_go_of_stdout()


def examples(gateway: str, markets: Mapping[str, str], api_key: str, home_option: str = "") -> list[str]:
    """Command lines that answer as soon as the platform is ready; of the first of `markets`, where there is one."""
    bearer = f"-H 'Authorization: Bearer {api_key}'"
    lines = [f"curl -s {gateway}/health/ready"]
    for exchange, symbol in list(markets.items())[:1]:
        path = f"{exchange}/{quote(symbol, safe='')}"
        lines += [
            f"curl -s {gateway}/{exchange}/symbols",
            f"curl -s {bearer} '{gateway}/api/v1/ohlcv/{path}?interval=1m&limit=3'",
            f"curl -s {bearer} '{gateway}/api/v1/trades/{path}?limit=3'",
            f"curl -s '{gateway}/api/v1/ohlcv/latest?symbol={exchange.upper()}:{quote(symbol)}'",
            f".venv/bin/crosstape verify {exchange} {symbol}{home_option}",
        ]
    return [*lines, f".venv/bin/crosstape doctor{home_option}"]


def _home_option(home: Home) -> str:
    """What other commands need to find a platform that is not in its usual folder."""
    is_usual = home.directory in [usual.directory for usual in usual_homes()]
    return "" if is_usual else f" --home {shlex.quote(str(home.directory))}"


def _let_go_of_stdout() -> None:
    """Lead it to nowhere: what is left in its buffer would fail again when Python ends, and change its exit code."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
