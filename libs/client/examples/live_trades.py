"""Twenty trades of one symbol on all exchanges, merged by event time, with the volume delta of the day so far.

CROSSTAPE_URL=http://127.0.0.1:8000 CROSSTAPE_API_KEY=ctk_... python live_trades.py
"""

import asyncio
import os

from crosstape.client import AsyncClient, Refused, TradeEvent

URL = os.environ.get("CROSSTAPE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("CROSSTAPE_API_KEY")
TRADES = 20


async def main() -> None:
    seen = 0
    async with asyncio.timeout(60), AsyncClient(URL, api_key=KEY) as client, client.stream() as stream:
        await stream.subscribe("trades:*:BTC-USD")
        async for event in stream:
            if isinstance(event, TradeEvent):
                seen += 1
                print(f"{event.time:%H:%M:%S.%f} {event.exchange:<12} {event.side:<7} {event.quantity} @ {event.price}")
                if seen == TRADES:
                    print(f"volume delta of the day so far: {event.cvd_total}")
                    return
            elif isinstance(event, Refused):
                raise SystemExit(event.message)


asyncio.run(main())
