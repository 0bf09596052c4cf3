"""What a person sees of a platform that starts, runs and stops: a live line on a terminal, plain lines elsewhere."""

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


class View:
    """Prints events as they come. The progress line exists only while the platform starts."""

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
        self._console.print(f"[bold]{title}[/]")
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
            self._console.print(f"  {mark} {event.name:<22}{took}{text}", highlight=False, soft_wrap=True)

    def announce(self, run: Run, home: Home, exchanges: tuple[str, ...], seconds: float, access: Access | None) -> None:
        """Say where everything is and how to get in, once all are ready."""
        self._progress.stop()
        gateway = run.gateway_url
        kind = "simulated exchanges" if run.mode == "demo" else "the real exchanges"
        lines = [
            f"\n[bold green]Crosstape runs[/] with {kind} ({', '.join(exchanges)}), ready after {seconds:.1f} s.",
            "Ctrl-C stops it; the next run goes on from here.\n",
            f"  dashboard   [bold]{run.dashboard_url}[/]",
            f"  gateway     [bold]{gateway}[/]",
            f"  API docs    {gateway}/docs",
            f"  health      {gateway}/health/ready",
            f"  metrics     {gateway}/metrics",
            f"  broker      {run.kafka_bootstrap} (Kafka protocol)",
            *([f"  exchanges   {run.exchange_origin}/_truth/markets"] if run.exchange_origin else []),
            f"  logs        {home.log('*')}",
            *([f"  login       {access.username} / {access.password}"] if access else []),
            *([f"  API key     {access.api_key}"] if access else []),
            "\nTry:",
            *(
                f"  {example}"
                for example in examples(
                    gateway, exchanges[0], access.api_key if access else "$API_KEY", _home_option(home)
                )
            ),
            "",
        ]
        for line in lines:
            self._console.print(line, highlight=False, soft_wrap=True)

    def stopping(self) -> None:
        self._progress.stop()
        self._console.print("\nStopping; Ctrl-C again kills what is left", highlight=False)


def examples(gateway: str, exchange: str, api_key: str, home_option: str = "") -> list[str]:
    """Command lines that answer as soon as the platform is ready."""
    bearer = f"-H 'Authorization: Bearer {api_key}'"
    return [
        f"curl -s {gateway}/health/ready",
        f"curl -s {gateway}/{exchange}/symbols",
        f"curl -s {bearer} '{gateway}/api/v1/ohlcv/{exchange}/BTC-USD?interval=1m&limit=3'",
        f"curl -s {bearer} '{gateway}/api/v1/trades/{exchange}/BTC-USD?limit=3'",
        f"curl -s '{gateway}/api/v1/ohlcv/latest?symbol={exchange.upper()}:BTCUSDT'",
        f".venv/bin/crosstape verify {exchange} BTC-USD{home_option}",
        f".venv/bin/crosstape doctor{home_option}",
    ]


def _home_option(home: Home) -> str:
    """What other commands need to find a platform that is not in its usual folder."""
    is_usual = home.directory in [usual.directory for usual in usual_homes()]
    return "" if is_usual else f" --home {home.directory}"


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
