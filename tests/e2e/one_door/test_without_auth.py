"""What the platform still does while auth is away. Last in its folder: nothing else there kills what others use."""

from __future__ import annotations

import pytest

from tests.e2e.door import ADMIN_PASSWORD, Door, assert_refused
from tests.e2e.stack import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package")]


async def test_without_auth_tokens_go_on_and_logins_are_503(door: Door) -> None:
    _, login = await door.new_user()
    token = login["access_token"]
    assert (await door.ask("GET", "/api/v1/ohlcv/binance/btcusdt", token=token)).status == 200
    await door.auth.kill()
    try:
        assert (await door.ask("GET", "/api/v1/ohlcv/binance/btcusdt", token=token)).status == 200
        answer = await door.ask("POST", "/login", json={"username": "admin", "password": ADMIN_PASSWORD})
        assert_refused(answer, 503, "SERVICE_UNAVAILABLE")
    finally:
        await door.auth.start()

    async def lets_in() -> bool:
        return (await door.ask("POST", "/login", json={"username": "admin", "password": ADMIN_PASSWORD})).status == 200

    await until(lets_in, describe=lambda: "auth is back, and nobody can log in")
