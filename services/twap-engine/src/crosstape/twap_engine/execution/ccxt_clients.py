"""Real exchanges through ccxt: one spot order placed, and found again by the id that we gave it.

ccxt's errors carry addresses, signatures and keys: nothing of them is logged or told but their type.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from crosstape.common.errors import ExchangeError, ValidationFailed
from crosstape.common.market.decimals import SCALE, decimal_text
from crosstape.common.market.instrument import Kind, split_symbol
from crosstape.twap_engine.order import Market, Side
from crosstape.twap_engine.schedule import EXACT
from crosstape.twap_engine.settings import TwapSettings

Answer = TypeVar("Answer")

PLACING_SECONDS = 5.0
"""Later than this nothing goes out any more, whatever ccxt's own rate limit or a connection held it up."""
PROVEN = ("binance", "okx")
"""Where an order whose answer was lost is found again by our own id. Through ccxt 4.5 (2026-11) Kraken and Bybit do not
ask for it, and Coinbase takes UUIDs alone: what became of a slice would never be known there."""
_SPOT_ALONE = {"fetchMarkets": {"types": ["spot"]}, "fetchMargins": False}
"""ccxt's options for its market lists: it asks for all kinds together, and has none when one does not answer. Binance's
futures are blocked in many countries, and its margin lists need a right that a key may lack."""
_FINAL = {"closed", "canceled", "expired", "rejected"}
_DECIMAL_PLACES = 2
"""ccxt's `precisionMode` that counts digits; the others that are in use name the step itself."""


class OrderUnknown(ExchangeError):
    """The exchange has no order of this id."""


class OrderRefused(ExchangeError):
    """The exchange, or ccxt before it, does not take the order: nothing of it will ever be executed."""


_REFUSALS = (
    "AuthenticationError",
    "ArgumentsRequired",
    "BadRequest",
    "OperationRejected",
    "InsufficientFunds",
    "InvalidOrder",
    "NotSupported",
)
"""ccxt's errors, each with those under it, that are an exchange's no; but a DuplicateOrderId is there already. Others
may also mean that the exchange took the order."""


class Executed(Struct, frozen=True):
    """What an order at an exchange came to. `cost` is what was paid or got in quote, `average` that by the quantity,
    rounded where it must be; `fee` is what it charged in quote (what it took in other coins is not known here)."""

    is_final: bool
    filled: Decimal
    average: Decimal
    cost: Decimal
    fee: Decimal


def open_clients(settings: TwapSettings) -> dict[str, CcxtClient]:
    """A client of each exchange that there are credentials for, in its sandbox unless that was switched off.

    Raises ValidationFailed for credentials that are no JSON of that form, and for an exchange that is not PROVEN or has
    no sandbox.
    """
    try:
        credentials = msgspec.json.decode(
            settings.ccxt_credentials.get_secret_value() or "{}", type=dict[str, dict[str, str | bool]]
        )
    except msgspec.MsgspecError:
        raise ValidationFailed("CROSSTAPE_CCXT_CREDENTIALS must be a JSON object by exchange.") from None
    return {exchange: _open(exchange, keys, settings.ccxt_sandbox) for exchange, keys in credentials.items()}


def _open(exchange: str, keys: dict[str, str | bool], is_sandbox: bool) -> CcxtClient:
    if exchange not in PROVEN:
        raise ValidationFailed(
            f"CROSSTAPE_CCXT_CREDENTIALS: a lost order could not be found again at {exchange[:40]}. Leave it out: "
            f"orders go to {' and '.join(PROVEN)} alone."
        )
    plain = importlib.import_module("ccxt.async_support")
    client = getattr(plain, exchange)({"enableRateLimit": True, "options": _SPOT_ALONE, **keys})
    if is_sandbox:
        try:
            client.set_sandbox_mode(True)
        except Exception as error:  # noqa: BLE001 - ccxt has no narrower word for it
            raise ValidationFailed(f"{exchange} has no sandbox ({type(error).__name__}).") from None
    return CcxtClient(exchange, client)


