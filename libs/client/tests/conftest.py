"""A scripted platform and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from crosstape.client import AsyncClient, retry
from libs.client.tests.scripted_platform import ScriptedPlatform


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are a hundredth of what they are; what they depend on has tests of its own."""
    monkeypatch.setattr(retry, "FIRST_SECONDS", 0.0025)


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[ScriptedPlatform]:
    """Stopped at the end."""
    scripted = ScriptedPlatform()
    await scripted.start()
    yield scripted
    await scripted.stop()


@pytest_asyncio.fixture
async def client(platform: ScriptedPlatform) -> AsyncIterator[AsyncClient]:
    """With an API key."""
    async with AsyncClient(platform.url, api_key="ctk_1_key") as opened:
        yield opened
