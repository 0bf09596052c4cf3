"""Which trade ids of a market were seen. Numbers as ranges, because exchanges number their trades without gaps: the
memory is exact, reaches back without end and costs next to nothing."""

from __future__ import annotations

from bisect import bisect_right

from crosstape.common.market.trade import TradeId

MOST_RANGES = 10_000
MOST_TEXTS = 50_000


class SeenIds:
    """The ids of one market. Where numbers are far from consecutive the lowest ranges are forgotten, and of texts the
    oldest: such an id counts as new when it comes again."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._texts: dict[str, None] = {}

    def add(self, trade_id: TradeId) -> bool:
        """Whether `trade_id` is new; from now on it is not."""
        if isinstance(trade_id, str):
            return self._add_text(trade_id)
        ends = self._ends
        if ends and trade_id == ends[-1] + 1:
            ends[-1] = trade_id
            return True
        return self._add_number(trade_id)

    def _add_text(self, text: str) -> bool:
        if text in self._texts:
            return False
        self._texts[text] = None
        if len(self._texts) > MOST_TEXTS:
            del self._texts[next(iter(self._texts))]
        return True

    def _add_number(self, number: int) -> bool:
        starts, ends = self._starts, self._ends
        place = bisect_right(starts, number)
        if place and number <= ends[place - 1]:
            return False
        joins_left = place > 0 and ends[place - 1] == number - 1
        joins_right = place < len(starts) and starts[place] == number + 1
        if joins_left and joins_right:
            ends[place - 1] = ends.pop(place)
            del starts[place]
        elif joins_left:
            ends[place - 1] = number
        elif joins_right:
            starts[place] = number
        else:
            starts.insert(place, number)
            ends.insert(place, number)
            if len(starts) > MOST_RANGES:
                del starts[0], ends[0]
        return True
