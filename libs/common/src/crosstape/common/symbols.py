"""Symbols: every spelling a user may write, to the one instrument it names, from the exchanges' own market lists."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from msgspec import Struct

from crosstape.common.errors import ExchangeNotFound, ServiceUnavailable, SymbolNotFound, ValidationFailed
from crosstape.common.likeness import Lookalikes
from crosstape.common.market.instrument import Instrument, Kind

LONGEST = 64
SUGGESTIONS = 5

QUOTE_ALIASES = {"USD": ("USDT",)}
"""Where an exchange has no market in the first, the others stand in for it, and the answer says so."""

EXCHANGE_ALIASES = {"coinbase": "coinbasepro", "coinbaseexchange": "coinbasepro"}
"""Further names of exchanges."""


class Resolution(Struct, frozen=True):
    """The instrument a spelling names; `quote_alias` is the quote it really has where another was asked for."""

    instrument: Instrument
    quote_alias: str | None = None


def exchange_id(text: str) -> str:
    """The platform's id for an exchange however the user wrote it."""
    lowered = text.strip().lower()
    return EXCHANGE_ALIASES.get(lowered, lowered)


def can_be_symbol(text: str) -> bool:
    """Whether anybody can ask for `text`."""
    return 0 < len(text) <= LONGEST and text.isprintable()


def check_symbol(text: str) -> None:
    """Raises ValidationFailed when nobody can ask for `text`."""
    if not can_be_symbol(text):
        raise ValidationFailed("symbol must be 1 to 64 printable characters", {"parameter": "symbol"})


def split_tradingview(text: str) -> tuple[str | None, str]:
    """`BINANCE:BTCUSDT.P` -> ("binance", "BTCUSDT.P"); without a known-looking prefix the exchange is None.

    ccxt's `BTC/USDT:USDT` also has a colon: there the part before it has a slash, which no exchange's name has.
    """
    prefix, colon, rest = text.partition(":")
    if colon and prefix and "/" not in prefix and "-" not in prefix:
        return exchange_id(prefix), rest
    return None, text


class SymbolTable:
    """Every spelling of every instrument of one exchange."""

    def __init__(self, exchange: str, instruments: Iterable[Instrument]):
        self.exchange = exchange
        self.instruments = tuple(instruments)
        self._spellings: dict[str, dict[Instrument, int]] = {}
        self._joined: dict[str, list[str]] = {}
        for instrument in self.instruments:
            for rank, spellings in enumerate(_spellings(instrument)):
                for spelling in spellings:
                    self._spellings.setdefault(_fold(spelling), {}).setdefault(instrument, rank)
            self._joined.setdefault(_fold(f"{instrument.base}{instrument.quote}"), []).append(instrument.symbol)

    def resolve(self, text: str) -> Resolution:
        """The instrument that `text` names. The canonical symbol wins over any other spelling, then spot over
        perpetual, then the exchange's own spelling over one made of base and quote.

        Raises SymbolNotFound with suggestions, ValidationFailed for a text no symbol can be.
        """
        if (found := self.find(text)) is not None:
            return found
        prefix, _ = split_tradingview(text)
        if prefix is not None and prefix != self.exchange:
            message = f"{text} names exchange {prefix}, not {self.exchange}."
        else:
            message = f"{self.exchange} has no symbol {text}. GET /{self.exchange}/symbols lists them."
        raise SymbolNotFound(message, {"suggestions": self.suggest(text)})

    def find(self, text: str) -> Resolution | None:
        """As `resolve`, but None for what names nothing here. Raises SymbolNotFound for what is ambiguous, with the
        names to choose from, and ValidationFailed."""
        check_symbol(text)
        prefix, rest = (None, text) if _fold(text) in self._spellings else split_tradingview(text)
        if prefix is not None and prefix != self.exchange:
            return None
        key = _fold(rest)
        found = _preferred(self._spellings.get(key, {}))
        if len(found) == 1:
            return Resolution(found[0])
        if len(found) > 1:
            names = sorted({instrument.symbol for instrument in found})
            if len(names) < len(found):
                names = sorted(instrument.exchange_symbol for instrument in found)
            raise SymbolNotFound(
                f"{text} is ambiguous on {self.exchange}: name one of {', '.join(names[:SUGGESTIONS])}.",
                {"suggestions": names[:SUGGESTIONS]},
            )
        return self._by_quote_alias(key)

    def _by_quote_alias(self, key: str) -> Resolution | None:
        body, suffix = (key[:-2], key[-2:]) if key.endswith(".P") else (key, "")
        for quote, stand_ins in QUOTE_ALIASES.items():
            for separator in ("-", "/"):
                base, found, rest = body.rpartition(separator)
                if not found or rest != quote:
                    continue
                for stand_in in stand_ins:
                    match = _preferred(self._spellings.get(f"{base}-{stand_in}{suffix}", {}))
                    if len(match) == 1:
                        return Resolution(match[0], quote_alias=stand_in)
        return None

    def suggest(self, text: str) -> list[str]:
        """Up to five canonical symbols whose base and quote look most like `text`."""
        _, rest = split_tradingview(text)
        letters = "".join(filter(str.isalnum, _fold(rest).removesuffix(".P")))
        near = self._lookalikes.nearest(letters, SUGGESTIONS)
        return list(dict.fromkeys(symbol for joined in near for symbol in self._joined[joined]))[:SUGGESTIONS]

    @cached_property
    def _lookalikes(self) -> Lookalikes:
        return Lookalikes(self._joined)


