"""Real exchanges through ccxt: one order placed, and found again by the id that we gave it.

ccxt's errors carry addresses, signatures and keys: nothing of them is logged or told but their type.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from crosstape.common.errors import ExchangeError, ValidationFailed
from crosstape.common.market.decimals import decimal_text
from crosstape.twap_engine.order import Side
from crosstape.twap_engine.settings import TwapSettings

Answer = TypeVar("Answer")

PLACING_SECONDS = 5.0
"""Later than this nothing goes out any more, whatever ccxt's own rate limit or a connection held it up."""
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
"""ccxt's errors, each with those under it, that are an exchange's no; but a DuplicateOrderId is there already. ccxt has
the others, ExchangeError among them, also for an exchange that does not know itself what it did."""


class Executed(Struct, frozen=True):
    """What an order at an exchange came to. `fee` is what it charged in quote (what it took in other coins is not
    known here)."""

    is_final: bool
    filled: Decimal
    average: Decimal
    fee: Decimal


def open_clients(settings: TwapSettings) -> dict[str, CcxtClient]:
    """A client of each exchange that there are credentials for, in its sandbox unless that was switched off.

    Raises ValidationFailed for credentials that are no JSON of that form, or an exchange without a sandbox.
    """
    try:
        credentials = msgspec.json.decode(
            settings.ccxt_credentials.get_secret_value() or "{}", type=dict[str, dict[str, str | bool]]
        )
    except msgspec.MsgspecError:
        raise ValidationFailed("CROSSTAPE_CCXT_CREDENTIALS must be a JSON object by exchange.") from None
    return {exchange: _open(exchange, keys, settings.ccxt_sandbox) for exchange, keys in credentials.items()}


def _open(exchange: str, keys: dict[str, str | bool], is_sandbox: bool) -> CcxtClient:
    plain = importlib.import_module("ccxt.async_support")
    name = {"coinbasepro": "coinbaseexchange"}.get(exchange, exchange)
    if name not in plain.exchanges:
        raise ValidationFailed(f"CROSSTAPE_CCXT_CREDENTIALS: ccxt has no exchange {exchange[:40]}.")
    client = getattr(plain, name)({"enableRateLimit": True, **keys})
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
    ) -> None:
        """Place a limit order that takes what is there at once and leaves nothing behind.

        Raises OrderRefused too; after any other ExchangeError the order may be at the exchange, or come there yet.
        """
        unified = _unified(symbol)
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
                await self._call(order)
        except TimeoutError:
            raise ExchangeError(f"{self.exchange} did not answer in time.") from None

    async def find(self, symbol: str, client_order_id: str) -> Executed:
        """What became of an order. Raises OrderUnknown too."""
        answer: dict[str, Any] = await self._call(
            self._client.fetch_order(None, _unified(symbol), {"clientOrderId": client_order_id})
        )
        quote = _unified(symbol).partition("/")[2].partition(":")[0]
        fees = [*(answer.get("fees") or []), *([answer["fee"]] if answer.get("fee") else [])][:1]
        return Executed(
            is_final=answer["status"] in _FINAL,
            filled=Decimal(str(answer["filled"] or 0)),
            average=Decimal(str(answer["average"] or 0)),
            fee=sum((Decimal(str(f["cost"])) for f in fees if f.get("currency") == quote and f.get("cost")), Decimal()),
        )

    @property
    def is_ready(self) -> bool:
        """Whether we have the exchange's market list, which `rounded` needs."""
        return bool(self._client.markets)

    async def prepare(self) -> None:
        """Have the market list."""
        if not self.is_ready:
            await self._call(self._client.load_markets())

    def rounded(self, symbol: str, side: Side, quantity: Decimal, limit_price: Decimal) -> tuple[Decimal, Decimal]:
        """Quantity and limit price as the exchange takes them: never more, never beyond the limit."""
        precision = self._client.market(_unified(symbol))["precision"]
        lot, tick = self._step(precision["amount"]), self._step(precision["price"])
        rounding = ROUND_FLOOR if side is Side.BUY else ROUND_CEILING
        return quantity // lot * lot, (limit_price / tick).to_integral_value(rounding) * tick

    def _step(self, precision: Any) -> Decimal:
        if self._client.precisionMode == _DECIMAL_PLACES:
            return Decimal(1).scaleb(-int(precision))
        return Decimal(str(precision))

    async def _call(self, call: Awaitable[Answer]) -> Answer:
        errors = importlib.import_module("ccxt.base.errors")
        try:
            return await call
        except errors.OrderNotFound:
            raise OrderUnknown(f"{self.exchange} knows no such order.") from None
        except errors.BaseError as error:
            is_refusal = isinstance(error, tuple(getattr(errors, name) for name in _REFUSALS))
            kind = OrderRefused if is_refusal and not isinstance(error, errors.DuplicateOrderId) else ExchangeError
            raise kind(f"{self.exchange} answered with an error ({type(error).__name__}).") from None


def _unified(symbol: str) -> str:
    """ccxt's spelling: `BTC-USDT` is BTC/USDT, `BTC-USDT.P` BTC/USDT:USDT."""
    name, perpetual, _ = symbol.partition(".P")
    base, _, quote = name.rpartition("-")
    return f"{base}/{quote}:{quote}" if perpetual else f"{base}/{quote}"
