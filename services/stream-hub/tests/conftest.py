"""A platform in memory with a real port, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib import import_module

import pytest

harness = import_module("services.stream-hub.tests.harness")


@pytest.fixture
async def platform() -> AsyncIterator[harness.Platform]:
    async with harness.platform() as running:
        yield running
