"""Cumulative volume delta, checked: every tick's sum is the one before and its own delta.

CROSSTAPE_URL=http://127.0.0.1:8000 CROSSTAPE_API_KEY=ctk_... python cvd.py
"""

import asyncio
import os
from decimal import Decimal

from crosstape.client import AsyncClient, CvdSnapshot, CvdTick, Refused

URL = os.environ.get("CROSSTAPE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("CROSSTAPE_API_KEY")
TICKS = 20


async def main() -> None:
    ticks = 0
    cvd = Decimal(0)
    async with (
        asyncio.timeout(60),
        AsyncClient(URL, api_key=KEY) as client,
        client.cvd("binance", "BTC-USD", anchor="connect") as feed,
    ):
        async for event in feed:
            if isinstance(event, CvdSnapshot):
                cvd = event.cvd or Decimal(0)
                print(f"{event.exchange} {event.symbol} begins at {cvd}")
            elif isinstance(event, CvdTick):
                cvd += event.volume_delta
                if cvd != event.cvd:
                    raise SystemExit(f"A tick is missing: {cvd} instead of {event.cvd}")
                ticks += 1
                print(f"{event.side:<7} {event.volume_delta:>+16} cvd {cvd:>+16}")
                if ticks == TICKS:
                    return
            elif isinstance(event, Refused):
                raise SystemExit(event.message)


asyncio.run(main())