def exchange_not_found(exchanges: Sequence[str]) -> ExchangeNotFound:
    """The error of an exchange that is none of `exchanges`."""
    return ExchangeNotFound(f"No such exchange. There are: {', '.join(exchanges)}.", {"exchanges": list(exchanges)})


class SymbolTables:
    """The tables of all `exchanges`, as far as their market lists are known."""

    def __init__(self) -> None:
        self.exchanges: list[str] = []
        self._tables: dict[str, SymbolTable] = {}

    @property
    def is_known(self) -> bool:
        """Whether there is a table of any exchange."""
        return bool(self._tables)

    @property
    def missing(self) -> list[str]:
        """The exchanges whose lists are not known yet."""
        return [exchange for exchange in self.exchanges if exchange not in self._tables]

    @property
    def is_whole(self) -> bool:
        """Whether there is a table of every exchange."""
        return bool(self.exchanges) and not self.missing

    def put(self, exchange: str, instruments: Iterable[Instrument]) -> None:
        """The market list of an exchange, in the place of the one before."""
        self._tables[exchange] = SymbolTable(exchange, instruments)

    def table(self, exchange: str) -> SymbolTable:
        """The table of an exchange however it was written. Raises ExchangeNotFound, and ServiceUnavailable while its
        list is not known."""
        name = exchange_id(exchange)
        if (table := self._tables.get(name)) is not None:
            return table
        if name in self.exchanges or not self.exchanges:
            raise ServiceUnavailable("The exchange's market list is not known yet: try again in a moment.")
        raise exchange_not_found(self.exchanges)

    def everywhere(self, text: str) -> list[Resolution]:
        """The instruments that `text` names on all exchanges, by exchange. Where only some spell it so (`XBT/USD`), the
        others' of the one canonical symbol that it comes to there, unless it names its exchange.

        Raises SymbolNotFound when there is none, ValidationFailed, ServiceUnavailable while no list is known.
        """
        if not self._tables:
            raise ServiceUnavailable("The market lists are not known yet: try again in a moment.")
        tables = [table for _, table in sorted(self._tables.items())]
        found, suggestions = _find_in(tables, text)
        symbols = {here.instrument.symbol for here in found.values() if here.quote_alias is None}
        if len(symbols) == 1 and split_tradingview(text)[0] is None:
            found |= _find_in([table for table in tables if table.exchange not in found], *symbols)[0]
        if found:
            return [found[exchange] for exchange in sorted(found)]
        for table in tables:
            if len(suggestions) >= SUGGESTIONS:
                break
            suggestions |= dict.fromkeys(table.suggest(text))
        raise SymbolNotFound(f"No exchange has a symbol {text}.", {"suggestions": list(suggestions)[:SUGGESTIONS]})


def _find_in(tables: Iterable[SymbolTable], text: str) -> tuple[dict[str, Resolution], dict[str, None]]:
    """What `text` names, by exchange, and the names to choose from where it is ambiguous."""
    found: dict[str, Resolution] = {}
    names: dict[str, None] = {}
    for table in tables:
        try:
            if (here := table.find(text)) is not None:
                found[table.exchange] = here
        except SymbolNotFound as error:
            names |= dict.fromkeys(error.details["suggestions"])
    return found, names


def _fold(text: str) -> str:
    return text.strip().upper()


def _preferred(found: Mapping[Instrument, int]) -> list[Instrument]:
    """Who has the best claim to a spelling that all of `found` share; several when none is better."""

    def claim(instrument: Instrument) -> tuple[bool, bool, int]:
        rank = found[instrument]
        return (rank > 0, instrument.kind is not Kind.SPOT, rank)

    best = min(map(claim, found), default=None)
    return [instrument for instrument in found if claim(instrument) == best]


def _spellings(instrument: Instrument) -> tuple[list[str], list[str], list[str]]:
    """Canonical, the exchange's own, and those made of base and quote."""
    base, quote = instrument.base, instrument.quote
    own = [instrument.exchange_symbol, instrument.stream_spelling, *instrument.aliases]
    if instrument.kind is Kind.PERPETUAL:
        made = [f"{base}/{quote}:{quote}", f"{instrument.exchange_symbol}.P", f"{base}{quote}.P"]
    else:
        made = [f"{base}/{quote}", f"{base}{quote}"]
    return [instrument.symbol], own, made
