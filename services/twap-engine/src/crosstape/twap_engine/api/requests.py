"""The body of POST /orders/twap: strict JSON to checked requests, every number as exact as it was written."""

from __future__ import annotations

import json
import re
import uuid
from decimal import Decimal

import msgspec
from msgspec import Struct

from crosstape.common.errors import LONGEST_ECHO, ValidationFailed
from crosstape.common.market.decimals import INTEGER_DIGITS, SCALE, decimal_text, is_positive_decimal, plain_text
from crosstape.common.symbols import LONGEST
from crosstape.common.web.bodies import check_names
from crosstape.twap_engine.markets import Place
from crosstape.twap_engine.order import Side

MOST_ORDERS = 100
MOST_SLICES = 10_000
LONGEST_DURATION = 30 * 86_400
FAR_PERCENT = 20
"""How far from the market a limit price is remarkable."""
ORDER_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}", re.ASCII)
ORDER_ID_FORM = "1 to 64 letters, digits, '.', '_', ':' or '-', beginning with a letter or a digit"


class OrderRequest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One order as a user asks for it. `duration` and `interval` are whole seconds; no `exchange` means all."""

    order_id: str | None = None
    symbol: str
    side: Side
    total_quantity: Decimal
    limit_price: Decimal
    duration: int
    interval: int
    exchange: str | None = None

    @property
    def canonical(self) -> str:
        """One text for every way to write the same request: by it a repeat is told from another order."""
        numbers = [decimal_text(self.total_quantity), decimal_text(self.limit_price), self.duration, self.interval]
        return json.dumps([self.symbol, self.side.value, *numbers, self.exchange or ""])


class _Written(Struct, frozen=True):
    """The numbers as they stand in the body: of a text msgspec takes whatever Python's Decimal does (`1_0` is ten)."""

    total_quantity: msgspec.Raw
    limit_price: msgspec.Raw


_decoder = msgspec.json.Decoder(list[OrderRequest])
_one_decoder = msgspec.json.Decoder(OrderRequest)
_written_decoder = msgspec.json.Decoder(list[_Written])
_one_written_decoder = msgspec.json.Decoder(_Written)
_NUMBER = re.compile(rb'("?)-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?\1')


def read_requests(body: bytes) -> tuple[list[OrderRequest], bool]:
    """The orders of a body, each with an order_id, and whether they came as a list. Raises ValidationFailed."""
    is_list = body.lstrip()[:1] == b"["
    try:
        requests = _decoder.decode(body) if is_list else [_one_decoder.decode(body)]
        written = _written_decoder.decode(body) if is_list else [_one_written_decoder.decode(body)]
        check_names(body)
    except msgspec.ValidationError as error:
        raise ValidationFailed(f"Invalid order: {_readable(str(error))}") from error
    except (ValueError, RecursionError) as error:  # msgspec.DecodeError is a ValueError
        raise ValidationFailed("The body must be one order as a JSON object, or a list of them.") from error
    if not 1 <= len(requests) <= MOST_ORDERS:
        raise ValidationFailed(f"A list has 1 to {MOST_ORDERS} orders.", {"max_orders": MOST_ORDERS})
    named = [
        request if request.order_id is not None else msgspec.structs.replace(request, order_id=_new_id())
        for request in requests
    ]
    for place, request in enumerate(named):
        _check(request, written[place], f"orders[{place}]." if is_list else "")
    names = [request.order_id for request in named]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValidationFailed(f"order_id {twice} comes twice in the list.", {"order_id": twice})
    return named, is_list


def _new_id() -> str:
    return f"twap_{uuid.uuid4().hex}"


def _check(request: OrderRequest, written: _Written, where: str) -> None:
    if not ORDER_ID.fullmatch(request.order_id or ""):
        raise _invalid(f"{where}order_id", f"must be {ORDER_ID_FORM}")
    if len(request.exchange or "") > LONGEST:
        raise _invalid(f"{where}exchange", f"must be at most {LONGEST} characters")
    for name in ("total_quantity", "limit_price"):
        is_number = _NUMBER.fullmatch(getattr(written, name)) is not None
        if not (is_number and is_positive_decimal(plain_text(getattr(request, name)))):
            raise _invalid(
                f"{where}{name}",
                f"must be a positive number with at most {INTEGER_DIGITS} digits before and {SCALE} after the point",
            )
    if not 1 <= request.duration <= LONGEST_DURATION:
        raise _invalid(f"{where}duration", f"must be 1 to {LONGEST_DURATION} seconds")
    if request.interval < 1:
        raise _invalid(f"{where}interval", "must be at least 1 second")
    if request.duration < request.interval:
        raise _invalid(f"{where}duration", "must not be shorter than interval")
    if (slices := request.duration // request.interval + 1) > MOST_SLICES:
        raise _invalid(f"{where}interval", f"makes {slices} slices of the duration: at most {MOST_SLICES} are allowed")


def _invalid(parameter: str, problem: str) -> ValidationFailed:
    return ValidationFailed(f"{parameter} {problem}.", {"parameter": parameter})


def _readable(problem: str) -> str:
    said = problem.replace("`decimal`", "`number`").replace("Invalid enum value", f"Expected {' or '.join(Side)}, got")
    return said[:LONGEST_ECHO]


def warn(request: OrderRequest, place: Place, mid: Decimal | None) -> list[str]:
    """What is probably not meant, though it is allowed. `mid` is the market's mid price, None when there is no book."""
    warnings = [
        f"The market list of {exchange} is not known at the moment: nothing is filled there."
        for exchange in place.unknown
    ]
    if request.total_quantity < place.lot:
        warnings.append(
            f"total_quantity is below the lot size {decimal_text(place.lot)}: all of it is left to the last slice."
        )
    if mid is None:
        warnings.append("No live book of this symbol at the moment: nothing is filled until there is one.")
    else:
        distance = (request.limit_price - mid) / mid * 100 * request.side.sign
        if distance > FAR_PERCENT:
            warnings.append(
                f"limit_price is {distance:.1f} % worse than the market's {_short(mid)}: it protects little."
            )
        elif distance < -FAR_PERCENT:
            warnings.append(
                f"limit_price is {-distance:.1f} % better than the market's {_short(mid)}: it may never be reached."
            )
    return warnings


def _short(price: Decimal) -> str:
    return decimal_text(price)[:24]
