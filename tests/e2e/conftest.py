"""The whole platform, once for each file that asks for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.door import Door
from tests.engines.plugin import Broker, Valkey


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(
    platform_broker: Broker, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Door]:
    async with Door(platform_broker, valkey, tmp_path_factory.mktemp("door")) as door:
        yield door
