"""Which markets the simulated exchanges trade."""

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
