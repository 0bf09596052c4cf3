"""What an exchange through ccxt missed: what is fetched, what is given up by name, and that no market waits for it."""

from __future__ import annotations

import time
from typing import Any

import pytest
import structlog

from crosstape.common.market.ledger import Gap, GapState
from crosstape.common.market.trade import Source
from crosstape.exchanges import ccxt_generic
from crosstape.ingestor import generic, outages, repair
from crosstape.ingestor.outages import Outage
from services.ingestor.tests.generic_harness import SECOND, ArgumentsRequired, Client, following, heard, raw, until


@pytest.fixture(autouse=True)
def current_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outages, "HISTORY_LAG", 0)
    monkeypatch.setattr(repair, "REORDER_SECONDS", 0)


async def test_a_trade_that_was_under_way_when_the_socket_broke_is_published_once() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    async with following(client) as (feed, bus):
        await heard(client, bus, 5)
        connected = feed.market.connected_since
        await heard(client, bus, 6)
        received = feed.market.last_trade_received
        await client.stream.put(ConnectionError("closed"))
        await heard(client, bus, 8)
        await until(lambda: bus.ended)
    assert sorted(number for number, _ in bus.published if number > 6) == [7, 8]
    assert (7, Source.HISTORY) in bus.published
    ((state, start, _, _),) = bus.ended
    assert (state, start) == (GapState.REPAIRED, received)
    assert connected is not None and bus.vouches_for(connected, received)


async def test_what_came_before_the_first_connection_that_held_is_made_up_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generic, "backoff", lambda failures, chance: 0)
    client, began = Client(), time.time_ns()
    client.history = [raw(number, began + (number - 5) * SECOND) for number in range(7)]
    async with following(client) as (feed, bus):
        for _ in range(2):
            await client.stream.put(ConnectionError("refused"))
        await until(lambda: len(bus.told) == 2)
        first, longer = (event for event in bus.told if isinstance(event, Gap) and event.state is GapState.OPEN)
        assert (longer.start, longer.end > first.end) == (first.start, True), "the ledger tells it while it lasts"
        await heard(client, bus, 6)
        connected = feed.market.connected_since
        await until(lambda: bus.ended)
    assert 5 in bus.numbers
    ((state, start, end, _),) = bus.ended
    assert state is GapState.REPAIRED
    assert began <= start
    assert end == connected


async def test_what_the_history_no_longer_reaches_is_given_up_by_name() -> None:
    client, now = Client(reach=100), time.time_ns()
    start, end = now - 404 * SECOND, now - SECOND // 2
    client.history = [raw(number, now - (404 - number) * SECOND) for number in range(404)]
    oldest = client.history[-100]["timestamp"] * 1_000_000
    async with following(client) as (feed, bus):
        feed.repair.outage(Outage(start, end, "restart"))
        await until(lambda: bus.vouches_for(start, end))
    assert bus.ended == [(GapState.UNFILLABLE, start, oldest, 0), (GapState.REPAIRED, oldest, end, 100)]
    assert [number for number, _ in bus.published] == list(range(304, 404))