class CcxtClient:
    """One exchange. `close` it at the end. Every method raises ExchangeError."""

    def __init__(self, exchange: str, client: Any):
        self.exchange = exchange
        self._client = client
        client.number = str

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def place(
        self, symbol: str, side: Side, quantity: Decimal, limit_price: Decimal, client_order_id: str
    ) -> Decimal:
        """Place a limit order that takes what is there at once and leaves nothing behind. `quantity` is in base.
        Returns the fee in quote, as far as the exchange told it at once.

        Raises OrderRefused too; after any other ExchangeError the order may be at the exchange, or come there yet.
        """
        unified, quote = self._market(symbol)["symbol"], split_symbol(symbol)[1]
        order = self._client.create_order(
            unified,
            "limit",
            side.value,
            decimal_text(quantity),
            decimal_text(limit_price),
            {"clientOrderId": client_order_id, "timeInForce": "IOC"},
        )
        try:
            async with asyncio.timeout(PLACING_SECONDS):
                return await self._call(order, lambda answer: _fee(answer, quote))
        except TimeoutError:
            raise ExchangeError(f"{self.exchange} did not answer in time.") from None

    async def find(self, symbol: str, client_order_id: str) -> Executed:
        """What became of an order. Raises OrderUnknown too."""
        unified, quote = _unified(symbol), split_symbol(symbol)[1]
        asked = self._client.fetch_order(None, unified, {"clientOrderId": client_order_id})
        return await self._call(asked, lambda answer: _executed(answer, quote))

    @property
    def is_ready(self) -> bool:
        """Whether we have the exchange's market list, which `rounded` needs."""
        return bool(self._client.markets)

    async def load(self) -> None:
        """Read the market list anew. When that fails, or names no market, the one of before stays."""
        markets = await self._call(self._client.fetch_markets(), list)
        if not markets:
            raise ExchangeError(f"{self.exchange} told no market.")
        self._client.set_markets(markets)

    def may_trade(self, market: Market) -> bool:
        """Whether orders can go there: what a market list that we do not have yet would say is left open."""
        if market.exchange != self.exchange or split_symbol(market.symbol)[2] is not Kind.SPOT:
            return False
        if not self.is_ready:
            return True
        try:
            self._steps(market.symbol)
        except OrderRefused:
            return False
        return True

    def rounded(self, symbol: str, side: Side, quantity: Decimal, limit_price: Decimal) -> tuple[Decimal, Decimal]:
        """Quantity (base) and limit price as the exchange takes them: never more, never beyond the limit. Raises
        OrderRefused for what is no spot market of its list."""
        lot, tick = self._steps(symbol)
        rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
        with localcontext(EXACT):
            return quantity // lot * lot, (limit_price / tick).to_integral_value(rounding) * tick

    def _market(self, symbol: str) -> dict[str, Any]:
        """The spot market of this name in ccxt's list: what ccxt calls an amount is base there, and contracts in all
        others. Raises OrderRefused."""
        unified = _unified(symbol)
        market: dict[str, Any] | None = (self._client.markets or {}).get(unified)
        if market is None or not market.get("spot") or market.get("contract") or market.get("symbol") != unified:
            raise OrderRefused(f"{self.exchange} has no spot market {symbol} here.")
        return market

    def _steps(self, symbol: str) -> tuple[Decimal, Decimal]:
        """The steps of quantity and price. Raises OrderRefused."""
        precision = self._market(symbol).get("precision") or {}
        try:
            lot, tick = self._step(precision.get("amount")), self._step(precision.get("price"))
        except (ArithmeticError, TypeError, ValueError):
            lot = tick = Decimal()
        if not (lot > 0 and tick > 0):
            raise OrderRefused(f"{self.exchange} does not tell in which steps {symbol} is traded.")
        return lot, tick

    def _step(self, precision: Any) -> Decimal:
        if self._client.precisionMode == _DECIMAL_PLACES:
            return Decimal(1).scaleb(-int(precision))
        return Decimal(str(precision))

    async def _call(self, call: Awaitable[Any], read: Callable[[Any], Answer]) -> Answer:
        """What `read` makes of ccxt's answer. Whatever ccxt or `read` stumbles over is an ExchangeError."""
        errors = importlib.import_module("ccxt.base.errors")
        try:
            return read(await call)
        except ExchangeError:
            raise
        except errors.OrderNotFound:
            raise OrderUnknown(f"{self.exchange} knows no such order.") from None
        except Exception as error:  # noqa: BLE001 - an odd answer of one exchange must not end the others' orders
            is_refusal = isinstance(error, tuple(getattr(errors, name) for name in _REFUSALS))
            kind = OrderRefused if is_refusal and not isinstance(error, errors.DuplicateOrderId) else ExchangeError
            raise kind(f"{self.exchange} answered with an error ({type(error).__name__}).") from None


def _executed(answer: Mapping[str, Any], quote: str) -> Executed:
    """What became of an order, of ccxt's words for it. Raises ExchangeError for a quantity that has no price yet."""
    filled, cost, average = (Decimal(str(answer.get(name) or 0)) for name in ("filled", "cost", "average"))
    with localcontext(EXACT):
        cost = cost or average * filled
        if filled and not cost:
            raise ExchangeError("What an order was filled at is not told yet.")
        average = average or (round(cost / filled, SCALE) if filled else Decimal())
    return Executed(answer["status"] in _FINAL, filled, average, cost, _fee(answer, quote))


def _fee(answer: Mapping[str, Any] | None, quote: str) -> Decimal:
    """What was charged in quote. ccxt tells one fee twice, as `fee` and in `fees`."""
    told = answer or {}
    fees = told.get("fees") or ([told["fee"]] if told.get("fee") else [])
    in_quote = [Decimal(str(one["cost"])) for one in fees if one.get("currency") == quote and one.get("cost")]
    with localcontext(EXACT):
        return sum(in_quote, Decimal())


def _unified(symbol: str) -> str:
    """ccxt's spelling: `BTC-USDT` is BTC/USDT, `BTC-USDT.P` BTC/USDT:USDT."""
    base, quote, kind = split_symbol(symbol)
    return f"{base}/{quote}" if kind is Kind.SPOT else f"{base}/{quote}:{quote}"
