"""Are the stored bars what the tape says? Asks history to recompute them, and shows its findings."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from rich.console import Console
from rich.table import Table

from crosstape.cli.errors import CliError
from crosstape.cli.home import Home
from crosstape.cli.http import get, refusal
from crosstape.cli.running import find_run
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.services import HISTORY

SHOWN = 20
STALL_SECONDS = 120.0


def verify(exchange: str, symbol: str, start: str, end: str, homes: Sequence[Home]) -> bool:
    """True when every stored bar equals its recomputation. Prints a table of what was found."""
    run = find_run(homes)
    secret = Home(Path(run.home)).kept_secret("internal_secret")
    headers = InternalTokens("cli", [secret]).own(HISTORY)
    query = urlencode({key: value for key, value in (("start", start), ("end", end)) if value})
    path = f"/internal/verify/{quote(exchange, safe='')}/{quote(symbol, safe='')}" + (f"?{query}" if query else "")
    console = Console()
    report: dict[str, Any] = {}
    with (
        console.status(f"Recomputing the bars of {exchange} {symbol}") as status,
        get(run.history_url, path, STALL_SECONDS, headers) as response,
    ):
        if response.status != 200:
            raise CliError(refusal(response.status, response.read()))
        for line in response:
            report = json.loads(line)
            if "result" not in report:
                status.update(f"Recomputing the bars of {exchange} {symbol}: {report['bars']} compared")
    if "result" not in report:
        raise CliError("history stopped in the middle of its answer: see its log, and run verify again")
    _show(console, exchange, symbol, report)
    return bool(report["result"] == "ok")


def _show(console: Console, exchange: str, symbol: str, report: dict[str, Any]) -> None:
    is_ok = report["result"] == "ok"
    verdict = "[green]ok[/]: every bar is what its trades say" if is_ok else "[red]mismatch[/]"
    table = Table(title=f"{exchange} {symbol}", show_header=False, title_justify="left")
    table.add_column()
    table.add_column()
    table.add_row("result", verdict)
    table.add_row("bars compared", str(report["bars"]))
    table.add_row("bars that differ", str(len(report["mismatches"])))
    table.add_row("missing trade ids", str(len(report["missing_ids"])))
    console.print(table)
    for day, digest in sorted(report["sha256"].items()):
        console.print(f"SHA-256 {day}  {digest}", highlight=False, soft_wrap=True)
    for title, rows in (("differs", report["mismatches"]), ("missing", report["missing_ids"])):
        for row in rows[:SHOWN]:
            console.print(f"  {title}: {json.dumps(row)}", highlight=False, markup=False, soft_wrap=True)
        if len(rows) > SHOWN:
            console.print(f"  ... and {len(rows) - SHOWN} more")
