"""`crosstape-orderbook`: the aggregated order book of one symbol over several exchanges, live."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from typing import Annotated

import typer
from rich.console import Console

from crosstape.client import AsyncClient, CrosstapeError, SymbolNotFound
from crosstape.orderbook.aggregation import Aggregation
from crosstape.orderbook.drawing import draw, status
from crosstape.orderbook.frames import frames
from crosstape.orderbook.screen import Pipe, Terminal

INTERRUPTED = 130

cli = typer.Typer(add_completion=False)


@cli.command()
def orderbook(
    symbol: Annotated[str, typer.Argument(help="in any spelling, such as ETH-USD or BTC/USDT")] = "ETH-USD",
    exchanges: Annotated[str, typer.Option(help="comma-separated, such as okx,binance,kraken; all if left out")] = "",
    depth: Annotated[int, typer.Option(min=1, max=1000, help="levels a side")] = 25,
    plain: Annotated[bool, typer.Option(help="one frame after the other, for a pipe")] = False,
    count: Annotated[int | None, typer.Option("--frames", min=1, help="stop after so many frames")] = None,
    url: Annotated[str, typer.Option(envvar="CROSSTAPE_URL", help="the platform")] = "http://127.0.0.1:8000",
    token: Annotated[str | None, typer.Option(help="a JWT of POST /login")] = None,
    api_key: Annotated[str | None, typer.Option(envvar="CROSSTAPE_API_KEY", help="an API key")] = None,
) -> None:
    """The aggregated order book of one symbol over several exchanges, live. Ctrl-C ends it."""
    console = Console()
    aggregation = Aggregation(symbol.upper(), exchanges.split(","))
    screen = Pipe() if plain or not console.is_terminal else Terminal(console)

    async def run() -> None:
        shown = 0
        async with (
            AsyncClient(url, token=token, api_key=None if token else api_key) as client,
            contextlib.aclosing(frames(client, aggregation, depth)) as due,
        ):
            with screen:
                async for _ in due:
                    view = aggregation.view(depth)
                    screen.show(draw(view, screen.rows(depth), screen.width), status(view, aggregation.connection))
                    shown += 1
                    if shown == count:
                        return

    try:
        asyncio.run(run())
    except CrosstapeError as error:
        raise _stop(error) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left unflushed would fail again


def _stop(error: CrosstapeError) -> typer.Exit:
    sentence = str(error)
    if isinstance(error, SymbolNotFound) and error.suggestions:
        sentence += f" Did you mean {', '.join(error.suggestions)}?"
    typer.echo(f"crosstape-orderbook: {sentence}", err=True)
    return typer.Exit(1)


def main() -> None:
    """The console script."""
    cli()
