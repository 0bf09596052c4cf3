"""Five closed one-second bars. A lost connection is made again and what was missed is told, or a gap is.

CROSSTAPE_URL=http://127.0.0.1:8000 CROSSTAPE_API_KEY=ctk_... python live_bars.py
"""

import asyncio
import os

from crosstape.client import AsyncClient, BarClose, BarRevision, Disconnected, Gap, Recovered, Refused

URL = os.environ.get("CROSSTAPE_URL", "http://127.0.0.1:8000")
KEY = os.environ.get("CROSSTAPE_API_KEY")
BARS = 5


async def main() -> None:
    closed = 0
    async with asyncio.timeout(60), AsyncClient(URL, api_key=KEY) as client, client.stream() as stream:
        await stream.subscribe("bars:binance:BTC-USD:1s")
        async for event in stream:
            match event:
                case BarClose(bar=bar):
                    closed += 1
                    print(f"{bar.open_time:%H:%M:%S} close {bar.close} volume {bar.volume} delta {bar.volume_delta}")
                    if closed == BARS:
                        return
                case BarRevision(bar=bar, revision=revision):
                    print(f"{bar.open_time:%H:%M:%S} was revised: {revision}")
                case Disconnected(reason=reason, retry_in=pause):
                    print(f"the connection is lost ({reason}), again in {pause:.1f} s")
                case Recovered(channel=channel):
                    print(f"{channel}: what was missed follows")
                case Gap(channel=channel, after=after):
                    print(f"{channel}: bars are missing after {after}; ask REST for them")
                case Refused(message=message):
                    raise SystemExit(message)


asyncio.run(main())
