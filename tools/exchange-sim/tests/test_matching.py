"""Random histories of orders: priority, conservation, and a book that is never crossed."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from crosstape.exchange_sim.matching import MatchingEngine, Side

SIDES = st.sampled_from(["buy", "sell"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("limit"), SIDES, st.integers(90, 110), st.integers(1, 50)),
        st.tuples(st.just("market"), SIDES, st.integers(1, 80)),
        st.tuples(st.just("cancel"), st.integers(1, 60)),
    ),
    max_size=80,
)


def resting(engine: MatchingEngine) -> int:
    return sum(order.quantity for order in engine.orders.values())


def apply(engine: MatchingEngine, operation: tuple[Any, ...]) -> tuple[list[Any], int]:
    """Fills, and the quantity that entered (limit) or left (cancel) the market by this order alone."""
    name, *arguments = operation
    if name == "limit":
        return engine.limit(*arguments)[1], arguments[2]
    if name == "market":
        return engine.market(*arguments), 0
    order = engine.orders.get(arguments[0])
    quantity = order.quantity if order else 0
    engine.cancel(arguments[0])
    return [], -quantity


@settings(max_examples=80, deadline=None)
@given(OPERATIONS)
def test_book_is_never_crossed_and_levels_are_the_sum_of_their_orders(operations: Any) -> None:
    engine = MatchingEngine()
    for operation in operations:
        apply(engine, operation)
        bid, ask = engine.bids.best, engine.asks.best
        assert bid is None or ask is None or bid < ask
        for side in (engine.bids, engine.asks):
            assert side.prices == sorted(side.levels)
            assert side.order_count == sum(len(level.orders) for level in side.levels.values())
            for level in side.levels.values():
                assert level.quantity == sum(order.quantity for order in level.orders.values()) > 0


@settings(max_examples=80, deadline=None)
@given(OPERATIONS)
def test_quantities_are_conserved(operations: Any) -> None:
    engine = MatchingEngine()
    for operation in operations:
        before = resting(engine)
        fills, entered = apply(engine, operation)
        traded = sum(fill.quantity for fill in fills)
        taken_from_own_order = traded if operation[0] == "limit" else 0
        assert resting(engine) == before + entered - traded - taken_from_own_order


@settings(max_examples=80, deadline=None)
@given(OPERATIONS)
def test_makers_trade_in_price_then_time_priority(operations: Any) -> None:
    engine = MatchingEngine()
    for operation in operations:
        queue = {side: expected_queue(engine, side) for side in ("buy", "sell")}
        fills, _ = apply(engine, operation)
        if fills:
            opposite = queue["sell" if fills[0].taker_side == "buy" else "buy"]
            assert [fill.maker_order_id for fill in fills] == opposite[: len(fills)]


def expected_queue(engine: MatchingEngine, side: Side) -> list[int]:
    sign = -1 if side == "buy" else 1
    orders = [order for order in engine.orders.values() if order.side == side]
    return [order.order_id for order in sorted(orders, key=lambda one: (sign * one.price, one.order_id))]


@settings(max_examples=80, deadline=None)
@given(OPERATIONS)
def test_changed_levels_and_update_ids_tell_every_change(operations: Any) -> None:
    engine = MatchingEngine()
    known: dict[tuple[str, int], int] = {}
    last_update = 0
    for operation in operations:
        fills, _ = apply(engine, operation)
        changed = engine.take_changed()
        for side, price in changed:
            known[side, price] = engine.side(side).quantity_at(price)
        book = {(side.side, price): quantity for side in (engine.bids, engine.asks)
                for price, quantity in side.top(100)}  # fmt: skip
        assert {key: quantity for key, quantity in known.items() if quantity} == book
        assert engine.update_id - last_update >= len(fills)
        assert [fill.update_id for fill in fills] == sorted({fill.update_id for fill in fills})
        last_update = engine.update_id
