"""Commands that run a module of the ingestor and draw the JSON lines it prints: `record` and `backfill`."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from crosstape.cli.engines import KAFKA_SETTINGS
from crosstape.cli.errors import CliError
from crosstape.cli.home import Home
from crosstape.cli.running import find_run

INTERRUPTED = 130


def record(exchange: str, symbols: Sequence[str], out: Path, origin: str) -> None:
    """Record until Ctrl-C, which the recorder itself obeys: the file is complete then."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CliError(
            f"cannot write in {out.absolute().parent} ({error.strerror}): choose another with --out"
        ) from None
    arguments = [exchange, *symbols, "--out", str(out), *(["--origin", origin] if origin else [])]
    console = Console()
    frames = 0
    with console.status(f"Recording {exchange} into {out}; Ctrl-C ends it") as status:
        for line in lines("crosstape.ingestor.record", arguments, {}):
            frames = int(line["frames"])
            status.update(f"Recording {exchange} into {out}: {frames} frames; Ctrl-C ends it")
    console.print(f"{frames} frames in {out}", highlight=False)


def backfill(exchange: str, symbol: str, since: str, until: str, homes: Sequence[Home]) -> None:
    """Draw the bar of a backfill. Its endpoints: those of the running platform, else the environment's."""
    arguments = [exchange, symbol, "--since", since, *(["--until", until] if until else [])]
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    console = Console()
    trades, words = 0, ""
    with Progress(*columns, TextColumn("{task.fields[trades]} trades"), console=console) as progress:
        task = progress.add_task(f"{exchange} {symbol}", total=None, trades=0)
        for line in lines("crosstape.ingestor.backfill", arguments, _endpoints(homes)):
            trades, words = int(line["trades"]), str(line["message"]) or words
            progress.update(task, completed=line["done"], total=line["total"], trades=trades)
    console.print(f"{trades} trades: {words}", highlight=False)


def _endpoints(homes: Sequence[Home]) -> dict[str, str]:
    if "CROSSTAPE_KAFKA_BOOTSTRAP" in os.environ:
        return {}
    run = find_run(homes)
    return {
        "CROSSTAPE_KAFKA_BOOTSTRAP": run.kafka_bootstrap,
        **KAFKA_SETTINGS,
        "CROSSTAPE_EXCHANGE_ORIGIN": run.exchange_origin,
    }


def lines(module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """The JSON lines of `python -m module`. Ctrl-C reaches it too; what it says after that is still read.

    Raises CliError with its last line on stderr when it fails, typer.Exit(130) when it was interrupted.
    """
    interrupted = False
    with tempfile.TemporaryFile("w+") as complaints:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process:
            while True:
                try:
                    text = process.stdout.readline() if process.stdout else ""
                    if not text.endswith("\n"):  # the module was killed in the middle of a line, say
                        process.wait()
                        break
                except KeyboardInterrupt:
                    interrupted = True
                    continue
                yield json.loads(text)
        if process.returncode and interrupted:
            raise typer.Exit(INTERRUPTED)
        if process.returncode:
            complaints.seek(0)
            said = [line.strip() for line in complaints if line.strip()]
            raise CliError(said[-1] if said else f"{module} ended with exit code {process.returncode}")
