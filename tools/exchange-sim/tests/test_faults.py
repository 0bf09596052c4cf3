"""Faults happen by seed, reach the wire, are counted, and never touch the truth."""

import asyncio
import json
import time
from dataclasses import replace

import aiohttp
import pytest

from crosstape.exchange_sim.faults import (
    FRAME_FAULTS,
    Faults,
    UnknownFault,
    checked,
    frame_fault,
    parse_rates,
)
from crosstape.exchange_sim.testing import POLL_S, SMALL, client_of

QUICK = replace(SMALL, exchanges=("binance",))
TRADES = "/binance/spot.stream/ws/btcusdt@trade"


def test_the_same_seed_draws_the_same_faults() -> None:
    def drawn(seed: int) -> list[str | None]:
        faults = Faults(seed, {"skip": 0.2, "duplicate": 0.2})
        streams = [faults.connection("binance/spot.stream") for _ in range(2)]
        return [faults.frame_fault(stream) for stream in streams for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {"skip", "duplicate", None} == set(drawn(1))


def test_probabilities_lie_end_to_end() -> None:
    rates: dict[str, float] = dict.fromkeys(FRAME_FAULTS, 0.1)
    assert [frame_fault(rates, index / 10 + 0.05) for index in range(10)] == [*FRAME_FAULTS, None, None]


@pytest.mark.parametrize("text", ["nope=0.1", "drop=2", "drop", "drop=0.9,skip=0.9"])
def test_a_wrong_fault_is_refused(text: str) -> None:
    with pytest.raises(UnknownFault):
        parse_rates(text)
    assert checked({"clock_skew": -250}) == {"clock_skew": -250}


async def ids_of(config_faults: dict[str, float], count: int) -> tuple[list[int], dict[str, int], list[int]]:
    """Ids heard, faults counted, and the true ids from the first heard on."""
    async with client_of(replace(QUICK, faults=config_faults)) as client:
        async with client.socket(TRADES) as socket:
            heard = [(await socket.next())["t"] for _ in range(count)]
        truth = [int(one["trade_id"]) for one in await client.truth("binance", "BTCUSDT")]
        injected = (await client.get("/_truth/stats"))["faults"]
    return heard, injected, truth


async def test_skipped_frames_are_missing_and_counted() -> None:
    heard, injected, truth = await ids_of({"skip": 0.3}, 30)
    missing = heard[-1] - heard[0] + 1 - len(heard)
    assert 0 < missing <= injected["skip"]
    assert set(heard) < set(truth)


async def test_duplicates_repeat_and_reordered_neighbours_swap() -> None:
    heard, injected, truth = await ids_of({"duplicate": 1.0}, 20)
    assert heard[::2] == heard[1::2] and injected["duplicate"] >= 10
    heard, injected, truth = await ids_of({"reorder": 0.3}, 40)
    assert heard != sorted(heard) and injected["reorder"] > 0
    assert sorted(heard)[:-2] == [one for one in truth if one in heard][:-2]


@pytest.mark.parametrize("rate", [0.2, 1.0])
async def test_delayed_frames_all_arrive_in_order_and_late(rate: float) -> None:
    async with client_of(replace(QUICK, faults={"delay": rate})) as client:
        async with client.socket(TRADES) as socket:
            lags, heard = [], []
            while max(lags, default=0) < 300:
                trade = await socket.next()
                lags.append(time.time() * 1000 - trade["T"])
                heard.append(trade["t"])
        assert heard == list(range(heard[0], heard[0] + len(heard)))
        assert (await client.get("/_truth/stats"))["faults"]["delay"] > 0


async def test_a_dropped_connection_ends_and_a_stalled_one_stays_silent() -> None:
    async with client_of(replace(QUICK, faults={"drop": 1.0})) as client:
        async with client.socket(TRADES) as socket:
            message = await socket.raw.receive(timeout=5)
            assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
        await client.post("/_faults", {})
        url = client.address.replace("http", "ws") + TRADES
        async with client.http.ws_connect(url, autoping=False) as raw:
            await raw.ping()
            while (await raw.receive(timeout=5)).type is not aiohttp.WSMsgType.PONG:
                pass
        await client.post("/_faults", {"stall": 1.0})
        async with client.http.ws_connect(url, autoping=False) as raw:
            while "stall" not in (await client.get("/_truth/stats"))["faults"]:
                await asyncio.sleep(POLL_S)
            await raw.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 1})
            await raw.ping()
            with pytest.raises(TimeoutError):
                await raw.receive(timeout=0.3)
            assert not raw.closed


async def test_corrupt_frames_are_not_json_and_wrong_checksums_differ() -> None:
    async with client_of(replace(SMALL, exchanges=("binance", "kraken"), faults={"corrupt": 1.0})) as client:
        async with client.socket(TRADES) as socket:
            message = await socket.raw.receive(timeout=5)
            with pytest.raises(json.JSONDecodeError):
                json.loads(message.data)
        await client.post("/_faults", {"checksum": 1.0})
        async with client.socket("/binance/spot.stream/ws/btcusdt@depth@100ms") as socket:
            first, second = await socket.next(), await socket.next()
            assert second["U"] != first["u"] + 1
        assert (await client.get("/_truth/stats"))["faults"]["checksum"] >= 2


async def test_requests_are_refused_as_the_exchange_would() -> None:
    async with client_of(replace(QUICK, faults={"http429": 1.0})) as client:
        url = client.address + "/binance/spot.rest/api/v3/time"
        async with client.http.get(url) as response:
            assert response.status == 429 and response.headers["Retry-After"] == "1"
            assert (await response.json())["code"] == -1003
        await client.post("/_faults", {"http5xx": 1.0})
        async with client.http.get(url) as response:
            assert response.status == 503
        stats = await client.get("/_truth/stats")
        assert stats["faults"] == {"http429": 1, "http5xx": 1}


async def test_clock_skew_moves_what_is_told_and_not_the_truth() -> None:
    async with client_of(replace(QUICK, faults={"clock_skew": -60_000})) as client:
        async with client.socket(TRADES) as socket:
            trade = await socket.next()
        truth = {one["trade_id"]: one["time_ns"] for one in await client.truth("binance", "BTCUSDT")}
        assert trade["T"] + 60_000 == truth[str(trade["t"])] // 10**6


async def test_unknown_faults_are_refused_at_run_time() -> None:
    async with (
        client_of(QUICK) as client,
        client.http.post(client.address + "/_faults", json={"x": 1}) as response,
    ):
        assert response.status == 422
