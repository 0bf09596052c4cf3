"""Simulators for the tests."""

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.testing import SMALL, Client, client_of

QUICKER = 5


@pytest.fixture(scope="module")
def quicker_time() -> Iterator[None]:
    """Market time passes five times as fast in a module whose tests are not of pace: trades and heartbeats come sooner.

    What is told stays whole: the time of a trade, a frame's pace and the answer to "what time is it" are of one clock.
    """
    began = time.time_ns()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ExchangeClock, "now_ns", lambda clock: began + QUICKER * (time.time_ns() - began))
        yield


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with client_of(SMALL) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standing() -> AsyncIterator[Client]:
    """One simulator for the tests of a module that only read."""
    async with client_of(SMALL) as one:
        yield one


@pytest.fixture
def recordings() -> Path:
    folder = Path(__file__).parents[4] / "shared" / "recordings"
    if not folder.is_dir():
        pytest.skip(f"no recordings at {folder}")
    return folder
