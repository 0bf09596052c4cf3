"""The markets of a recording: instruments from the symbols seen, trades as they are played."""

from collections.abc import Iterable

from crosstape.exchange_sim.decimal_text import parsed
from crosstape.exchange_sim.instruments import Instrument, Kind
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.replay.frames import RecordedTrade
from crosstape.exchange_sim.replay.recordings import Recording
from crosstape.exchange_sim.trade_history import Trade

QUOTES = ("USDT", "USDC", "BUSD", "TUSD", "BTC", "ETH", "BNB", "EUR", "GBP", "USD")


def kind_of(recording: Recording, symbol: str) -> Kind:
    is_perpetual = recording.address.startswith("perpetual") or symbol.endswith("-SWAP")
    return "perpetual" if is_perpetual else "spot"


def split_symbol(symbol: str) -> tuple[str, str]:
    for mark in "-/":
        if mark in symbol:
            base, quote, *_ = symbol.split(mark)
            return base, quote
    for quote in QUOTES:
        if symbol.endswith(quote) and symbol != quote:
            return symbol.removesuffix(quote), quote
    return symbol, ""


def instrument_of(recording: Recording, symbol: str) -> Instrument:
    """Decimals are the most that any of its trades was written with."""
    decimals = recording.decimals[symbol] or (8, 8)
    base, quote = split_symbol(symbol)
    return Instrument(recording.exchange, kind_of(recording, symbol), base, quote, symbol, *decimals)


class RecordedMarket(Market):
    """A market without an engine behind it: its trades are those played so far."""

    def __init__(self, instrument: Instrument, history_limit: int) -> None:
        super().__init__(instrument, 0, history_limit=history_limit, first_number=1, since=0, has_past=False)
        self._seen: set[str] = set()

    def play(self, trades: Iterable[RecordedTrade], shift_ms: int) -> None:
        """Takes each trade once: recordings repeat some after a second subscription."""
        for recorded in trades:
            trade = self._trade(recorded, shift_ms)
            if trade is not None:
                self.record(trade)

    def _trade(self, recorded: RecordedTrade, shift_ms: int) -> Trade | None:
        number = self.next_number
        if recorded.trade_id.isdigit():
            number = int(recorded.trade_id)
            if self.history and number <= self.history.numbers[-1]:
                return None
        elif recorded.trade_id:
            if recorded.trade_id in self._seen:
                return None
            self._seen.add(recorded.trade_id)
            self.native_ids[number] = recorded.trade_id
        self.next_number = number + 1
        return Trade(
            number, recorded.time_ns + shift_ms * 1_000_000,
            parsed(recorded.price, self.instrument.price_decimals),
            parsed(recorded.quantity, self.instrument.quantity_decimals), recorded.side, number,
        )  # fmt: skip
