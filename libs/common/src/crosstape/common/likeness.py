"""Which words look most like a text, quickly: only those that share most of its pairs of letters are compared whole."""

from __future__ import annotations

import difflib
import functools
import heapq
from collections import Counter
from collections.abc import Iterable
from itertools import chain, pairwise

COMPARED = 20
LEAST_RATIO = 0.5
REMEMBERED = 256


class Lookalikes:
    """Some words, to be asked again and again. The answers to the latest texts are remembered."""

    def __init__(self, words: Iterable[str]):
        self._having: dict[str, list[str]] = {}
        for word in words:
            for pair in _pairs(word):
                self._having.setdefault(pair, []).append(word)
        self._remembered = functools.lru_cache(REMEMBERED)(self._nearest)

    def nearest(self, text: str, count: int) -> tuple[str, ...]:
        """Up to `count` words, the nearest first; none that is less than half like `text`."""
        return self._remembered(text, count)

    def _nearest(self, text: str, count: int) -> tuple[str, ...]:
        pairs = _pairs(text)
        shared = Counter(chain.from_iterable(self._having.get(pair, ()) for pair in pairs))

        def likeness(word: str) -> float:
            return shared[word] / (len(pairs) + len(word))

        likely = heapq.nlargest(COMPARED, shared, key=likeness)
        return tuple(difflib.get_close_matches(text, likely, n=count, cutoff=LEAST_RATIO))


def _pairs(word: str) -> list[str]:
    """Each pair of neighbours once, in their order; the first letter counts as one more pair."""
    return list(dict.fromkeys(map("".join, pairwise(f" {word}"))))