@pytest.mark.parametrize("refused", ["since", "all"])
async def test_a_request_that_is_refused_for_good_ends_the_repair_and_not_the_watching(refused: str) -> None:
    client, now = Client(reach=2), time.time_ns()
    client.history = [raw(number, now - (5 - number) * SECOND // 10) for number in range(5)]
    client.refuses = lambda since: ArgumentsRequired("until") if refused == "all" or since is not None else None
    async with following(client) as (feed, bus):
        start, end = now - 100 * SECOND, now
        feed.repair.outage(Outage(start, end, "restart"))
        await until(lambda: bus.vouches_for(start, end))
        ended = bus.ended
        await client.stream.put(ConnectionError("closed"))
        await heard(client, bus, 0)
    reached = end if refused == "all" else client.history[-2]["timestamp"] * 1_000_000
    assert ended[0] == (GapState.UNFILLABLE, start, reached, 0)
    assert len(ended) == (1 if refused == "all" else 2)


async def test_trades_are_watched_while_the_history_is_away_and_made_up_for_once_it_is_back() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    asked: list[int | None] = []

    def away(since: int | None) -> Exception:
        asked.append(since)
        return TimeoutError("no answer")

    client.refuses = away
    async with following(client) as (_, bus):
        await heard(client, bus, 5)
        await client.stream.put(ConnectionError("closed"))
        await heard(client, bus, 7)
        await until(lambda: asked)
        await heard(client, bus, 8)
        assert not bus.ended
        client.refuses = lambda since: None
        await until(lambda: bus.ended)
    assert (6, Source.HISTORY) in bus.published
    assert [state for state, *_ in bus.ended] == [GapState.REPAIRED]


async def test_a_history_that_calls_trades_by_other_names_than_the_socket_is_not_published_twice() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    async with following(client) as (_, bus):
        await heard(client, bus, 7)
        client.history = [raw(number + 1_000, now - (9 - number) * SECOND // 100) for number in range(9)]
        await client.stream.put(ConnectionError("closed"))
        with structlog.testing.capture_logs() as lines:
            await client.stream.put([raw(9, now)])
            await until(lambda: any(line["event"] == "repair_delayed" for line in lines))
    assert bus.ended == []
    assert {source for _, source in bus.published} == {Source.STREAM}


@pytest.mark.parametrize("is_told_by_the_socket", [True, False])
async def test_a_trade_that_no_tape_can_hold_is_given_up_by_name_and_stops_nothing(
    *, is_told_by_the_socket: bool
) -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now - (9 - number) * SECOND // 100) for number in range(9)]
    client.history[6]["price"] = "0"
    bad = client.history[6]["timestamp"] * 1_000_000
    async with following(client) as (feed, bus):
        await heard(client, bus, 5)
        if is_told_by_the_socket:
            await client.stream.put([client.history[6]])
            await heard(client, bus, 7)
            assert feed.market.connected_since is not None, "it interrupts no watching"
        else:
            await client.stream.put(ConnectionError("closed"))
            await heard(client, bus, 8)
            await until(lambda: any(state is GapState.REPAIRED for state, *_ in bus.ended))
            assert (7, Source.HISTORY) in bus.published
    assert bus.refused == [6]
    (told,) = [event for event in bus.told if isinstance(event, Gap) and event.cause == "malformed"]
    assert (told.state, told.start, told.end) == (GapState.UNFILLABLE, bad, bad + 1)


async def test_an_outage_that_keeps_failing_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair, "backoff", lambda failures, chance: 0)
    client, now = Client(reach=1), time.time_ns()
    client.history = [raw(1, now)]
    hopeless, curable = (
        Outage(now - 500 * SECOND, now - 400 * SECOND, "restart"),
        Outage(now - 9, now - 5, "disconnect"),
    )
    client.refuses = lambda since: (
        TimeoutError() if since is not None and since < (now - 450 * SECOND) // 10**6 else None
    )
    async with following(client) as (feed, bus):
        feed.repair.outage(hopeless)
        feed.repair.outage(curable)
        await until(lambda: bus.vouches_for(curable.start, curable.end))
        assert not bus.vouches_for(hopeless.start, hopeless.end)


async def test_what_an_exchange_stamps_by_a_clock_ahead_of_ours_is_made_up_for() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(number, now + (number - 5) * SECOND) for number in range(9)]
    async with following(client) as (feed, bus):
        feed.repair.outage(Outage(now - 3 * SECOND, now, "restart"))
        await until(lambda: bus.ended)
    assert bus.numbers == list(range(1, 9)), "those that came before it too, as clocks differ a little"


async def test_an_exchange_that_has_no_trade_of_the_last_hour_leaves_no_gap_of_a_short_absence() -> None:
    now = time.time_ns()
    async with following(Client()) as (feed, bus):
        feed.repair.outage(Outage(now - 10 * SECOND, now, "restart"))
        await until(lambda: bus.vouches_for(now - 10 * SECOND, now))
    assert bus.ended == [(GapState.REPAIRED, now - 10 * SECOND, now, 0)]


async def test_of_a_longer_absence_it_leaves_a_gap_of_what_was_before_that_hour() -> None:
    now, hour = time.time_ns(), 3_600 * SECOND
    async with following(Client()) as (feed, bus):
        feed.repair.outage(Outage(now - 2 * hour, now, "restart"))
        await until(lambda: bus.vouches_for(now - 2 * hour, now))
    (lost, lost_from, reached, _), (kept, kept_from, end, _) = bus.ended
    assert (lost, lost_from, kept, end) == (GapState.UNFILLABLE, now - 2 * hour, GapState.REPAIRED, now)
    assert now - hour <= reached == kept_from <= time.time_ns() - hour


async def test_an_exchange_that_has_no_trade_though_its_socket_just_told_one_is_asked_again() -> None:
    client, now = Client(), time.time_ns()
    client.history = [raw(1, now)]
    async with following(client) as (feed, bus):
        await heard(client, bus, 1)
        held, client.history = client.history, []
        feed.repair.outage(Outage(now - 10 * SECOND, now, "malformed"))
        with structlog.testing.capture_logs() as lines:
            await until(lambda: any(line["event"] == "repair_delayed" for line in lines))
        assert bus.ended == []
        client.history = held
        await until(lambda: bus.ended)


async def test_a_long_absence_is_made_up_for_in_pieces_of_which_none_is_fetched_again_after_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ccxt_generic, "MOST_TRADES", 300)
    monkeypatch.setattr(repair, "backoff", lambda failures, chance: 0)
    client, now = Client(), time.time_ns() // SECOND * SECOND
    client.history = [raw(number, now - (2_000 - number) * SECOND) for number in range(2_000)]
    asked: list[int] = []

    async def fetch_trades(symbol: str, since: int | None, limit: int) -> list[dict[str, Any]]:
        if since is None:
            return client.history[-100:]
        asked.append(since)
        if len(asked) == 8:
            raise TimeoutError
        return [trade for trade in client.history if trade["timestamp"] >= since][:100]

    monkeypatch.setattr(client, "fetch_trades", fetch_trades)
    start = now - 1_900 * SECOND
    async with following(client) as (feed, bus):
        feed.repair.outage(Outage(start, now, "restart"))
        await until(lambda: any(bus.vouches_for(begun, now) for _, begun, *_ in bus.ended))
    assert asked[8] > asked[0], "what is published stays so"
    pieces = [(begun, end) for state, begun, end, _ in bus.ended if state is GapState.REPAIRED]
    assert pieces[0][0] == start
    assert [end for _, end in pieces] == [*[begun for begun, _ in pieces[1:]], now]
    assert set(bus.numbers) >= set(range(100, 2_000))
