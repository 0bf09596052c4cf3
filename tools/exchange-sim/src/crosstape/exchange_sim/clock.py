"""The exchanges' clock: the machine's, shifted by the `clock_skew` fault."""

import time

from crosstape.exchange_sim.faults import Faults


class ExchangeClock:
    """Time as the market lives it (`now_ns`) and as the exchange tells it (`told`)."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self.replayed_ns: int | None = None

    def now_ns(self) -> int:
        """The time in which trades happen and timers run."""
        return time.time_ns()

    def told_now(self) -> int:
        """What the exchange answers when asked for the time; in a replay at recorded times the last time
        played."""
        return self.told(self.now_ns() if self.replayed_ns is None else self.replayed_ns)

    def told(self, time_ns: int) -> int:
        """What the exchange says when it means `time_ns`."""
        return time_ns + self._faults.clock_skew_ns

    def meant(self, told_ns: int) -> int:
        """The inverse of `told`: what a client means by a time it heard from the exchange."""
        return told_ns - self._faults.clock_skew_ns
