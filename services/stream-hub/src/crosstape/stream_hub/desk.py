"""The desk: what every session works with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from crosstape.stream_hub.book_feed import Target
from crosstape.stream_hub.channels import Channels
from crosstape.stream_hub.directory import EVERY, Directory, Listed, common_symbol
from crosstape.stream_hub.founding import Founder
from crosstape.stream_hub.history import History
from crosstape.stream_hub.hub import Hub
from crosstape.stream_hub.limits import Places

MOST_CHANNELS = 128
MOST_REPLAYS = 64
"""Replays of one process at once: each holds a page of history, some megabytes."""
MOST_REPLAYS_PER_USER = 4
"""Of one account: a replay may take days."""


class Found(Struct, frozen=True):
    """What an exchange and a symbol name: the canonical symbol, and the market it is, or on `*` those it is."""

    exchange: str
    symbol: str
    listed: Sequence[Listed]

    @property
    def is_consolidated(self) -> bool:
        return self.exchange == EVERY

    @property
    def aliases(self) -> Mapping[str, Any]:
        """What an answer says of quotes that stand in for the one asked for."""
        if self.is_consolidated:
            aliases = {one.exchange: one.quote_alias for one in self.listed if one.quote_alias}
            return {"quote_aliases": aliases} if aliases else {}
        alias = self.listed[0].quote_alias
        return {"quote_alias": alias} if alias else {}


class Desk(Struct, frozen=True):
    """`hub` has the state, `directory` the spellings, `founder` and `history` what was before, `channels` what
    subscribers share, `knows_revoked` whether it is known now who has been shut out, `replays` a place for each replay.
    """

    hub: Hub
    directory: Directory
    founder: Founder
    history: History
    channels: Channels
    knows_revoked: Callable[[], bool]
    replays: Places = field(default_factory=lambda: Places(MOST_REPLAYS, MOST_REPLAYS_PER_USER))

    def find(self, exchange: str, symbol: str) -> Found:
        """The market that a client names, or with `*` those of all exchanges. Raises what `Directory` raises."""
        if exchange != EVERY:
            return self.find_one(exchange, symbol)
        listed = self.directory.resolve_everywhere(symbol)
        return Found(EVERY, common_symbol(symbol, listed), listed)

    def find_one(self, exchange: str, symbol: str) -> Found:
        """The market that a client names where only one can be meant: `*` is no exchange here. Raises what
        `Directory.resolve` raises."""
        listed = self.directory.resolve(exchange, symbol)
        return Found(listed.exchange, listed.symbol, [listed])

    def targets(self, found: Found) -> list[Target]:
        """The markets to show."""
        return [Target(self.hub.market(one.exchange, one.symbol), one.quote_alias) for one in found.listed]
