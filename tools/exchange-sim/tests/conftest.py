"""Simulators for the tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from crosstape.exchange_sim.testing import SMALL, Client, client_of


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
