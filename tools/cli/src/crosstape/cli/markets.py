"""Which markets the exchanges trade that are read."""

from collections.abc import Sequence

from crosstape.cli.errors import CliError
from crosstape.cli.http import ask_json
from crosstape.cli.process import NotNeeded


def active_symbols(origin: str, exchange: str) -> list[str]:
    """Canonical symbols of the markets that trade on `exchange`; all of its markets where none is marked so.

    Raises NotNeeded when it has none, as in a replay of other exchanges.
    """
    listed = [market for market in ask_json(origin, "/_truth/markets") if market["exchange"] == exchange]
    chosen = [market for market in listed if market["is_active"]] or listed
    if not chosen:
        raise NotNeeded(f"nothing of {exchange} is simulated or recorded")
    return [f"{market['base']}-{market['quote']}{'.P' if market['kind'] == 'perpetual' else ''}" for market in chosen]


def listed_symbol(ingestor: str, symbols: Sequence[str]) -> str:
    """The first of `symbols` that an exchange lists, as far as its ingestor, which is at this origin, tells."""
    try:
        unlisted = ask_json(ingestor, "/readyz")["checks"]["feed"]["unlisted"]
    except (CliError, KeyError):
        unlisted = []
    return next((symbol for symbol in symbols if symbol not in unlisted), symbols[0])
