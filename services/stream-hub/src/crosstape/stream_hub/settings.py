"""What the hub reads from `CROSSTAPE_*` variables."""

from __future__ import annotations

from pydantic import Field

from crosstape.common.redis_url import RedisUrl
from crosstape.common.runtime.settings import BusUserSettings, InternalSettings, Origin, PageOrigins


class HubSettings(InternalSettings, BusUserSettings):
    """Where the others are, and how much one client may take."""

    stream_port: int = Field(0, ge=0, le=65_535, description="port of the WebSockets; 0 takes a free one")
    history_url: Origin = Field("http://127.0.0.1:8101", description="origin of the history service")
    auth_url: Origin = Field("http://127.0.0.1:8102", description="origin of the auth service")
    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", description="`redis://` URL of the revocations' fast copy")
    anonymous_read: bool = Field(True, description="whether market data is open to callers without a credential")
    cors_origins: PageOrigins = Field([], description="browser origins whose pages may open WebSockets, `*` for all")

    ring_trades: int = Field(10_000, ge=1, description="trades of one market kept for clients that come back")
    ring_seconds: float = Field(300.0, gt=0, description="how long they are kept; so much is read again after a start")
    ready_seconds: float = Field(30.0, gt=0, description="how long a start may wait for history and market lists")

    sockets: int = Field(20_000, ge=1, description="most WebSockets at once")
    hub_sockets_per_address: int = Field(
        200, ge=1, description="most WebSockets of an address (IPv6: a /64) at the hub's own door"
    )
    sockets_per_account: int = Field(50, ge=1, description="most WebSockets of one account")
    backlog_bytes: int = Field(
        1024 * 1024, ge=64 * 1024, description="what may wait for one socket before it is closed as too slow"
    )
    drain_seconds: float = Field(4.0, ge=0, description="over how long sockets are closed when the hub stops")
