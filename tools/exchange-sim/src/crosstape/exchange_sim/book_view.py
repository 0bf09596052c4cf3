"""What the subscribers of one book channel know, and the changes that bring it up to date."""

from crosstape.exchange_sim.matching import BookSide, MatchingEngine, Side

Change = tuple[int, int]


class BookView:
    """A book cut to `depth` levels a side (None: all of them), as of the last `advance`.

    Exchanges differ in what they say of a level pushed out of the depth by better ones: bybit and okx delete
    it, kraken leaves it to the client to cut (`tells_pushed_out=False`).
    """

    def __init__(self, engine: MatchingEngine, depth: int | None, *, tells_pushed_out: bool = True) -> None:
        self.engine = engine
        self.depth = depth
        self.tells_pushed_out = tells_pushed_out
        self.update_id = engine.update_id
        self.bids = dict(engine.bids.top(self._depth(engine.bids)))
        self.asks = dict(engine.asks.top(self._depth(engine.asks)))
        self.changed: set[tuple[Side, int]] = set()

    def _depth(self, side: BookSide) -> int:
        return len(side.prices) if self.depth is None else self.depth

    def advance(self) -> tuple[list[Change], list[Change]]:
        """Changes of (bids, asks) since the last advance as (price, quantity), 0 for a level that is gone."""
        self.update_id = self.engine.update_id
        if self.depth is None:
            bids, asks = (
                self._touched(self.engine.bids, self.bids),
                self._touched(self.engine.asks, self.asks),
            )
        else:
            self.bids, bids = self._compared(self.engine.bids, self.bids)
            self.asks, asks = self._compared(self.engine.asks, self.asks)
        self.changed.clear()
        return bids, asks

    def _touched(self, side: BookSide, known: dict[int, int]) -> list[Change]:
        changes: list[Change] = []
        for name, price in self.changed:
            if name != side.side:
                continue
            quantity = side.quantity_at(price)
            if known.get(price, 0) == quantity:
                continue
            changes.append((price, quantity))
            if quantity:
                known[price] = quantity
            else:
                del known[price]
        return changes

    def _compared(self, side: BookSide, known: dict[int, int]) -> tuple[dict[int, int], list[Change]]:
        now = dict(side.top(self._depth(side)))
        changes = [(price, 0) for price in known if price not in now
                   and (self.tells_pushed_out or not side.quantity_at(price))]  # fmt: skip
        changes += [(price, quantity) for price, quantity in now.items() if known.get(price) != quantity]
        return now, changes
